"""The claim on boundary tilting."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import mean
from typing import TypedDict

import torch
from torch import Tensor, nn

from withstand.claims.protocol.claim import Claim, Tables
from withstand.core.findings.finding import Cell, Table, number
from withstand.core.part import Tree
from withstand.data.load import splits
from withstand.evaluation.features import embed
from withstand.recipes.setups.vision.two_classes import flipped, two_classes
from withstand.verification.geometry.path import COLUMNS, UNITS, Step, regularisation_path, table

PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0, 1e4)
PAIRS = {"digits": ((2, 3), (3, 8), (1, 8), (3, 9)), "fashion-mnist-small": ((0, 6), (2, 4))}
REGULARISED, FREE = 0.1, 1e4
MOST = 400
"""Training samples a class: enough to tilt, few enough for a minute."""


class Path(TypedDict):
    """What is measured of one pair of classes."""

    rows: list[dict[str, Cell]]
    """One a penalty, by the columns of the path's table."""
    flips: tuple[float, float]
    """The median way to a flip of a test sample, with the penalty and next to without."""
    plain_angle: float
    """The angle next to without penalty and without flipped labels."""


def claim() -> Claim[tuple[str, int, int, int], Path]:
    """Put the paper's direction to the test: a linear SVM on pairs of classes, 5 % of the training labels flipped.

    The figure is the adversarial distance, the mean distance to the boundary over training samples, in units of half
    the distance of the centroids: the cosine of the deviation angle. The table "parts" holds what else is claimed.
    Seeds are independent draws of the flipped labels and of the training samples.
    """
    return Claim(
        statement="L2 regularisation turns a tilted boundary back towards the bisector of the class centroids",
        quantity="adversarial distance over half the centroids' distance",
        unit="ratio",
        names=(f"penalty with C {REGULARISED:g}", f"next to none, C {FREE:g}"),
        arms={_name(*pair): _arm(*pair) for pair in _pairs()},
        measure=lambda arm: _measure(*arm),
        figures=_figures,
        protocol=_protocol,
        tables=_tables,
    )


def _pairs() -> list[tuple[str, int, int]]:
    return [(data, first, second) for data, pairs in PAIRS.items() for first, second in pairs]


def _name(data: str, first: int, second: int) -> str:
    return f"{data}, {first} against {second}"


def _arm(data: str, first: int, second: int) -> Callable[[int], tuple[str, int, int, int]]:
    return lambda seed: (data, first, second, seed)


def _measure(data: str, first: int, second: int, seed: int) -> Path:
    train, test = (embed(nn.Flatten(), source) for source in splits(data))
    x, y, test_x, test_y = two_classes(train, test, first, second, most=MOST, seed=seed)
    steps = regularisation_path(x, flipped(y, 0.05, seed), test_x, test_y, PENALTIES)
    regularised, free = (next(step for step in steps if step.C == C) for C in (REGULARISED, FREE))
    (plain,) = regularisation_path(x, y, test_x, test_y, (FREE,))
    return {
        "rows": [dict(zip(COLUMNS, row, strict=True)) for row in table(steps).rows],
        "flips": (_median_flip(regularised, test_x, test_y), _median_flip(free, test_x, test_y)),
        "plain_angle": plain.angle,
    }


def _median_flip(step: Step, x: Tensor, y: Tensor) -> float:
    """Return the median L2 way to the boundary over test samples that are classified rightly."""
    right = step.boundary.classes(x) == y
    return float(step.boundary.distance(x)[right].abs().median())


def _figures(found: Mapping[str, Path]) -> tuple[float, float]:
    kept, free = (
        mean(_cosine(_at(path, C, "deviation angle")) for path in found.values()) for C in (REGULARISED, FREE)
    )
    return kept, free


def _at(path: Path, C: float, column: str) -> float:
    return _number(next(row for row in path["rows"] if row["C"] == C), column)


def _number(row: dict[str, Cell], column: str) -> float:
    return number(row[column])


def _cosine(angle: float) -> float:
    return float(torch.cos(torch.deg2rad(torch.tensor(angle, dtype=torch.float64))))


def _protocol(arms: object, found: object) -> dict[str, Tree]:
    return {
        "classifier": "linear support vector machine, free bias",
        "features": "pixels in [0, 1]",
        "pairs": [f"{data}: {first} against {second}" for data, first, second in _pairs()],
        "training samples": f"up to {MOST} a class",
        "flipped labels": 0.05,
        "centroids": "of the training samples with the labels as they were trained on",
    }


def _tables(found: Sequence[Mapping[str, Path]]) -> Tables:
    return {
        "parts": _parts(found),
        **{f"{name}, 5 % flipped": _averaged([arms[name] for arms in found]) for name in found[0]},
        "plane of angle and accuracy, digits, 3 against 8": _plane(found[0][_name("digits", 3, 8)]),
    }


def _plane(path: Path) -> Table:
    columns = ("deviation angle", "train accuracy", "test accuracy", "C")
    ordered = sorted(path["rows"], key=lambda row: _number(row, "deviation angle"))
    return Table(
        columns,
        tuple(tuple(row[name] for name in columns) for row in ordered),
        x="deviation angle",
        units={name: UNITS[name] for name in columns[:-1]},
    )


def _parts(found: Sequence[Mapping[str, Path]]) -> Table:
    """Return on how many paths, or pairs of classes, each further statement holds."""
    paths = [arms[name] for name in found[0] for arms in found]
    flips = [path["flips"] for path in paths]

    def part(name: str, holds: Callable[[Path], bool]) -> tuple[Cell, ...]:
        return (name, sum(map(holds, paths)), len(paths))

    more = [_at(path, FREE, "deviation angle") - path["plain_angle"] for path in found[0].values()]
    rows = (
        part("the angle grows with C, 1 degree of slack", _grows),
        part(
            "adversarial distance falls to a third or less, C 0.1 to 1e4",
            lambda path: 3 * _at(path, FREE, "adversarial distance") <= _at(path, REGULARISED, "adversarial distance"),
        ),
        part("the best test accuracy is at 15 to 50 degrees", lambda path: 15 <= _best_angle(path) <= 50),
        (
            "the median way to a flip of a test sample falls to a third or less",
            sum(3 * free <= kept for kept, free in flips),
            len(flips),
        ),
        part("C 1e4 is an overfit tilt", lambda path: _kind(path, FREE) == "overfit tilt"),
        part("C 0.1 is none", lambda path: _kind(path, REGULARISED) != "overfit tilt"),
        ("flipped labels add 20 degrees or more at C 1e4", sum(angle >= 20 for angle in more), len(more)),
    )
    return Table(("what", "holds", "of"), rows)


def _grows(path: Path) -> bool:
    angles = [_number(row, "deviation angle") for row in path["rows"]]
    return all(later >= earlier - 1 for earlier, later in pairwise(angles))


def _best_angle(path: Path) -> float:
    return _number(max(path["rows"], key=lambda row: _number(row, "test accuracy")), "deviation angle")


def _kind(path: Path, C: float) -> str:
    return str(next(row["kind"] for row in path["rows"] if row["C"] == C))


def _averaged(paths: Sequence[Path]) -> Table:
    """Return the path of means over seeds."""
    numeric = COLUMNS[:-1]
    rows = tuple(
        tuple(mean(_number(path["rows"][place], name) for path in paths) for name in numeric)
        for place in range(len(paths[0]["rows"]))
    )
    return Table(numeric, rows, x="C", units=UNITS)
