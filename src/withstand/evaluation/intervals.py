"""Intervals for accuracies: how far a number from N test samples may be from the truth."""

import math

from torch import Tensor

_Z = 1.959963984540054
"""The normal law's 97.5 % point: intervals hold 95 %."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `hits` in `count` (Wilson, 1927); it never leaves [0, 1].

    >>> low, high = wilson(50, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)
    """
    share = hits / count
    spread = _Z**2 / count
    center = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return (0.0 if hits == 0 else center - half), (1.0 if hits == count else center + half)


def paired_difference(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """Return the difference of two accuracies on the same samples, and its 95 % interval (normal law, paired).

    Args:
        first: whether each sample was right, bool `(N,)`.
        second: the same for the other.
    """
    difference = first.double() - second.double()
    mean = float(difference.mean())
    half = _Z * math.sqrt(float(difference.var(correction=0)) / len(difference))
    return mean, mean - half, mean + half
