"""The claim of TRADES."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import ATTACKED, CLEAN, by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.robust.trades import SETUP, experiment


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare beta 6 with beta 1 by the share of clean accuracy that is lost under attack; less is better."""

    def trial(seed: int, beta: float) -> Experiment:
        return experiment(on_fashion(SETUP, seed, scale, steps=5), beta=beta)

    arms = {"beta 6": lambda seed: trial(seed, 6.0), "beta 1": lambda seed: trial(seed, 1.0)}
    same = by_attack("a larger beta loses less accuracy under attack", arms)

    def kept(figures: Figures) -> float:
        return figures[ATTACKED] - figures[CLEAN]

    return replace(
        same,
        quantity=f"{same.quantity} minus clean accuracy",
        figures=lambda found: (kept(found["beta 6"]), kept(found["beta 1"])),
    )
