"""The claim of BYOL."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive import simclr
from withstand.recipes.non_contrastive import byol


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare BYOL with SimCLR, each with its own views, on CIFAR-10."""
    return by_probe(
        "predicting a slow teacher's projection, without negatives, teaches more than contrasting pictures does",
        {
            "BYOL": lambda seed: byol.experiment(on_cifar10(byol.SETUP, seed, scale)),
            "SimCLR": lambda seed: simclr.experiment(on_cifar10(simclr.SETUP, seed, scale)),
        },
    )
