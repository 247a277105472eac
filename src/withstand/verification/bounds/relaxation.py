"""Lines below and above an activation over an interval, and the choice that a max-pooling is bounded by.

Shapes: intervals `(N, *shape)`. Lines hold in exact arithmetic: intercepts carry the rounding of slopes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.verification.activation import MaxPool2d, ReLU, Sigmoid, Tanh
from withstand.verification.operation import Operation
from withstand.verification.window import Window


@dataclass(eq=False)
class Lines:
    """`low_slope x + low_shift <= f(x) <= high_slope x + high_shift`, entry by entry; no shift is 0."""

    low_slope: Tensor
    high_slope: Tensor
    high_shift: Tensor
    low_shift: Tensor | None = None

    def take(self, rows: Tensor) -> "Lines":
        """Return the lines of some samples."""
        shift = None if self.low_shift is None else self.low_shift[rows]
        return Lines(self.low_slope[rows], self.high_slope[rows], self.high_shift[rows], shift)

    def cut(self, window: Window) -> "Lines":
        """Return the lines in a window of pictures."""
        shift = None if self.low_shift is None else window.cut(self.low_shift)
        return Lines(window.cut(self.low_slope), window.cut(self.high_slope), window.cut(self.high_shift), shift)


@dataclass(eq=False)
class Choice:
    """Bounds of a max-pooling: from below by one input of the window, from above by it or by a constant.

    Attributes:
        place: the flat place of the window's input with the largest lower bound, `(N, outputs)`.
        alone: whether that input always wins.
        high: the largest value of the window.
    """

    place: Tensor
    alone: Tensor
    high: Tensor

    def take(self, rows: Tensor) -> "Choice":
        """Return the choices of some samples."""
        return Choice(self.place[rows], self.alone[rows], self.high[rows])


def relax(operation: Operation, low: Tensor, high: Tensor) -> "Lines | Choice":
    """Return the relaxation of an operation that is not linear, for inputs in `[low, high]`."""
    if isinstance(operation, ReLU):
        return relu(low, high, operation.slope)
    if isinstance(operation, Sigmoid | Tanh):
        return _s_shaped(operation, low, high)
    if isinstance(operation, MaxPool2d):
        return _pooled(operation, low, high)
    raise TypeError(f"{type(operation).__name__} has no relaxation")


def relu(low: Tensor, high: Tensor, slope: float = 0.0) -> Lines:
    """Bound max(x, slope x): above by the chord, below by the side with the smaller area (Zhang et al., 2018)."""
    unit = 4 * torch.finfo(low.dtype).eps
    split = (low < 0) & (high > 0)
    width = torch.where(split, high - low, 1)
    # Of two numbers alone `where` makes float32: the slope would be another one than the network's.
    one, flat = torch.ones_like(low), torch.full_like(low, slope)
    chord = torch.where(split, (high - slope * low) / width, torch.where(low >= 0, one, flat))
    shift = torch.maximum(slope * low - chord * low, high - chord * high) + unit * (high.abs() + low.abs())
    lower = torch.where(split, torch.where(high > -low, one, flat), chord)
    return Lines(lower, chord, torch.where(split, shift, 0))


def _s_shaped(operation: Sigmoid | Tanh, low: Tensor, high: Tensor) -> Lines:
    """Bound a sigmoid by chords and tangents; it is odd about (0, f(0)), so the line below mirrors the one above."""
    # In double: near a point interval, chords are quotients of small differences.
    below, above = low.double(), high.double()
    half = 0.5 if isinstance(operation, Sigmoid) else 0.0

    def odd(x: Tensor) -> Tensor:
        return operation.forward(x) - half

    def rate(x: Tensor) -> Tensor:
        y = operation.forward(x)
        return y * (1 - y) if half else 1 - y.square()

    high_slope, high_shift = _above(odd, rate, below, above)
    low_slope, low_shift = _above(odd, rate, -above, -below)
    reach = torch.maximum(below.abs(), above.abs())
    unit = 8 * torch.finfo(low.dtype).eps
    room_high = unit * (1 + reach + high_shift.abs())
    room_low = unit * (1 + reach + low_shift.abs())
    return Lines(
        low_slope.to(low),
        high_slope.to(low),
        (high_shift + half + room_high).to(low),
        (half - low_shift - room_low).to(low),
    )


def _above(
    odd: Callable[[Tensor], Tensor], rate: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return slope and shift of a line above an odd function that is convex below 0 and concave above."""
    width = high - low
    narrow = width < 1e-8
    chord = torch.where(narrow, 0, (odd(high) - odd(low)) / torch.where(narrow, 1, width))
    # Tangents from the left end: the touching point is sought by bisection, and always one that lies above.
    left, right = torch.zeros_like(high), high.clamp_min(0)
    for _ in range(50):
        middle = (left + right) / 2
        over = odd(middle) + rate(middle) * (low - middle) >= odd(low)
        left, right = torch.where(over, left, middle), torch.where(over, middle, right)
    touch = torch.where(low >= 0, (low + high) / 2, right)
    convex = (high <= 0) | ((low < 0) & (odd(high) + rate(high) * (low - high) < odd(low)))
    slope = torch.where(convex, chord, rate(touch))
    shift = torch.where(convex, odd(high) - chord * high, odd(touch) - rate(touch) * touch)
    shift = torch.where(convex, torch.maximum(shift, odd(low) - chord * low), shift)
    # On a point, the value itself.
    return torch.where(narrow, 0, slope), torch.where(narrow, odd(high), shift)


def _pooled(operation: MaxPool2d, low: Tensor, high: Tensor) -> Choice:
    windows = operation.windows(tuple(low.shape[1:])).to(low.device)
    empty = windows < 0
    lows = low.flatten(1)[:, windows.clamp_min(0)].masked_fill(empty, -torch.inf)
    highs = high.flatten(1)[:, windows.clamp_min(0)].masked_fill(empty, -torch.inf)
    largest, best = lows.max(-1)
    others = highs.scatter(-1, best[..., None], -torch.inf).amax(-1)
    place = windows.expand(len(low), -1, -1).gather(-1, best[..., None]).squeeze(-1)
    return Choice(place, largest >= others, highs.amax(-1))
