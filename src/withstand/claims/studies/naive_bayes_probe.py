"""The claim on naive Bayes with few labels."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import mean, stdev
from typing import Literal, TypeAlias

from torch import nn

from withstand.claims.protocol.claim import Claim, Tables
from withstand.core.findings.finding import Cell, Finding, Table
from withstand.core.part import Tree
from withstand.data.load import splits
from withstand.evaluation.features import embed
from withstand.evaluation.probes.classifier import ScoredClassifier
from withstand.evaluation.probes.learning_curve import crossing, probe_curve
from withstand.evaluation.probes.linear import LogisticProbe
from withstand.evaluation.probes.naive_bayes import NaiveBayesProbe
from withstand.evaluation.probes.naive_bayes_theory import gaussian_classes

Scale = Literal["small", "full"]
Curve: TypeAlias = dict[str, list[float]]
"""Accuracy of both probes, by name, at the sizes that stand under "size"."""
NAMES = ("naive Bayes", "logistic regression")
SETS = ("digits", "fashion-mnist-small")
SIMULATION = "simulation"
SIMULATED = (10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640, 905, 1280, 1810, 2560, 3620)
"""Steps of sqrt(2): a number of samples needed is known up to one step."""
# Without a variance floor: in the simulation the small variances are real, not those of dead features.
SIMULATION_PROBES = {NAMES[0]: NaiveBayesProbe(var_floor=0.0), NAMES[1]: LogisticProbe()}
SIZES = {"small": (20, 30, 50, 100, 200, 500, 1000), "full": (20, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10000)}
WIDTHS = {"small": (50, 100, 200, 400), "full": (50, 100, 200, 400, 1000)}
TARGET = 0.95


def claim(scale: Scale = "small") -> Claim[tuple[str, int], Curve]:
    """Put the paper's direction to the test.

    The figure is, on real features, the share of its own best accuracy (that at the largest size) that each probe
    reaches with 50 labels: convergence, as the paper states it, not which is better in the end. The table "parts"
    holds the other statements, each with its own verdict: accuracy with few labels in the simulation and on real
    features, and the number of samples that the simulation takes in more and more dimensions.

    Args:
        scale: "small" (a minute or two) or "full" (larger sizes and widths).
    """
    return Claim(
        statement="with few labels naive Bayes is nearer to its own best accuracy than logistic regression to its own",
        quantity="share of its best accuracy reached with 50 labels",
        names=NAMES,
        arms={name: partial(_arm, name) for name in (*SETS, SIMULATION)},
        measure=lambda arm: _curve_of(*arm, SIZES[scale]),
        figures=_figures,
        protocol=_protocol,
        tables=lambda found: _tables(found, scale),
    )


def _arm(name: str, seed: int) -> tuple[str, int]:
    return name, seed


def _curve_of(name: str, seed: int, sizes: Sequence[int]) -> Curve:
    if name == SIMULATION:
        return _read(_simulated_curve((20, 40), 100, seed, SIMULATION_PROBES, repeats=3))
    pool, judged = (embed(nn.Flatten(), source) for source in splits(name))
    return _read(
        probe_curve(
            pool.x.numpy(), pool.labels.numpy(), judged.x.numpy(), judged.labels.numpy(),
            sizes=sizes, repeats=3, seed=seed,
        )
    )  # fmt: skip


def _simulated_curve(
    sizes: Sequence[int], width: int, seed: int, probes: Mapping[str, ScoredClassifier], *, repeats: int
) -> Finding:
    pool = gaussian_classes(4000, width=width, seed=2 * seed)
    judged = gaussian_classes(4000, width=width, seed=2 * seed + 1)
    return probe_curve(*pool, *judged, sizes=sizes, probes=probes, repeats=repeats, scaled=False, seed=seed)


def _read(finding: Finding) -> Curve:
    table = finding.tables["curve"]
    names = [name for name in NAMES if name in table.columns]
    return {
        "size": [float(str(value)) for value in table.column(table.columns[0])],
        **{name: [float(str(value)) for value in table.column(name)] for name in names},
    }


def _at(curve: Curve, name: str, sizes: Sequence[float]) -> float:
    """Return a probe's mean accuracy over these sizes."""
    found = dict(zip(curve["size"], curve[name], strict=True))
    return mean(found[size] for size in sizes)


def _few(curve: Curve, sizes: Sequence[float]) -> tuple[float, float]:
    return _at(curve, NAMES[0], sizes), _at(curve, NAMES[1], sizes)


def _figures(found: Mapping[str, Curve]) -> tuple[float, float]:
    return _averaged([_share_of_best(found[name], 50) for name in SETS])


def _share_of_best(curve: Curve, size: int) -> tuple[float, float]:
    ours, theirs = (_at(curve, name, (size,)) / curve[name][-1] for name in NAMES)
    return ours, theirs


def _averaged(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return mean(ours for ours, _ in pairs), mean(theirs for _, theirs in pairs)


def _protocol(arms: object, found: object) -> dict[str, Tree]:
    return {
        "features": "pixels of digits and of fashion-mnist-small, each scaled to [0, 1] by the labelled rows",
        "naive Bayes": "shared variances, eps 1e-9, variance floor 0.01 of their mean (none in the simulation)",
        "logistic regression": "L2 with C = 1, L-BFGS to convergence",
        "draws": "3 a seed and size, drawn again until every class occurs, shared by both probes",
        "simulation": "5 Gaussian classes, independent coordinates, n = 100, 4,000 test samples",
    }


def _tables(found: Sequence[Mapping[str, Curve]], scale: Scale) -> Tables:
    most = float(SIZES[scale][-1])
    curves = {name: [arms[name] for arms in found] for name in (*SETS, SIMULATION)}
    parts = {
        "accuracy, simulation, mean of 20 and 40 samples": [_few(curve, (20, 40)) for curve in curves[SIMULATION]],
        **{f"accuracy, {name}, mean of 20 and 30 samples": [_few(c, (20, 30)) for c in curves[name]] for name in SETS},
        **{f"accuracy, {name}, {most:g} samples": [_few(c, (most,)) for c in curves[name]] for name in SETS},
    }
    pooled = {name: _pooled(curves[name]) for name in SETS}
    crossings = tuple((name, _crossing(table)) for name, table in pooled.items())
    return {
        "parts": Table(
            ("what", *NAMES, "naive Bayes ahead by", "naive Bayes ahead by ±"),
            tuple(_part(name, pairs) for name, pairs in parts.items()),
            units=dict.fromkeys((*NAMES, "naive Bayes ahead by"), "share"),
        ),
        **{f"two regimes, {name}": table for name, table in pooled.items()},
        "crossing": Table(
            ("features", "logistic regression overtakes at"),
            crossings,
            units={"logistic regression overtakes at": "count"},
        ),
        f"samples to reach {TARGET:g} in n dimensions": _growth(WIDTHS[scale], len(found)),
    }


def _part(name: str, pairs: Sequence[tuple[float, float]]) -> tuple[Cell, ...]:
    differences = [ours - theirs for ours, theirs in pairs]
    return (name, *_averaged(pairs), mean(differences), stdev(differences))


def _pooled(curves: Sequence[Curve]) -> Table:
    """Return the curve of means over seeds; the spread is over seeds."""
    rows: list[tuple[Cell, ...]] = []
    for place, size in enumerate(curves[0]["size"]):
        row: list[Cell] = [int(size)]
        for name in NAMES:
            values = [curve[name][place] for curve in curves]
            row += [mean(values), stdev(values)]
        rows.append(tuple(row))
    columns = ("labelled samples", *(column for name in NAMES for column in (name, f"{name} ±")))
    return Table(columns, tuple(rows), x="labelled samples", units=dict.fromkeys(NAMES, "share"))


def _crossing(table: Table) -> float | None:
    sizes = [int(str(size)) for size in table.column("labelled samples")]
    first, second = ([float(str(value)) for value in table.column(name)] for name in NAMES)
    return crossing(sizes, first, second)


def _growth(widths: Sequence[int], seeds: int) -> Table:
    """Return how many samples each probe takes to the target accuracy, by dimension: about log n against n."""
    rows = tuple((width, *(_samples_needed(name, width, seeds) for name in NAMES)) for width in widths)
    return Table(("n", *NAMES), rows, x="n", units=dict.fromkeys(NAMES, "count"))


def _samples_needed(name: str, width: int, seeds: int) -> int | None:
    def reached(size: int) -> bool:
        probe = {name: SIMULATION_PROBES[name]}
        curves = [_read(_simulated_curve((size,), width, seed, probe, repeats=2)) for seed in range(seeds)]
        return mean(_at(curve, name, (size,)) for curve in curves) >= TARGET

    # Accuracy grows with the samples, so that the grid can be halved.
    place = bisect_left(SIMULATED, True, key=reached)
    return SIMULATED[place] if place < len(SIMULATED) else None
