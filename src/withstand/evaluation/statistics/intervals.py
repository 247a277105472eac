"""Intervals for accuracies: how far a number from N test samples may be from the truth."""

import math
from dataclasses import dataclass
from typing import Self

from scipy.stats import binomtest
from torch import Tensor

from withstand.core.findings.finding import HIGH, LOW, Better, Measure


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `hits` in `count` (Wilson, 1927); it never leaves [0, 1].

    >>> low, high = wilson(50, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)
    >>> round(wilson(0, 40)[1], 4)
    0.0876
    """
    found = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Share:
    """A share of samples, with the ends of its 95 % interval (Wilson).

    Attributes:
        hits: samples that count.
        count: all samples.
    """

    hits: int
    count: int

    @classmethod
    def of(cls, holds: Tensor) -> Self:
        """Return the share of a condition that holds or not, bool `(N,)`."""
        return cls(int(holds.sum()), len(holds))

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval."""
        return wilson(self.hits, self.count)

    @property
    def cells(self) -> tuple[float, float, float]:
        """The share and both ends, as a table holds them under `columns`."""
        return (self.value, *self.interval)

    def measure(self, better: Better = "higher") -> Measure:
        """Return the share as a finding's figure."""
        return Measure(self.value, "share", better, interval=self.interval, of=self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}]"


def columns(name: str) -> tuple[str, str, str]:
    """Return the names of a share and of the ends of its interval."""
    return name, name + LOW, name + HIGH


def shares(*names: str) -> dict[str, str]:
    """Return the units of a table's columns that hold shares."""
    return dict.fromkeys(names, "share")


def paired_difference(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """Return the difference of two accuracies on the same samples, and its 95 % interval; it never leaves [-1, 1].

    The interval is made of the two Wilson intervals and of how the answers go together (Newcombe, 1998, method 10).

    Args:
        first: whether each sample was right, bool `(N,)`.
        second: the same for the other.

    >>> import torch
    >>> found = paired_difference(torch.tensor([True] * 40), torch.tensor([False] * 40))
    >>> [round(value, 3) for value in found]
    [1.0, 0.876, 1.0]
    """
    one, other = Share.of(first), Share.of(second)
    (low, high), (lower, higher) = one.interval, other.interval
    down, up = one.value - low, high - one.value
    beneath, above = other.value - lower, higher - other.value
    together = _phi(first, second)
    difference = one.value - other.value
    left = math.sqrt(max(down**2 - 2 * together * down * above + above**2, 0.0))
    right = math.sqrt(max(up**2 - 2 * together * up * beneath + beneath**2, 0.0))
    return difference, max(difference - left, -1.0), min(difference + right, 1.0)


def _phi(first: Tensor, second: Tensor) -> float:
    """Return the correlation of two conditions, with Newcombe's correction towards 0; 0 where one never changes."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    one, other = int((first & ~second).sum()), int((~first & second).sum())
    square = (both + one) * (other + neither) * (both + other) * (one + neither)
    if not square:
        return 0.0
    over = float(both * neither - one * other)
    if over > 0:
        over = max(over - len(first) / 2, 0.0)
    return over / math.sqrt(square)
