"""The claim of RoCL."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale
from withstand.claims.protocol.robust_measures import ON_FEATURES, by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive import simclr
from withstand.recipes.robust import rocl


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare with SimCLR by the accuracy under attack of a linear classifier fitted on clean features."""
    return by_attack(
        "features learnt from instance-wise attacks, without labels, withstand attacks that break plain ones",
        {
            "RoCL": lambda seed: rocl.experiment(on_fashion(rocl.SETUP, seed, scale)),
            "SimCLR": lambda seed: simclr.experiment(on_fashion(simclr.SETUP, seed, scale), temperature=0.5),
        },
        eps="4/255",
        of=ON_FEATURES,
    )
