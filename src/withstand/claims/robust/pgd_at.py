"""The claim of PGD-AT."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.robust.pgd_at import SETUP, experiment


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare training under attack with plain training, all else equal, by accuracy under attack."""

    def trial(seed: int, eps: str) -> Experiment:
        return experiment(replace(on_fashion(SETUP, seed, scale, steps=5), eps=eps))

    return by_attack(
        "training on attacked inputs gives accuracy under attack that plain training does not have",
        {"PGD-AT": lambda seed: trial(seed, "8/255"), "plain training": lambda seed: trial(seed, "0")},
    )
