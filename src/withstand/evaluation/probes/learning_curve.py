"""Accuracy against the number of labelled samples, for several classifiers on the same draws.

The protocol is that of Revisiting Discriminative vs. Generative Classifiers (2023): for each size m, several random
subsets of m training rows, drawn again until every class occurs (which favors all probes at tiny m alike), each
feature scaled to [0, 1] by the drawn rows alone, and always the same whole test set.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, clone
from sklearn.preprocessing import MinMaxScaler

from withstand.core.errors import ConfigError
from withstand.core.findings.finding import SPREAD, Cell, Finding, Measure, Table
from withstand.core.part import Tree
from withstand.core.random import derive
from withstand.evaluation.probes.linear import LogisticProbe
from withstand.evaluation.probes.naive_bayes import NaiveBayesProbe
from withstand.evaluation.statistics.intervals import shares

SIZES = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 30000, 50000)
"""The paper's sizes for 10 classes."""

_MOST_DRAWS = 100_000


def probe_curve(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    sizes: Sequence[int] = SIZES,
    probes: Mapping[str, ClassifierMixin] | None = None,
    repeats: int = 5,
    scaled: bool = True,
    tolerance: float = 0.01,
    seed: int = 0,
) -> Finding:
    """Measure each probe's accuracy at each number of labelled samples.

    Args:
        features: the pool that samples are drawn from, `(N, D)`.
        labels: their classes `(N,)`.
        test_features: `(M, D)`.
        test_labels: `(M,)`; they are only scored, never used for a choice.
        sizes: numbers of samples m; those above N are left out.
        probes: scikit-learn classifiers by name, unfitted; by default naive Bayes and logistic regression.
        repeats: draws at each size.
        scaled: scale each feature to [0, 1] by the drawn rows (test values may leave it), as the paper does for
            real features; it does not for the simulation.
        tolerance: how near to a probe's last accuracy counts as having arrived.
        seed: of the draws; all probes see the same ones.

    Returns:
        a finding with the table "curve" (means and standard deviations over draws), the table "arrival" (each
        probe's accuracy at the largest size, and the first size within `tolerance` of it), and for each two
        probes the number "crossing" where the second overtakes the first for good, when it does.

    Raises:
        ConfigError: no size fits, or no draw of a size holds every class.
    """
    pool, wanted = np.asarray(features, dtype=np.float64), np.asarray(labels)
    test, truth = np.asarray(test_features, dtype=np.float64), np.asarray(test_labels)
    chosen = sorted({size for size in sizes if size <= len(pool)})
    if not chosen or repeats < 2:
        raise ConfigError(f"a curve needs sizes up to the {len(pool)} samples and 2 repeats, not {sizes}, {repeats}")
    if probes is None:
        probes = {"naive Bayes": NaiveBayesProbe(), "logistic regression": LogisticProbe()}
    accuracy: dict[str, list[list[float]]] = {name: [] for name in probes}
    for size in chosen:
        draws = [draw_complete(wanted, size, seed, size, repeat) for repeat in range(repeats)]
        for name, probe in probes.items():
            accuracy[name].append([_score(probe, pool[d], wanted[d], test, truth, scaled) for d in draws])
    curves = {name: [mean(values) for values in rows] for name, rows in accuracy.items()}
    protocol: dict[str, Tree] = {
        "repeats": repeats,
        "seed": seed,
        "draws": "uniform without replacement, drawn again until every class of the pool occurs; shared by all probes",
        "scaling": "each feature to [0, 1] by the drawn rows" if scaled else "none",
        "spread": "standard deviation over draws",
        "tolerance": tolerance,
        "pool": len(pool),
        "test samples": len(test),
        "probes": {name: str(probe) for name, probe in probes.items()},
    }
    return Finding(
        name="learning-curve",
        figures=_crossings(chosen, curves),
        tables={"curve": _curve(chosen, accuracy), "arrival": _arrival(chosen, curves, tolerance)},
        protocol=protocol,
    )


def draw_complete(labels: npt.NDArray[np.generic], size: int, *words: int | str) -> npt.NDArray[np.int64]:
    """Return `size` rows drawn by the words without replacement, drawn again until every class occurs.

    Raises:
        ConfigError: no such draw was met.
    """
    classes, places = np.unique(labels, return_inverse=True)
    generator = np.random.default_rng(derive("class-complete draw", *words))
    for _ in range(_MOST_DRAWS if size >= len(classes) else 0):
        drawn = generator.choice(len(labels), size, replace=False, shuffle=False)
        if np.bincount(places[drawn], minlength=len(classes)).all():
            return drawn
    raise ConfigError(f"no draw of {size} samples holds all {len(classes)} classes: ask for more samples")


def crossing(sizes: Sequence[int], first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the size at which the second curve overtakes the first for good, by straight lines over log size.

    None when it never does: when the second is not ahead at the end, or was ahead all along.
    """
    leads = [theirs - ours for ours, theirs in zip(first, second, strict=True)]
    if leads[-1] <= 0:
        return None
    for place in reversed(range(len(leads) - 1)):
        if leads[place] <= 0:
            share = leads[place] / (leads[place] - leads[place + 1])
            return math.exp((1 - share) * math.log(sizes[place]) + share * math.log(sizes[place + 1]))
    return None


def samples_to_reach(sizes: Sequence[int], accuracies: Sequence[float], target: float) -> int | None:
    """Return the first size with at least the target accuracy; None when there is none."""
    return next((size for size, value in zip(sizes, accuracies, strict=True) if value >= target), None)


def _score(
    probe: ClassifierMixin,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.generic],
    test: npt.NDArray[np.float64],
    truth: npt.NDArray[np.generic],
    scaled: bool,
) -> float:
    if scaled:
        scaler = MinMaxScaler().fit(x)
        x, test = scaler.transform(x), scaler.transform(test)
    return float((clone(probe).fit(x, y).predict(test) == truth).mean())


def _crossings(sizes: Sequence[int], curves: Mapping[str, Sequence[float]]) -> dict[str, Measure]:
    found = {
        f"crossing, {second} overtakes {first}": crossing(sizes, curves[first], curves[second])
        for first in curves
        for second in curves
        if first != second
    }
    return {name: Measure(size, "count", None) for name, size in found.items() if size is not None}


def _curve(sizes: Sequence[int], accuracy: Mapping[str, list[list[float]]]) -> Table:
    columns = ["labelled samples"]
    for name in accuracy:
        columns += [name, name + SPREAD]
    rows: list[tuple[Cell, ...]] = []
    for place, size in enumerate(sizes):
        row: list[Cell] = [size]
        for values in accuracy.values():
            row += [mean(values[place]), stdev(values[place])]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows), x="labelled samples", units=shares(*accuracy))


def _arrival(sizes: Sequence[int], curves: Mapping[str, Sequence[float]], tolerance: float) -> Table:
    rows = tuple(
        (name, curve[-1], samples_to_reach(sizes, curve, curve[-1] - tolerance)) for name, curve in curves.items()
    )
    columns = ("probe", "accuracy at the largest size", f"samples to come within {tolerance:g} of it")
    return Table(columns, rows, units=shares(columns[1]))
