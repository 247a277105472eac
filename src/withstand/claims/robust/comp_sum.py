"""The claim of comp-sum losses."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import comp_sum, trades


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare with TRADES, beta 6, all else equal, by accuracy under attack.

    On small networks both were about equal when tried on digits; the verdict is the measurement's.
    """
    return by_attack(
        "the smooth adversarial comp-sum loss trains more robust classifiers than TRADES",
        {
            "comp-sum": lambda seed: comp_sum.experiment(on_fashion(comp_sum.SETUP, seed, scale, steps=5), warmup=2),
            "TRADES": lambda seed: trades.experiment(on_fashion(trades.SETUP, seed, scale, steps=5)),
        },
    )
