"""The relaxation of each operation that is not linear, over intervals `(N, *shape)` of its inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.verification.bounds.curved import curved
from withstand.verification.bounds.lines import Choice, Lines, Planes, Relaxation
from withstand.verification.network.activation import Curve, Interval, MaxPool2d, ReLU
from withstand.verification.network.operation import Operation
from withstand.verification.network.product import Product


def relax(operation: Operation, inputs: Sequence[Interval]) -> Relaxation:
    """Return the relaxation of an operation that is not linear, for inputs in intervals."""
    if isinstance(operation, ReLU):
        return relu(*inputs[0], operation.slope)
    if isinstance(operation, Curve):
        return curved(operation, *inputs[0])
    if isinstance(operation, MaxPool2d):
        return _pooled(operation, *inputs[0])
    if isinstance(operation, Product):
        return _product(*inputs)
    raise TypeError(f"{type(operation).__name__} has no relaxation")


def relu(low: Tensor, high: Tensor, slope: float = 0.0) -> Lines:
    """Bound max(x, slope x): above by the chord, below by the side with the smaller area (Zhang et al., 2018)."""
    unit = 4 * torch.finfo(low.dtype).eps
    # What is no number is in doubt, and its lines are none.
    split = ~((low >= 0) | (high <= 0))
    width = torch.where(split, high - low, 1)
    # Of two numbers alone `where` makes float32: the slope would be another one than the network's.
    one, flat = torch.ones_like(low), torch.full_like(low, slope)
    chord = torch.where(split, (high - slope * low) / width, torch.where(low >= 0, one, flat))
    shift = torch.maximum(slope * low - chord * low, high - chord * high) + unit * (high.abs() + low.abs())
    lower = torch.where(split, torch.where(high > -low, one, flat), chord)
    return Lines(lower, chord, torch.where(split, shift, 0))


def _product(first: Interval, second: Interval) -> Planes:
    """Bound a b by the mean of McCormick's planes: m b + n a - m n, plus or minus the product of the halves.

    For whatever m and n, a b = m b + n a - m n + (a - m) (b - n).
    """
    (m, half), (n, other) = (_halved(*interval) for interval in (first, second))
    unit = 8 * torch.finfo(m.dtype).eps
    room = half * other * (1 + unit) + unit * (m.abs() + half) * (n.abs() + other) + torch.finfo(m.dtype).tiny
    nothing = torch.zeros_like(m)
    # A sample without bounds has no planes either, and takes none from others.
    steep = tuple(part.abs().masked_fill(part.isnan(), 0).amax(0, keepdim=True) for part in (n, m))
    return Planes((Lines(n, n, room - m * n, -m * n - room, steep[0]), Lines(m, m, nothing, None, steep[1])))


def _halved(low: Tensor, high: Tensor) -> Interval:
    """Return the middle, and a bound of the distance to either end."""
    middle = (low + high) / 2
    return middle, torch.maximum(high - middle, middle - low) * (1 + 2 * torch.finfo(low.dtype).eps)


def _pooled(operation: MaxPool2d, low: Tensor, high: Tensor) -> Choice:
    windows = operation.windows(tuple(low.shape[1:])).to(low.device)
    empty = windows < 0
    lows = low.flatten(1)[:, windows.clamp_min(0)].masked_fill(empty, -torch.inf)
    highs = high.flatten(1)[:, windows.clamp_min(0)].masked_fill(empty, -torch.inf)
    largest, best = lows.max(-1)
    others = highs.scatter(-1, best[..., None], -torch.inf).amax(-1)
    place = windows.expand(len(low), -1, -1).gather(-1, best[..., None]).squeeze(-1)
    return Choice(place, largest >= others, highs.amax(-1))
