"""When a run is given up: what it lacks is more than the rest of it could add.

Attacks gain most at first. How much a run still gains hangs on how much it has gained, and on the share of it that is
behind; limits here are above all that was met on networks trained on CIFAR-10, undefended and certifiably trained
(ResNet-20 within 0.5/255 and 1/255, Kolter and Wong's within 2/255). A run that has gained next to nothing is
never given up: whoever hides his gradients gets all steps.

Shapes: values `(N,)`, above 0 where an attack has succeeded.
"""

from bisect import bisect_right

import torch
from torch import Tensor

CLIMB = ((0.2, 4.0), (0.4, 2.0), (0.55, 1.5), (0.7, 1.2))
"""Of a climb along targeted slopes: (from this share of its steps, what may be lacking over what was gained). Climbs
that were to succeed lacked 3.1 times their gain after 22 of 100 steps, 1.4 times after 41 and 0.9 times after 57."""

SQUARES = ((0.2, 3.0), (0.4, 1.5), (0.6, 0.75), (0.8, 0.4))
"""Of Square's search: the rest of 5,000 queries added at most 1.8 times what 1,000 had gained, 0.8 times what 2,000,
0.3 times what 3,000, and 0.2 times what 4,000 had."""

LEAST = 0.01
"""What a run must have gained, over what it lacked at first, to be judged by its gain."""

EVERY = 10
"""Projections of FAB after which its runs are looked at."""


def hopeless(gain: Tensor, first: Tensor, done: float, limits: tuple[tuple[float, float], ...]) -> Tensor:
    """Return which runs lack more than the limit, bool `(N,)`.

    Args:
        gain: the best so far; above 0 is a success.
        first: what it was before the run.
        done: the share of the run that is behind.
        limits: `CLIMB` or `SQUARES`.
    """
    place = bisect_right(limits, done, key=lambda limit: limit[0])
    if not place:
        return torch.zeros_like(gain, dtype=torch.bool)
    gained = gain - first
    return (gained > -LEAST * first) & (-gain > limits[place - 1][1] * gained)


def too_far(size: Tensor, foretold: Tensor, eps: float, step: int) -> Tensor:
    """Return which of FAB's runs have found a boundary that is too far away, bool `(N,)`.

    After 10 of 100 projections the nearest point found was at most 1.8 times as far as in the end, after 20 1.4 times,
    after 30 1.3 times; and no boundary was foretold to be farther than 1.1 times where it was found in the end.

    Args:
        size: distances of the nearest points found; infinite where there is none, and no boundary to judge by.
        foretold: the least distance of a linearised boundary from the clean input.
        eps: the radius within which a point would count.
        step: projections so far.
    """
    return size.isfinite() & (size > (1 + 10 / step) * eps) & (foretold > 1.25 * eps)
