"""The claim of MART."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import mart, pgd_at


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare with PGD-AT by accuracy under attack."""
    return by_attack(
        "looking harder at misclassified samples withstands more than plain adversarial training",
        {
            "MART": lambda seed: mart.experiment(on_fashion(mart.SETUP, seed, scale, steps=5)),
            "PGD-AT": lambda seed: pgd_at.experiment(on_fashion(pgd_at.SETUP, seed, scale, steps=5)),
        },
    )
