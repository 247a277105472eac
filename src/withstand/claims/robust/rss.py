"""The claim of RSS."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, trained, versus
from withstand.core.part import Tree
from withstand.core.random import derive
from withstand.data.arrays.source import ArraySource
from withstand.engine.experiment import Experiment
from withstand.methods.robust.rss import RSS
from withstand.recipes.robust.rss import SETUP, experiment

ACCURACY, RATE = "accuracy", "rate of the robust bound, but for a constant"
OURS, ERM = "RSS, 5,000 shifted", "labelled samples alone"
WIDTH, LABELLED, SHIFT = 200, 10, 0.5
DELTA = 0.05
"""One less the confidence at which the bound holds."""


@dataclass(frozen=True)
class Trial:
    """A training on a mixture whose means are known.

    Attributes:
        experiment: what is trained.
        mean: of the class 1 of the labelled law; class 0 lies opposite.
        unlabelled: how many samples without labels there are.
        gamma: the adversary's price.
        shift: how far the means of the unlabelled law lie from those of the labelled one.
    """

    experiment: Experiment
    mean: Tensor
    unlabelled: int
    gamma: float
    shift: float


def claim() -> Claim[Trial, Figures]:
    """Compare, on two Gaussians in 200 dimensions, ten labels with and without 5,000 unlabelled samples.

    Accuracies are exact, by the known means. The unlabelled mixture has its means half a mean's length from those of
    the labelled one. Beside it: fewer unlabelled samples, none of a shift, and 5,000 that have no two classes, which
    cannot help; and the rate at which the paper's robust bound falls.
    """
    arms = {
        OURS: trial,
        ERM: lambda seed: trial(seed, alone=True),
        "RSS, 5,000 alike": lambda seed: trial(seed, shift=0.0),
        "RSS, 1,000 shifted": lambda seed: trial(seed, unlabelled=1000),
        "RSS, 100 shifted": lambda seed: trial(seed, unlabelled=100),
        "RSS, 5,000 of one class": lambda seed: trial(seed, clusters=False),
    }
    return Claim(
        statement="unlabelled samples of a shifted mixture raise the accuracy of a classifier with ten labels",
        quantity=ACCURACY,
        names=(OURS, ERM),
        arms=arms,
        measure=measure,
        figures=versus(ACCURACY),
        protocol=_protocol,
        tables=_tables,
    )


def trial(
    seed: int, *, shift: float = SHIFT, unlabelled: int = 5000, clusters: bool = True, alone: bool = False
) -> Trial:
    """Return a trial of 300 steps on all samples at once, from the classifier of 300 steps on the labelled ones.

    Args:
        seed: of the mixture, its samples and the weights.
        shift: of the unlabelled means.
        unlabelled: how many samples.
        clusters: whether they come from two classes; else all from one law at the origin.
        alone: stop at the first stage.
    """
    generator = torch.Generator().manual_seed(derive("mixture", seed))
    mean, away = (_unit(torch.randn(WIDTH, generator=generator)) for _ in range(2))
    known = mixture(100, mean, generator)
    free = mixture(unlabelled, (mean + shift * away) * clusters, generator)
    setup = replace(SETUP, data=known, unlabelled=free, labels=LABELLED // 2, epochs=300, batch=unlabelled, seed=seed)
    made = experiment(setup, bias=False)
    if alone:
        assert isinstance(made.first, Experiment)  # the supervised stage, which the recipe trains first
        made = made.first
    return Trial(made, mean, 0 if alone else unlabelled, 1.0, shift)


def mixture(count: int, mean: Tensor, generator: torch.Generator) -> ArraySource:
    """Return samples of two Gaussians of unit variance, half of each class, about the mean and its opposite."""
    y = torch.arange(count) % 2
    x = torch.randn(count, len(mean), generator=generator) + (2 * y[:, None] - 1) * mean
    return ArraySource(x, y, layout="rows")


def measure(trial: Trial) -> Figures:
    """Return the trained classifier's accuracy on the labelled law, and the bound's rate."""
    method = trained(trial.experiment)
    assert isinstance(method, RSS)  # as every trial's
    found = {ACCURACY: exact_accuracy(method.classifier.weight.detach(), trial.mean)}
    if trial.unlabelled:
        found[RATE] = robust_rate(WIDTH, LABELLED, trial.unlabelled, trial.shift, trial.gamma)
    return found


def exact_accuracy(weight: Tensor, mean: Tensor) -> float:
    """Return a linear classifier's accuracy, without bias, on unit Gaussians about -mean (class 0) and mean (class 1).

    >>> round(exact_accuracy(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0])), 4)
    0.8413
    """
    across = _unit((weight[1] - weight[0]).double())
    return 0.5 * (1 + math.erf(float(across @ mean.double()) / math.sqrt(2)))


def robust_rate(width: int, labelled: int, unlabelled: int, shift: float, gamma: float) -> float:
    """Return what the paper's bound on the excess robust risk is proportional to, for unit means and variance."""
    slack = 2 * unlabelled + labelled
    confidence = 2 * math.log(1 / DELTA)
    inner = 2 * shift + math.sqrt(2 * width / slack) + math.sqrt(confidence / slack)
    return gamma * math.sqrt(2 * width / labelled * inner) + math.sqrt(confidence / labelled)


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x)
    return x / length


def _protocol(arms: Mapping[str, Trial], _: object) -> dict[str, Tree]:
    return {
        **budget(first(arms).experiment),
        "labels": LABELLED,
        "accuracy": "exact, of the linear classifier on the labelled law",
        "best accuracy there is": exact_accuracy(torch.tensor([[-1.0], [1.0]]), torch.ones(1)),
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    bounded = [{name: figures for name, figures in arms.items() if RATE in figures} for arms in found]
    return {ACCURACY: beside(found, ACCURACY, "share"), RATE: beside(bounded, RATE, "ratio")}
