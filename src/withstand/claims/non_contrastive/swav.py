"""The claim of SwAV."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive import simclr
from withstand.recipes.non_contrastive import swav


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare SwAV with SimCLR, both on SimCLR's two views, on CIFAR-10."""
    return by_probe(
        "swapped prediction of cluster assignments teaches more than comparing pictures pair by pair",
        {
            "SwAV": lambda seed: swav.experiment(
                on_cifar10(swav.SETUP, seed, scale), local_crops=0, smallest_crop=0.08, prototypes=128
            ),
            "SimCLR": lambda seed: simclr.experiment(on_cifar10(simclr.SETUP, seed, scale)),
        },
    )
