"""The regularisation path of a linear classifier: what tilt each strength of the L2 penalty leaves (Tanay, Griffin).

With `0.5 ||w||^2 + C sum_i loss_i` a small C maximises the adversarial distance (the normal goes to the difference of
the centroids), a large C minimises the error distance. `C = 1 / (2 N lambda)` for a mean loss plus `lambda ||w||^2`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.findings.finding import Cell, Table
from withstand.verification.geometry.tilting import (
    Boundary,
    Kind,
    TiltingAnalysis,
    error_distance,
    error_rate,
    kind,
    second_class,
)

MarginLoss = Literal["hinge", "softplus"]
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e4)
COLUMNS = (
    "C",
    "deviation angle",
    "adversarial strength",
    "adversarial distance",
    "error distance",
    "low-variance share",
    "train accuracy",
    "test accuracy",
    "kind",
)
"""Of `table`."""
UNITS = {
    "deviation angle": "degrees",
    "adversarial strength": "ratio",
    "adversarial distance": "distance",
    "error distance": "distance",
    "low-variance share": "share",
    "train accuracy": "share",
    "test accuracy": "share",
}
"""Of the columns of `table`."""


@dataclass(frozen=True)
class Step:
    """One strength of the penalty.

    Attributes:
        C: its inverse.
        boundary: the classifier.
        angle: deviation angle in degrees.
        strength: the larger adversarial strength of the two centroids.
        distance: adversarial distance.
        error_distance: of the training samples.
        low_variance: share of the tilt in directions of low variance.
        train_error: error rate on the training samples.
        test_error: error rate on the test samples.
    """

    C: float
    boundary: Boundary
    angle: float
    strength: float
    distance: float
    error_distance: float
    low_variance: float
    train_error: float
    test_error: float


def fit_boundary(x: Tensor, y: Tensor, C: float, *, loss: MarginLoss = "hinge") -> Boundary:
    """Fit a linear classifier whose bias is free of the penalty.

    At small C a support vector machine's bias runs off to the larger class, so the bias moves to the threshold with
    the fewest training errors where that has fewer.

    Args:
        x: training samples `(N, D)`, on the scaling in which the attack's norm is taken.
        y: two different labels `(N,)`.
        C: inverse strength of the penalty.
        loss: "hinge" (support vector machine) or "softplus" (logistic regression).
    """
    if loss not in get_args(MarginLoss):
        raise ConfigError(f"loss {loss!r} is unknown: {nearest(str(loss), get_args(MarginLoss))}")
    if not 0 < C < float("inf"):
        raise ConfigError(f"C must be positive and finite, not {C}")
    rows, labels = x.detach().to("cpu", torch.float64).flatten(1), second_class(y)
    svm = SVC(kernel="linear", C=C, tol=1e-4)
    model = svm if loss == "hinge" else LogisticRegression(C=C, max_iter=10000, tol=1e-6)
    with threadpool_limits(1):
        model.fit(rows.numpy(), labels.numpy())
    boundary = Boundary(torch.from_numpy(np.array(model.coef_[0])), float(model.intercept_[0]))
    return _best_bias(boundary, rows, labels)


def regularisation_path(
    x: Tensor,
    y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    penalties: Sequence[float] = PENALTIES,
    *,
    loss: MarginLoss = "hinge",
    reference: TiltingAnalysis | None = None,
) -> list[Step]:
    """Fit at each C, and measure the tilt.

    Args:
        x: training samples `(N, D)` of two classes.
        y: their labels.
        test_x: other samples.
        test_y: their labels.
        penalties: the values of C.
        loss: as for `fit_boundary`.
        reference: the centroids to measure against, those of `x` and `y` if not said.
    """
    if not penalties:
        raise ConfigError("penalties is empty: give at least one C")
    analysis = reference or TiltingAnalysis.fit(x, y)
    steps = []
    for C in sorted(penalties):
        boundary = fit_boundary(x, y, C, loss=loss)
        steps.append(
            Step(
                C=C,
                boundary=boundary,
                angle=analysis.angle(boundary),
                strength=float(analysis.strength(boundary).max()),
                distance=analysis.adversarial_distance(boundary),
                error_distance=error_distance(boundary, x, y),
                low_variance=analysis.low_variance_share(boundary),
                train_error=error_rate(boundary, x, y),
                test_error=error_rate(boundary, test_x, test_y),
            )
        )
    return steps


def kinds(steps: Sequence[Step]) -> list[Kind]:
    """Return the type of each step against the whole path."""
    points = [(step.angle, step.train_error) for step in steps]
    return [kind(step.angle, step.train_error, points) for step in steps]


def table(steps: Sequence[Step]) -> Table:
    """Return the path as curves over C."""
    rows: list[tuple[Cell, ...]] = [
        (
            step.C,
            step.angle,
            step.strength,
            step.distance,
            step.error_distance,
            step.low_variance,
            1 - step.train_error,
            1 - step.test_error,
            name,
        )
        for step, name in zip(steps, kinds(steps), strict=True)
    ]
    return Table(COLUMNS, tuple(rows), x="C", units=UNITS)


def plane(steps: Sequence[Step]) -> Table:
    """Return the plane of deviation angle and accuracy, in which the types are told apart."""
    ordered = sorted(steps, key=lambda step: step.angle)
    rows: tuple[tuple[Cell, ...], ...] = tuple((s.angle, 1 - s.train_error, 1 - s.test_error, s.C) for s in ordered)
    columns = ("deviation angle", "train accuracy", "test accuracy", "C")
    return Table(columns, rows, x="deviation angle", units={name: UNITS[name] for name in columns[:-1]})


def subspace(analysis: TiltingAnalysis, boundary: Boundary, components: Sequence[int]) -> Table:
    """Return angle and share of the boundary's normal within the leading principal components."""
    rows: list[tuple[Cell, ...]] = []
    for count in sorted(set(components)):
        angle, share = analysis.in_principal_subspace(boundary, count)
        rows.append((count, angle, share))
    columns = ("components", "deviation angle", "share of the normal within")
    units = {columns[1]: UNITS[columns[1]], columns[2]: "share"}
    return Table(columns, tuple(rows), x="components", units=units)


def head_tilts(head: nn.Linear, x: Tensor, y: Tensor) -> Table:
    """Return the tilt of every pair of classes of a linear head, exact, on the features that it reads.

    Args:
        head: output k is class k.
        x: training features `(N, D)`.
        y: labels from 0, below the head's outputs.
    """
    if int(y.max()) >= head.out_features:
        raise DataError(f"labels reach {int(y.max())}, the head has {head.out_features} outputs")
    weight = head.weight.detach().cpu().double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if head.bias is None else head.bias.detach().cpu().double()
    rows: list[tuple[Cell, ...]] = []
    for first, second in combinations(sorted(set(y.tolist())), 2):
        chosen = (y == first) | (y == second)
        analysis = TiltingAnalysis.fit(x[chosen], y[chosen])
        boundary = Boundary(weight[second] - weight[first], float(bias[second] - bias[first]))
        strength = float(analysis.strength(boundary).max())
        rows.append(
            (
                f"{first} against {second}",
                analysis.angle(boundary),
                strength,
                analysis.adversarial_distance(boundary),
                analysis.low_variance_share(boundary),
                error_rate(boundary, x[chosen], y[chosen]),
            )
        )
    columns = ("classes", "deviation angle", "adversarial strength", "adversarial distance", "low-variance share",
               "error rate")  # fmt: skip
    units = {name: UNITS[name] for name in columns[1:-1]} | {"error rate": "share"}
    return Table(columns, tuple(rows), units=units)


def _best_bias(boundary: Boundary, x: Tensor, labels: Tensor) -> Boundary:
    """Return the boundary with the threshold of fewest errors, or itself when that has no fewer."""
    scores: npt.NDArray[np.float64] = (x @ boundary.weight).numpy()
    order = np.argsort(scores, kind="stable")
    sorted_scores, second = scores[order], labels.numpy()[order]
    # errors[k]: the k lowest scores are called the first class
    errors = np.concatenate([[0], np.cumsum(second)]) + np.concatenate([np.cumsum(~second[::-1])[::-1], [0]])
    middle = (sorted_scores[1:] + sorted_scores[:-1]) / 2
    apart = sorted_scores[1:] > sorted_scores[:-1]
    inner = np.where(apart, errors[1:-1], len(errors) + 1)
    best = int(inner.argmin())
    now = int(((scores + boundary.bias > 0) != labels.numpy()).sum())
    return Boundary(boundary.weight, -float(middle[best])) if inner[best] < now else boundary
