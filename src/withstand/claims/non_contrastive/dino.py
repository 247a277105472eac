"""The claim of DINO."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10, projections
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.recipes.non_contrastive.dino import SETUP, experiment


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare DINO with itself without centring, on two views, on CIFAR-10; how many outputs win stands beside."""

    def trial(seed: int, center_momentum: float) -> Experiment:
        return experiment(on_cifar10(SETUP, seed, scale), local_crops=0, center_momentum=center_momentum)

    return by_probe(
        "centring keeps self-distillation from collapse, and so makes it learn",
        {"centred": lambda seed: trial(seed, 0.5), "not centred": lambda seed: trial(seed, 1.0)},
        watch={"outputs that are the largest for some test picture": (_winners, "count")},
    )


def _winners(method: Method, test: Source) -> float:
    """Return how many outputs of a head are the largest for some sample."""
    return float((projections(method, test).argmax(1).bincount() > 0).sum())
