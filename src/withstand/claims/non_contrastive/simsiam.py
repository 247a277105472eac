"""The claim of SimSiam."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10, projections
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.losses.contrast.geometry import per_dimension_std
from withstand.recipes.non_contrastive.simsiam import SETUP, experiment


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare SimSiam with itself without the stop-gradient, on CIFAR-10; the projections' spread stands beside."""

    def trial(seed: int, *, stop_gradient: bool) -> Experiment:
        return experiment(on_cifar10(SETUP, seed, scale), dim=256, stop_gradient=stop_gradient)

    return by_probe(
        "the stop-gradient keeps a Siamese network from collapse, and so makes it learn",
        {
            "stop-gradient": lambda seed: trial(seed, stop_gradient=True),
            "none": lambda seed: trial(seed, stop_gradient=False),
        },
        watch={"spread of the projections, 1 where even, 0 where collapsed": (_spread, "ratio")},
    )


def _spread(method: Method, test: Source) -> float:
    """Return the mean deviation of the unit-length projections of samples, times sqrt(width)."""
    z = projections(method, test)
    return float(per_dimension_std(z).mean() * z.shape[1] ** 0.5)
