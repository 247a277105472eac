"""Boundary tilting: measure how a linear classifier lies against its classes, and what the penalty does to that.

paper: A Boundary Tilting Perspective on the Phenomenon of Adversarial Examples (Tanay, Griffin; 2016)
claims: adversarial examples of a linear classifier are strong when its boundary is tilted against the bisector of the
  class centroids; overfitting tilts it, and L2 regularisation turns it back
learns from: frozen features of anything, or the samples themselves, with labels of two classes
use it when: a linear classifier or probe is easily fooled and it is to be known why, or how strong its penalty must be
command: withstand reproduce boundary-tilting
time: 38 s of processor time, 3 seeds
reached: with C 0.1 the boundary keeps 0.649 of the adversarial distance that is to be had, with C 1e4 0.096 (ahead by
  0.553 ± 0.011; six pairs of digits and fashion-mnist-small, 5 % of the labels flipped)
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import mean

import torch
from torch import Tensor, nn

from withstand.core.errors import DataError
from withstand.core.finding import Cell, Finding, Table
from withstand.core.random import Draws, derive
from withstand.core.roles import Source
from withstand.data.load import splits
from withstand.evaluation.features import Features, embed
from withstand.recipes.claim import Claim
from withstand.recipes.trial import refuse_other_scale
from withstand.verification.geometry.path import COLUMNS, Loss, Step, kinds, plane, regularisation_path, subspace, table
from withstand.verification.geometry.tilting import Kind, TiltingAnalysis

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e4)
_CLAIM_PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0, 1e4)
_PAIRS = {"digits": ((2, 3), (3, 8), (1, 8), (3, 9)), "fashion-mnist-small": ((0, 6), (2, 4))}
Key = tuple[str, int, int]
_REGULARISED, _FREE = 0.1, 1e4
_MOST = 400
"""Training samples a class in the claim: enough to tilt, few enough for a minute."""


def regularisation(
    *,
    data: str = "digits",
    first: int = 3,
    second: int = 8,
    encoder: nn.Module | None = None,
    penalties: Sequence[float] = PENALTIES,
    noise: float = 0.0,
    loss: Loss = "hinge",
    seed: int = 0,
) -> Finding:
    """Return the tilt of a linear classifier of two classes at each strength of the penalty.

    Args:
        data: a labelled set's name, folder or file.
        first: one class.
        second: the other.
        encoder: gives the features; None for the samples' own values.
        penalties: values of C, the inverse strength.
        noise: share of training labels that are flipped.
        loss: "hinge" or "softplus".
        seed: of the flipped labels.
    """
    train, test = splits(data)
    subject = nn.Flatten() if encoder is None else encoder
    x, y, test_x, test_y = _pair(embed(subject, train), embed(subject, test), first, second)
    noisy = _flipped(y, noise, seed)
    reference = TiltingAnalysis.fit(x, noisy)
    steps = regularisation_path(x, noisy, test_x, test_y, penalties, loss=loss, reference=reference)
    width = x.shape[1]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if count < width] + [width]
    return Finding(
        name="boundary-tilting",
        figures={
            "deviation angle, strongest penalty": steps[0].angle,
            "deviation angle, weakest penalty": steps[-1].angle,
            "adversarial distance, strongest penalty": steps[0].distance,
            "adversarial distance, weakest penalty": steps[-1].distance,
        },
        tables={
            "regularisation path": table(steps),
            "plane of angle and accuracy": plane(steps),
            "principal subspace, weakest penalty": subspace(reference, steps[-1].boundary, counts),
        },
        protocol={
            "data": data,
            "classes": [first, second],
            "features": "the samples' own values" if encoder is None else "the encoder's",
            "training samples": len(x),
            "flipped labels": noise,
            "loss": loss,
            "bias": "free of the penalty; moved to the threshold of fewest training errors where that has fewer",
            "angle": "between the normal and the difference of the class centroids, on the features as they come",
            "seed": seed,
        },
    )


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Put the paper's direction to the test: a linear SVM on pairs of classes, 5 % of the training labels flipped.

    The figure is the adversarial distance, the mean distance to the boundary over training samples, in units of half
    the distance of the centroids: the cosine of the deviation angle. The table "parts" holds what else is claimed.

    Args:
        scale: "small".
        seeds: independent draws of the flipped labels and of the training samples.

    Raises:
        ConfigError: an unknown scale.
    """
    refuse_other_scale(scale)
    noisy: dict[Key, list[list[Step]]] = {}
    plain: dict[Key, list[Step]] = {}
    flips: list[tuple[float, float]] = []
    for data, pairs in _PAIRS.items():
        train, test = (_values(source) for source in splits(data))
        for first, second in pairs:
            key = (data, first, second)
            noisy[key] = []
            for seed in range(seeds):
                x, y, test_x, test_y = _pair(train, test, first, second, most=_MOST, seed=seed)
                flipped = _flipped(y, 0.05, seed)
                steps = regularisation_path(x, flipped, test_x, test_y, _CLAIM_PENALTIES)
                noisy[key].append(steps)
                ways = [_median_flip(_at(steps, C), test_x, test_y) for C in (_REGULARISED, _FREE)]
                flips.append((ways[0], ways[1]))
                if seed == 0:
                    plain[key] = regularisation_path(x, y, test_x, test_y, _CLAIM_PENALTIES)
    runs = [[noisy[key][seed] for key in noisy] for seed in range(seeds)]
    return Claim(
        slug="boundary-tilting",
        statement="L2 regularisation turns a tilted boundary back towards the bisector of the class centroids",
        quantity="adversarial distance over half the centroids' distance",
        system=tuple(mean(_cosine(_at(steps, _REGULARISED)) for steps in run) for run in runs),
        baseline=tuple(mean(_cosine(_at(steps, _FREE)) for steps in run) for run in runs),
        names=(f"penalty with C {_REGULARISED:g}", f"next to none, C {_FREE:g}"),
        protocol={
            "classifier": "linear support vector machine, free bias",
            "features": "pixels in [0, 1]",
            "pairs": [f"{data}: {first} against {second}" for data, first, second in noisy],
            "training samples": f"up to {_MOST} a class",
            "flipped labels": 0.05,
            "centroids": "of the training samples with the labels as they were trained on",
            "scale": scale,
            "seeds": seeds,
        },
        tables={
            "parts": _parts(noisy, plain, flips),
            **{
                f"{data}, {first} against {second}, 5 % flipped": _averaged(paths)
                for (data, first, second), paths in noisy.items()
            },
            "plane of angle and accuracy, digits, 3 against 8": plane(noisy["digits", 3, 8][0]),
        },
    )


def _values(source: Source) -> Features:
    return embed(nn.Flatten(), source)


def _pair(
    train: Features, test: Features, first: int, second: int, *, most: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, y of train and of test for two classes, float64, labels 0 and 1; at most `most` a class in train."""
    parts: list[Tensor] = []
    for features, limit in ((train, most), (test, None)):
        chosen = []
        for label in (first, second):
            rows = (features.labels == label).nonzero()[:, 0]
            if not len(rows):
                raise DataError(f"there are no samples of class {label}")
            order = Draws(derive(seed, "tilting"), features.index[rows]).uniform(1)[:, 0].argsort()
            chosen.append(rows[order][:limit])
        rows = torch.cat(chosen)
        parts += [features.x[rows].double(), (features.labels[rows] == second).long()]
    return parts[0], parts[1], parts[2], parts[3]


def _flipped(y: Tensor, share: float, seed: int) -> Tensor:
    """Return the labels with a share of each class's flipped."""
    order = Draws(derive(seed, "flipped"), torch.arange(len(y))).uniform(1)[:, 0]
    changed = y.clone()
    for label in (0, 1):
        rows = (y == label).nonzero()[:, 0]
        changed[rows[order[rows].argsort()[: round(share * len(rows))]]] = 1 - label
    return changed


def _at(steps: Sequence[Step], C: float) -> Step:
    return next(step for step in steps if step.C == C)


def _cosine(step: Step) -> float:
    return float(torch.cos(torch.deg2rad(torch.tensor(step.angle, dtype=torch.float64))))


def _by_test(step: Step) -> float:
    return step.test_error


def _median_flip(step: Step, x: Tensor, y: Tensor) -> float:
    """Return the median L2 way to the boundary over test samples that are classified rightly."""
    right = step.boundary.classes(x) == y
    return float(step.boundary.distance(x)[right].abs().median())


def _grows(steps: Sequence[Step]) -> bool:
    return all(later.angle >= earlier.angle - 1 for earlier, later in pairwise(steps))


def _kind(steps: Sequence[Step], C: float) -> Kind:
    return dict(zip((step.C for step in steps), kinds(steps), strict=True))[C]


def _parts(noisy: dict[Key, list[list[Step]]], plain: dict[Key, list[Step]], flips: list[tuple[float, float]]) -> Table:
    """Return on how many paths, or pairs of classes, each further statement holds."""
    paths = [steps for found in noisy.values() for steps in found]

    def part(name: str, holds: Callable[[Sequence[Step]], bool]) -> tuple[Cell, ...]:
        return (name, sum(holds(steps) for steps in paths), len(paths))

    more = [_at(noisy[key][0], _FREE).angle - _at(plain[key], _FREE).angle for key in noisy]
    rows = (
        part("the angle grows with C, 1 degree of slack", _grows),
        part(
            "adversarial distance falls to a third or less, C 0.1 to 1e4",
            lambda steps: 3 * _at(steps, _FREE).distance <= _at(steps, _REGULARISED).distance,
        ),
        part("the best test accuracy is at 15 to 50 degrees", lambda s: 15 <= min(s, key=_by_test).angle <= 50),
        (
            "the median way to a flip of a test sample falls to a third or less",
            sum(3 * free <= kept for kept, free in flips),
            len(flips),
        ),
        part("C 1e4 is an overfit tilt", lambda steps: _kind(steps, _FREE) == "overfit tilt"),
        part("C 0.1 is none", lambda steps: _kind(steps, _REGULARISED) != "overfit tilt"),
        ("flipped labels add 20 degrees or more at C 1e4", sum(angle >= 20 for angle in more), len(more)),
    )
    return Table(("what", "holds", "of"), rows)


def _averaged(paths: Sequence[Sequence[Step]]) -> Table:
    """Return the path of means over seeds."""
    tables = [table(path) for path in paths]
    numeric = COLUMNS[:-1]
    rows: list[tuple[Cell, ...]] = []
    for place in range(len(tables[0].rows)):
        rows.append(tuple(mean(float(one.column(name)[place]) for one in tables) for name in numeric))  # type: ignore[arg-type]
    return Table(numeric, tuple(rows), x="C")
