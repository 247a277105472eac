"""Boundary tilting: the geometry of a linear boundary against the two classes' centroids (Tanay, Griffin 2016).

A linear boundary has strong adversarial examples when it is tilted against the bisector of the class centroids: then it
lies close to the data in a direction that says little about the class. Everything here is float64 on the CPU.

Sizes: `N` samples, `D` width. `i` is the centroid of the first class, `j` of the second, `z = j - i`; `w` is the
boundary's normal, `d(x) = (w.x + b) / ||w||` its signed distance, positive on the side of the second class. All angles
are in degrees. The angle depends on the features' scaling: measure on the scaling in which the attack's norm is taken.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.options import ConvexNorm

Kind = Literal["near-bisector", "non-optimal tilt", "overfit tilt"]
_DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


@dataclass(frozen=True)
class Boundary:
    """A linear boundary `w.x + b = 0`; the second class lies where that is positive.

    Attributes:
        weight: w, float64 `(D,)`, not zero.
        bias: b.
    """

    weight: Tensor
    bias: float = 0.0

    def __post_init__(self) -> None:
        weight = self.weight.detach().to("cpu", torch.float64).flatten()
        if not bool(torch.isfinite(weight).all()) or not bool(weight.any()):
            raise DataError("a boundary's weight must be finite and not all zero")
        object.__setattr__(self, "weight", weight)

    @property
    def normal(self) -> Tensor:
        """The unit normal `(D,)`."""
        unit: Tensor = self.weight / self.weight.norm()
        return unit

    def distance(self, x: Tensor, norm: ConvexNorm = "l2") -> Tensor:
        """Return the signed distance of samples `(N, D)` to the boundary in a norm, `(N,)`."""
        if norm not in get_args(ConvexNorm):
            raise ConfigError(f"norm {norm!r} is unknown: {nearest(str(norm), get_args(ConvexNorm))}")
        size = torch.linalg.vector_norm(self.weight, ord=_DUAL[norm])
        signed: Tensor = (_rows(x, len(self.weight)) @ self.weight + self.bias) / size
        return signed

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest points on the boundary, of confidence 0."""
        return _rows(x, len(self.weight)) - self.distance(x)[:, None] * self.normal

    def mirror(self, x: Tensor) -> Tensor:
        """Return the mirror images: as confident as the samples, in the other class."""
        return _rows(x, len(self.weight)) - 2 * self.distance(x)[:, None] * self.normal

    def classes(self, x: Tensor) -> Tensor:
        """Return 0 or 1 for each sample, int64 `(N,)`."""
        return (self.distance(x) > 0).long()

    def tilted(self, direction: Tensor, angle: float, pivot: Tensor) -> "Boundary":
        """Return the boundary turned towards a direction orthogonal to its normal, by an angle below 90 degrees.

        Args:
            direction: n, `(D,)`; its part along the normal is taken away.
            angle: t: the new normal is cos(t) w + sin(t) n.
            pivot: a point `(D,)` whose share of the old offset is kept: data without variance along n, and with the
                pivot's value there, keep their classes at every angle.
        """
        if not 0 <= angle < 90:
            raise ConfigError(f"angle must be at least 0 and below 90 degrees, not {angle}")
        normal = self.normal
        across = direction.double().flatten() - (direction.double().flatten() @ normal) * normal
        if float(across.norm()) < 1e-12:
            raise ConfigError("direction must not be parallel to the boundary's normal")
        across = across / across.norm()
        turn = math.radians(angle)
        bias = self.bias / float(self.weight.norm()) * math.cos(turn) - math.sin(turn) * float(across @ pivot.double())
        return Boundary(math.cos(turn) * normal + math.sin(turn) * across, bias)


@dataclass(frozen=True)
class TiltingAnalysis:
    """The centroids and the pooled, class-centred spread of two classes of training samples.

    Attributes:
        first: i, `(D,)`.
        second: j, `(D,)`.
        directions: principal directions of the class-centred samples, one a row `(D, D)`, by falling variance.
        variances: their variances `(D,)`.
    """

    first: Tensor
    second: Tensor
    directions: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, x: Tensor, y: Tensor) -> "TiltingAnalysis":
        """Measure two classes.

        Args:
            x: training samples `(N, D)`.
            y: two different labels `(N,)`; the smaller is the first class.

        Raises:
            DataError: not two classes, or equal centroids.
        """
        second = second_class(y)
        rows = _rows(x, None)
        means = torch.stack([rows[~second].mean(0), rows[second].mean(0)])
        if torch.equal(means[0], means[1]):
            raise DataError("the two classes have the same centroid, so that no angle can be measured against them")
        centred = rows - means[second.long()]
        _, values, directions = torch.linalg.svd(centred, full_matrices=True)
        variances = torch.zeros(rows.shape[1], dtype=torch.float64)
        variances[: len(values)] = values**2 / len(rows)
        return cls(means[0], means[1], directions, variances)

    @property
    def axis(self) -> Tensor:
        """The difference of the centroids, z `(D,)`."""
        return self.second - self.first

    @property
    def middle(self) -> Tensor:
        """The point between the centroids, `(D,)`."""
        return (self.first + self.second) / 2

    @property
    def bisector(self) -> Boundary:
        """The nearest-centroid classifier's boundary."""
        return Boundary(self.axis, -float(self.axis @ self.middle))

    def angle(self, boundary: Boundary) -> float:
        """Return the deviation angle between the boundary's normal and z, 0 to 180; above 90 it is inverted."""
        return _angle(boundary.normal, self.axis)

    def adversarial_distance(self, boundary: Boundary, norm: ConvexNorm = "l2") -> float:
        """Return the mean signed distance to the boundary, classes weighted equally: `w.(j - i) / (2 ||w||_dual)`.

        In L2 that is `||z|| cos(angle) / 2`. The bias plays no part.
        """
        ends = boundary.distance(torch.stack([self.first, self.second]), norm)
        return float(ends[1] - ends[0]) / 2

    def strength(self, boundary: Boundary, x: Tensor | None = None) -> Tensor:
        """Return how much nearer the boundary's flip is than the bisector's, `|d_B(x)| / |d(x)|`, `(N,)`.

        For the two centroids when no samples are given: `1 / cos(angle)` each when the boundary lies midway.
        """
        samples = torch.stack([self.first, self.second]) if x is None else x
        return self.bisector.distance(samples).abs() / boundary.distance(samples).abs()

    def spectrum(self, boundary: Boundary) -> Tensor:
        """Return the share of the normal's square, outside z, in each principal direction, `(D,)`; sums to 1.

        All zero for a boundary along the bisector.
        """
        along = self.axis / self.axis.norm()
        rest = boundary.normal - (boundary.normal @ along) * along
        shares = (self.directions @ rest) ** 2
        total = shares.sum()
        return shares / total if float(total) > 1e-20 else torch.zeros_like(shares)

    def low_variance_share(self, boundary: Boundary, threshold: float = 0.1) -> float:
        """Return the share of the tilt in directions whose variance is below `threshold` times the mean variance."""
        low = self.variances < threshold * self.variances.mean()
        return float(self.spectrum(boundary)[low].sum())

    def in_principal_subspace(self, boundary: Boundary, components: int) -> tuple[float, float]:
        """Return (angle within the leading components, share of the normal's square that lies in them).

        Raises:
            ConfigError: a number of components that there is not.
        """
        if not 1 <= components <= len(self.variances):
            raise ConfigError(f"components must be 1 to {len(self.variances)}, not {components}")
        basis = self.directions[:components]
        inside = basis @ boundary.normal
        return _angle(inside, basis @ self.axis), float(inside @ inside)

    def cheapest_tilt(self, boundary: Boundary) -> Tensor:
        """Return the direction of least variance orthogonal to the boundary's normal and to z, `(D,)`.

        Tilting towards it changes fewest predictions.
        """
        kept, _ = torch.linalg.qr(torch.stack([self.axis / self.axis.norm(), boundary.normal], dim=1))
        outside = torch.eye(len(self.axis), dtype=torch.float64) - kept @ kept.T
        spread = outside @ (self.directions.T * self.variances) @ self.directions @ outside
        # What was taken away must not pass for a direction without variance.
        spread = spread + kept @ kept.T * (1 + 2 * self.variances.sum())
        least: Tensor = torch.linalg.eigh(spread).eigenvectors[:, 0]
        return least


def error_distance(boundary: Boundary, x: Tensor, y: Tensor) -> float:
    """Return how deep the misclassified samples lie on the wrong side, summed, over N."""
    signed = torch.where(second_class(y), 1.0, -1.0) * boundary.distance(x)
    return float(signed.clamp_max(0).neg().sum()) / len(signed)


def error_rate(boundary: Boundary, x: Tensor, y: Tensor) -> float:
    """Return the share of misclassified samples."""
    return float((boundary.classes(x) != second_class(y).long()).double().mean())


def second_class(y: Tensor) -> Tensor:
    """Return which samples bear the larger of two labels, bool `(N,)`.

    Raises:
        DataError: not exactly two classes.
    """
    labels = sorted(set(y.tolist()))
    if len(labels) != 2:
        raise DataError(f"boundary tilting looks at two classes at a time, not {len(labels)}")
    second: Tensor = (y == labels[1]).cpu()
    return second


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the (angle, error rate) pairs that no other pair beats in both, by angle."""
    best: list[tuple[float, float]] = []
    for angle, error in sorted(points):
        if not best or error < best[-1][1]:
            best.append((angle, error))
    return best


def kind(
    angle: float, error: float, points: list[tuple[float, float]], *, near: float = 30.0, tolerance: float = 0.005
) -> Kind:
    """Return which type of adversarial examples a boundary has, by the front of (angle, training error rate).

    "near-bisector" (type 0): the flip is a visible change towards the other class. "non-optimal tilt" (type 1): a
    less tilted boundary fits as well, so that the tilt is avoidable at no cost. "overfit tilt" (type 2): the tilt
    buys training accuracy, which regularisation would give up.

    Args:
        angle: the boundary's deviation angle.
        error: its error rate on the training data.
        points: (angle, training error rate) of the boundaries to choose from, as a regularisation path gives them.
        near: the largest angle that counts as near the bisector; a choice of this package.
        tolerance: how much more error of a less tilted boundary still counts as none.
    """
    if angle < near:
        return "near-bisector"
    cheaper = [other for turn, other in front(points) if turn < angle - 1e-9]
    return "non-optimal tilt" if cheaper and min(cheaper) <= error + tolerance else "overfit tilt"


def _angle(first: Tensor, second: Tensor) -> float:
    """Return the angle between two vectors, exact also near 0, where the arc cosine is not."""
    unit = second / second.norm()
    along = float(first @ unit)
    across = float((first - along * unit).norm())
    return math.degrees(math.atan2(across, along))


def _rows(x: Tensor, width: int | None) -> Tensor:
    rows = x.detach().to("cpu", torch.float64).flatten(1)
    if width is not None and rows.shape[1] != width:
        raise DataError(f"samples have {rows.shape[1]} features, the boundary {width}")
    return rows
