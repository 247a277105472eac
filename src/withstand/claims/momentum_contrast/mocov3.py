"""The claim of MoCo v3."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10
from withstand.engine.experiment import Experiment
from withstand.recipes.momentum_contrast import mocov2, mocov3


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare MoCo v3 with MoCo v2 in both directions, each with its own views, on CIFAR-10."""

    def theirs(seed: int) -> Experiment:
        return mocov2.experiment(on_cifar10(mocov2.SETUP, seed, scale), queue_size=1024, symmetric=True)

    return by_probe(
        "a predictor and the batch's own keys teach more than MoCo v2's queue",
        {
            "MoCo v3": lambda seed: mocov3.experiment(on_cifar10(mocov3.SETUP, seed, scale)),
            "MoCo v2": theirs,
        },
    )
