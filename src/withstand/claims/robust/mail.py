"""The claim of MAIL."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import mail, pgd_at


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare with PGD-AT by accuracy under attack."""
    return by_attack(
        "weighing samples by their probability margins withstands more than plain adversarial training",
        {
            "MAIL": lambda seed: mail.experiment(on_fashion(mail.SETUP, seed, scale, steps=5)),
            "PGD-AT": lambda seed: pgd_at.experiment(on_fashion(pgd_at.SETUP, seed, scale, steps=5)),
        },
    )
