"""The claim of MoCo v2."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive import simclr
from withstand.recipes.momentum_contrast import mocov2


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare MoCo v2 with SimCLR at batch 64, on CIFAR-10; both learn both views from each other."""

    def ours(seed: int) -> Experiment:
        return mocov2.experiment(on_cifar10(mocov2.SETUP, seed, scale, batch=64), queue_size=1024, symmetric=True)

    return by_probe(
        "with a queue of keys, a batch of 64 learns better than SimCLR, whose negatives come from the batch",
        {
            "MoCo v2": ours,
            "SimCLR": lambda seed: simclr.experiment(on_cifar10(simclr.SETUP, seed, scale, batch=64)),
        },
    )
