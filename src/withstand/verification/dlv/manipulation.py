"""Regions of a layer and the points at which they are looked at: steps along chosen dimensions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest

Mode = Literal["line", "convex", "point"]
MOST_POINTS = 2_000_000
"""Points that one enumeration may have."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Chosen dimensions of a layer, each with equal steps to both sides of a centre, up to a box.

    Attributes:
        center: the layer's values in hand, one sample's shape, float64.
        dims: the chosen flat dimensions P, int64.
        low: smallest values of those, `(P,)`.
        high: largest values, `(P,)`.
        spans: m, steps to each side; at least 1.
    """

    center: Tensor
    dims: Tensor
    low: Tensor
    high: Tensor
    spans: int = 1

    def __post_init__(self) -> None:
        if self.spans < 1:
            raise ConfigError(f"spans must be at least 1, not {self.spans}")
        if not len(self.dims) == len(self.low) == len(self.high):
            raise ConfigError("dims, low and high must be of one length")

    def count(self, mode: Mode) -> int:
        """Return the number of points: line (2m + 1)^P, convex 2^P, point 1.

        Raises:
            ConfigError: an unknown mode, or more points than can be held, with the number.
        """
        return check_count(mode, len(self.dims), self.spans)

    def values(self) -> Tensor:
        """Return the values on each dimension's ladder, `(P, 2m + 1)`: from low over the centre to high."""
        middle = self.center.flatten()[self.dims]
        middle = torch.minimum(torch.maximum(middle, self.low), self.high)
        part = torch.linspace(0, 1, self.spans + 1, dtype=torch.float64)
        below = middle[:, None] + (self.low - middle)[:, None] * part.flip(0)
        above = middle[:, None] + (self.high - middle)[:, None] * part[1:]
        return torch.cat([below, above], dim=1)

    def points(self, mode: Mode, batch: int = 4096) -> Iterator[Tensor]:
        """Yield the points, `(B, *shape)`, in batches."""
        count, size = self.count(mode), len(self.dims)
        ladder = self.values()
        sides = ladder[:, [0, -1]] if mode == "convex" else ladder
        if mode == "point":
            sides = ladder[:, [-1]]
        base = sides.shape[1]
        powers = base ** torch.arange(size, dtype=torch.int64)
        for start in range(0, count, batch):
            number = torch.arange(start, min(start + batch, count))
            digits = (number[:, None] // powers) % base
            chosen = sides.gather(1, digits.T).T
            flat = self.center.flatten().repeat(len(number), 1)
            flat[:, self.dims] = chosen
            yield flat.view(len(number), *self.center.shape)

    def cells(self) -> tuple[Tensor, Tensor]:
        """Return the boxes between neighbouring points of the line enumeration, `(B, P)` low and high.

        Together they are the whole region.
        """
        ladder = self.values()
        size, base = len(self.dims), ladder.shape[1] - 1
        if base**size > MOST_POINTS:
            raise ConfigError(f"the grid has {float(base) ** size:.3g} cells, more than {MOST_POINTS:,}")
        number = torch.arange(base**size)
        digits = (number[:, None] // base ** torch.arange(size, dtype=torch.int64)) % base
        low, high = ladder[:, :-1].gather(1, digits.T).T, ladder[:, 1:].gather(1, digits.T).T
        return low, high


def check_count(mode: Mode, dims: int, spans: int) -> int:
    """Return the number of points of an enumeration: line (2m + 1)^P, convex 2^P, point 1.

    Raises:
        ConfigError: an unknown mode, or more points than can be held, with the number.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"mode {mode!r} is unknown: {nearest(str(mode), get_args(Mode))}")
    base = {"line": 2 * spans + 1, "convex": 2, "point": 1}[mode]
    if dims * math.log(base) > math.log(MOST_POINTS):
        size = f"{float(base) ** dims:.3g}" if dims * math.log10(base) < 300 else f"{base}^{dims}"
        raise ConfigError(
            f"{mode} enumeration of {dims} dimensions has {size} points, more than {MOST_POINTS:,}: "
            "take fewer dimensions (features) or spans"
        )
    return int(base**dims)


def ladder_size(low: Tensor, high: Tensor, step: float) -> int:
    """Return the spans with which no step of a ladder between low and high is wider than `step`."""
    if not step > 0:
        raise ConfigError(f"step must be positive, not {step}")
    return max(1, math.ceil(float((high - low).max()) / 2 / step - 1e-9))
