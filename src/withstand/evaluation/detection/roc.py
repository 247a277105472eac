"""How well a score tells two kinds of samples apart; higher scores stand for the first kind.

Sizes: `P` samples of the first kind (clean, to be accepted), `Q` of the second (attacked, to be rejected).
"""

import torch
from torch import Tensor


def auroc(first: Tensor, second: Tensor) -> float:
    """Return the chance that a sample of the first kind scores above one of the second; ties count half.

    NaN where one kind has no samples.

    Args:
        first: scores `(P,)`.
        second: scores `(Q,)`.
    """
    if not len(first) or not len(second):
        return float("nan")
    ordered, values = second.double().sort().values, first.double()
    below = torch.searchsorted(ordered, values, side="left")
    up_to = torch.searchsorted(ordered, values, side="right")
    return float((below + up_to).double().mean() / (2 * len(second)))


def rejected_at(first: Tensor, second: Tensor, rate: float) -> float:
    """Return which share of the second kind is rejected where at most `rate` of the first kind is.

    The threshold is one of the first kind's scores; what lies below it is rejected. NaN where one kind is missing.
    """
    if not len(first) or not len(second):
        return float("nan")
    ordered = first.sort().values
    place = int(rate * len(ordered) + 1e-9)
    if place >= len(ordered):
        return 1.0
    return float((second < ordered[place]).double().mean())
