"""The claim of MAE."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import LINEAR, Figures, by_probe
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.evaluation.restoration.restored import OFF, Restored
from withstand.recipes.masked.mae import SETUP, experiment

MUCH, LITTLE = "three quarters hidden", "a quarter hidden"


def claim() -> Claim[Experiment, Figures]:
    """Compare hiding three quarters of the patches with hiding a quarter, on CIFAR-10, by a linear probe.

    Beside it stands how well hidden patches are restored, each arm's own share of them.
    """
    return by_probe(
        "hiding three quarters of the patches teaches more than hiding a quarter",
        {MUCH: lambda seed: trial(seed, 0.75), LITTLE: lambda seed: trial(seed, 0.25)},
        quantity=LINEAR,
        watch={OFF: (_error, "ratio")},
    )


def trial(seed: int, ratio: float) -> Experiment:
    """Return a trial of about 1,200 steps, with a ViT of 3 blocks of width 64."""
    setup = replace(SETUP, data="cifar10", width=64, depth=3, epochs=16, batch=64, learning_rate=6e-3, seed=seed)
    return experiment(setup, ratio=ratio)


def _error(method: Method, source: Source) -> float:
    return Restored().evaluate(method, source).figures[OFF].value
