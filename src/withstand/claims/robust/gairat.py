"""The claim of GAIRAT."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import gairat, pgd_at


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare with PGD-AT by accuracy under attack."""
    return by_attack(
        "weighing samples by the attack steps that they survive withstands more than plain adversarial training",
        {
            "GAIRAT": lambda seed: gairat.experiment(on_fashion(gairat.SETUP, seed, scale, steps=6)),
            "PGD-AT": lambda seed: pgd_at.experiment(on_fashion(pgd_at.SETUP, seed, scale, steps=6)),
        },
    )
