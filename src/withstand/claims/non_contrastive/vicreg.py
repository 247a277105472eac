"""The claim of VICReg."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, Scale, by_probe, on_cifar10, projections
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.losses.contrast.geometry import effective_rank
from withstand.recipes.non_contrastive.vicreg import SETUP, experiment


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare VICReg with itself without the variance term, on CIFAR-10; the projections' rank stands beside."""

    def trial(seed: int, variance_weight: float) -> Experiment:
        return experiment(on_cifar10(SETUP, seed, scale), variance_weight=variance_weight)

    return by_probe(
        "the hinge on variances keeps embeddings from collapse, and so makes the network learn",
        {"with variance term": lambda seed: trial(seed, 25.0), "without": lambda seed: trial(seed, 0.0)},
        watch={"effective rank of the projections": (_rank, "directions")},
    )


def _rank(method: Method, test: Source) -> float:
    return float(effective_rank(projections(method, test)))
