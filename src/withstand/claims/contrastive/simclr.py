"""The claim of SimCLR."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive.simclr import SETUP, experiment
from withstand.views.compose import TwoViews
from withstand.views.pictures.crop import RandomResizedCrop


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare crops with color distortion against crops alone, on CIFAR-10."""

    def ours(seed: int) -> Experiment:
        return experiment(on_cifar10(SETUP, seed, scale, epochs=10))

    def theirs(seed: int) -> Experiment:
        return replace(ours(seed), view=TwoViews(RandomResizedCrop(32, flip=0.5)))

    return by_probe(
        "random crops with color distortion teach more than random crops alone",
        {"crops and color": ours, "crops alone": theirs},
    )
