"""The claim of MoCHi."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10, projections
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.losses.contrast.geometry import uniformity
from withstand.recipes.momentum_contrast.mochi import SETUP, experiment


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare MoCHi with MoCo v2, the same without mixtures, on CIFAR-10; the features' uniformity stands beside."""

    def trial(seed: int, pairs: int, with_query: int) -> Experiment:
        return experiment(
            on_cifar10(SETUP, seed, scale, epochs=6, batch=128),
            queue_size=1024,
            hardest=128,
            pairs=pairs,
            with_query=with_query,
        )

    return by_probe(
        "mixing a query's hardest negatives makes MoCo v2 learn better representations in as many epochs",
        {"MoCHi": lambda seed: trial(seed, 64, 32), "MoCo v2": lambda seed: trial(seed, 0, 0)},
        watch={"uniformity of the projections of test pictures; lower is more even": (_uniformity, "nats")},
    )


def _uniformity(method: Method, test: Source) -> float:
    return float(uniformity(projections(method, test)))
