"""The claim of NNCLR."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive import nnclr, simclr


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare NNCLR with SimCLR at the same views and temperature, on CIFAR-10."""
    return by_probe(
        "nearest neighbours as positives teach more than two views of one picture",
        {
            "NNCLR": lambda seed: nnclr.experiment(on_cifar10(nnclr.SETUP, seed, scale), queue_size=2048),
            "SimCLR": lambda seed: simclr.experiment(on_cifar10(simclr.SETUP, seed, scale)),
        },
    )
