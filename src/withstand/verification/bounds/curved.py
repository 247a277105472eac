"""Lines below and above a smooth activation over an interval (Shi et al., GenBaB, 2024; Zhang et al., CROWN, 2018).

Below a function that is convex in one piece [p, q] of the interval [l, u] and concave on both sides of it, the tangent
at t in [p, q] is a bound as soon as it lies below both ends: a concave part lies above the chord of its own ends. The t
that serve are an interval, between the one whose tangent meets the left end and the one whose tangent meets the right;
where there is none, the chord of l and u is a bound. Of those that serve, the t nearest to the middle leaves the least
area. Lines above f are lines below -f.

Whatever the slope that comes out of this in floating point, the shift is calculated for it: at the ends, and in each
convex piece from the tangent at some t, f(x) >= f(t) + f'(t) (x - t), so that the line holds in exact arithmetic.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from withstand.verification.bounds.lines import Lines, Places, Tangents
from withstand.verification.network.activation import Curve, Interval, rounded

_STEPS = 40
"""Halvings of a bracket; what they leave is paid for in the shift."""
_NARROW = 1e-7
"""Width, as a share of the ends' size, below which a chord's slope is no quotient worth anything."""


class _Side:
    """A curve, or its negative, over intervals: all float64, of one shape.

    Args:
        curve: the function.
        sign: 1 for lines below the curve, -1 for lines below its negative.
        low: the intervals' left ends.
        high: their right ends.
    """

    def __init__(self, curve: Curve, sign: int, low: Tensor, high: Tensor) -> None:
        self.curve, self.sign, self.low, self.high = curve, sign, low, high
        begin, end = curve.convex
        left, right = low < begin, high > end
        self.outer = left & right if sign < 0 and begin > -torch.inf and end < torch.inf else None
        """Where both ends lie in convex pieces of their own, with a concave one between; None if that cannot be."""
        with torch.no_grad():
            if sign > 0:
                first, last = low.clamp_min(begin), high.clamp_max(end)
                self.piece = first <= last
            else:
                first = torch.where(left, low, low.clamp_min(end))
                last = torch.where(left, high.clamp_max(begin), high)
                self.piece = left ^ right
            """Where there is one convex piece."""
            self.first = torch.where(self.piece, first, low)
            """Where the convex piece begins; where there is none, this and `last` are the interval's ends."""
            self.last = torch.where(self.piece, last, high)

    def value(self, x: Tensor) -> Tensor:
        return self.sign * self.curve.forward(x)

    def rate(self, x: Tensor) -> Tensor:
        if self.curve.kinked and self.sign < 0:
            # The convex pieces lie outside, and so do their slopes.
            begin, end = self.curve.convex
            x = torch.where(x == begin, x.nextafter(torch.full_like(x, -torch.inf)), x)
            x = torch.where(x == end, x.nextafter(torch.full_like(x, torch.inf)), x)
        return self.sign * self.curve.rate(x)

    @torch.no_grad()
    def serving(self) -> Interval:
        """Return the first and the last place whose tangent is a bound; first > last where there is none."""
        whole = self.piece & (self.first == self.low) & (self.last == self.high)
        first, last, some = self.low, self.high, whole
        if not bool((whole | ~self.piece).all()):
            left, right = self.value(self.low), self.value(self.high)

            def meets_left(t: Tensor) -> Tensor:
                return self.value(t) + self.rate(t) * (self.low - t) <= left

            def meets_right(t: Tensor) -> Tensor:
                return self.value(t) + self.rate(t) * (self.high - t) <= right

            # From the left on, tangents meet the left end later and later, and the right end no more at some place.
            _, first = _halve(lambda t: ~meets_left(t), self.first, self.last)
            last, _ = _halve(meets_right, self.first, self.last)
            first = torch.where(self.first == self.low, self.low, first)
            last = torch.where(self.last == self.high, self.high, last)
            some = whole | (self.piece & (first <= last) & meets_left(first) & meets_right(last))
        return first.masked_fill(~some, torch.inf), last.masked_fill(~some, -torch.inf)

    def line(self, touch: Tensor, serves: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return slope and shift, in a precision, of a line below: a tangent where it serves, a chord elsewhere."""
        left, right = self.value(self.low), self.value(self.high)
        reach = torch.maximum(self.low.abs(), self.high.abs())
        slope = torch.where(serves, self.rate(touch), self._chord(left, right, reach)).to(dtype)
        shift = self._shift(slope, touch, serves, left, right)
        if self.curve.kinked and self.sign < 0:
            slope, shift = self._over_kinks(slope, shift, touch, left, right)
        unit = 8 * torch.finfo(torch.float64).eps
        return slope, rounded(shift - unit * (shift.abs() + (slope.double() * reach).abs()), dtype, up=False)

    def _shift(self, slope: Tensor, touch: Tensor, serves: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Return how high a line with whatever slope may lie."""
        low, high, steep = self.low, self.high, slope.double()
        where = (self.piece & ~serves).nonzero(as_tuple=True)
        inside = touch.index_put(where, self._parallel(where, steep)) if len(where[0]) else touch
        shift = torch.minimum(self._end(low, left, steep), self._end(high, right, steep))
        tangent = self._tangent(inside, self.first, self.last, steep)
        shift = torch.where(self.piece, torch.minimum(shift, tangent), shift)
        if self.outer is not None:
            begin, end = self.curve.convex
            one = self._tangent(low, low, low.clamp_min(begin), steep)
            other = self._tangent(high, high.clamp_max(end), high, steep)
            shift = torch.where(self.outer, torch.minimum(shift, torch.minimum(one, other)), shift)
        return shift

    def _over_kinks(
        self, slope: Tensor, shift: Tensor, touch: Tensor, left: Tensor, right: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return lines that pass through kinks instead of ends where they are closer in the middle."""
        middle = (self.low + self.high) / 2
        begin, end = (self.low.new_full((), place).expand_as(self.low) for place in self.curve.convex)
        for first, last in ((self.low, end), (begin, self.high), (begin, end)):
            fits = (first >= self.low) & (last <= self.high) & (last - first > _NARROW)
            first, last = torch.where(fits, first, self.low), torch.where(fits, last, self.high)
            width = (last - first).masked_fill(~fits, 1.0)
            other = torch.where(fits, (self.value(last) - self.value(first)) / width, slope.double()).to(slope.dtype)
            lower = self._shift(other, touch, torch.zeros_like(fits), left, right)
            gain = (other.double() - slope.double()) * middle + lower - shift
            slope, shift = torch.where(gain > 0, other, slope), torch.where(gain > 0, lower, shift)
        return slope, shift

    def _chord(self, left: Tensor, right: Tensor, reach: Tensor) -> Tensor:
        """Return the slope of the chord, never above what a slope can be."""
        width = self.high - self.low
        narrow = width <= _NARROW * reach
        slope = (right - left) / width.masked_fill(narrow, 1.0)
        first, last = self.rate(self.low), self.rate(self.high)
        if self.curve.steepest is not None:
            slope = slope.clamp(-self.curve.steepest, self.curve.steepest)
        else:
            slope = torch.minimum(torch.maximum(slope, torch.minimum(first, last)), torch.maximum(first, last))
        return torch.where(narrow, (first + last) / 2, slope)

    @torch.no_grad()
    def _parallel(self, where: Places, steep: Tensor) -> Tensor:
        """Return where in the convex pieces of some entries the slope comes closest to a given one."""
        first, last, steep = self.first[where], self.last[where], steep[where]
        place, _ = _halve(lambda t: self.rate(t) <= steep, first, last)
        return torch.where(self.rate(last) <= steep, last, place)

    def _end(self, x: Tensor, value: Tensor, steep: Tensor) -> Tensor:
        return value - self.curve.doubt(x, value) - steep * x

    def _tangent(self, place: Tensor, begin: Tensor, end: Tensor, steep: Tensor) -> Tensor:
        """Return a bound from below of the function minus `steep x` in a convex piece, from the tangent at a place."""
        value, rate = self.value(place), self.rate(place)
        doubt = 16 * torch.finfo(torch.float64).eps * (rate.abs() if self.curve.steepest is None else rate.abs() + 1)
        over = rate - steep
        lost = torch.maximum((doubt - over) * (end - place), (doubt + over) * (place - begin)).clamp_min(0)
        return self._end(place, value, steep) - lost


def _halve(upper: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return brackets of where a condition that holds from below ends to hold."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        holds = upper(middle)
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return low, high


def curved(curve: Curve, low: Tensor, high: Tensor) -> Lines:
    """Return lines of a smooth activation over intervals, the closest in their middles."""
    left, right = low.double(), high.double()
    middle = ((left + right) / 2).detach()
    found, serving, touches = [], [], []
    for sign in (1, -1):
        side = _Side(curve, sign, left, right)
        first, last = side.serving()
        serves = first <= last
        touch = torch.where(serves, torch.minimum(torch.maximum(middle, first), last), middle)
        found.append(side.line(touch, serves, low.dtype))
        serving.append((first, last))
        touches.append(touch)
    (low_slope, low_shift), (slope, shift) = found
    high_slope, high_shift = -slope, -shift
    if curve.start != -torch.inf:
        outside = low <= curve.start
        low_shift, high_shift = (value.masked_fill(outside, torch.nan) for value in (low_shift, high_shift))
    steep: Tensor | float
    if curve.steepest is None:
        sizes = torch.maximum(curve.rate(left).abs(), curve.rate(right).abs()).detach()
        # Where there are no lines, there are no slopes.
        sizes = sizes.masked_fill(sizes.isnan() | ~(left > curve.start), 0).amax(0, keepdim=True)
        steep = rounded(sizes * (1 + _NARROW), low.dtype, up=True)
    else:
        steep = curve.steepest
    tangents = Tangents(serving[0], serving[1], (touches[0], touches[1]))
    return Lines(low_slope, high_slope, high_shift, low_shift, steep, tangents)


def retouched(curve: Curve, low: Tensor, high: Tensor, lines: Lines, touch: Interval) -> Lines:
    """Return lines with their tangents drawn anew; chords stay.

    Args:
        curve: the function.
        low: the intervals that the lines are of.
        high: see above.
        lines: as `curved` gives them.
        touch: where tangents from below and from above are to touch; of the places that serve, the nearest is taken.
    """
    tangents, low_shift = lines.tangents, lines.low_shift
    if tangents is None or low_shift is None or curve.start != -torch.inf:
        return lines
    drawn, touches = [], []
    sides = (
        (1, lines.low_slope, low_shift, tangents.below, touch[0], tangents.touch[0]),
        (-1, lines.high_slope, lines.high_shift, tangents.above, touch[1], tangents.touch[1]),
    )
    for sign, slope, shift, (first, last), wanted, old in sides:
        at = (first <= last).nonzero(as_tuple=True)
        place = torch.minimum(torch.maximum(wanted.double()[at], first[at]), last[at])
        side = _Side(curve, sign, low[at].double(), high[at].double())
        tangent, moved = side.line(place, torch.ones_like(place, dtype=torch.bool), slope.dtype)
        drawn.append((slope.index_put(at, sign * tangent), shift.index_put(at, sign * moved)))
        touches.append(old.index_put(at, place.detach()))
    (low_slope, low_shift), (high_slope, high_shift) = drawn
    found = Tangents(tangents.below, tangents.above, (touches[0], touches[1]))
    return Lines(low_slope, high_slope, high_shift, low_shift, lines.steep, found)
