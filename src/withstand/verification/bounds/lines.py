"""What bounds an operation that is not linear: lines, planes, and the choice that a max-pooling is bounded by.

Shapes: intervals `(N, *shape)`. Lines hold in exact arithmetic: shifts carry the rounding of slopes.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from withstand.verification.bounds.receptive_field import Window
from withstand.verification.network.activation import Interval

Places: TypeAlias = tuple[Tensor, ...]
"""Where some entries of a tensor are, one index for each of its dimensions."""


@dataclass(eq=False)
class Lines:
    """`low_slope x + low_shift <= f(x) <= high_slope x + high_shift`, entry by entry.

    Attributes:
        low_slope: `(N, *shape)`, as all of them.
        high_slope: see above.
        high_shift: see above.
        low_shift: see above; None stands for 0.
        steep: the largest size of a slope, also of lines drawn anew over parts of the intervals; a number, or
            `(1, *shape)`.
        tangents: of a smooth activation; None of others.
    """

    low_slope: Tensor
    high_slope: Tensor
    high_shift: Tensor
    low_shift: Tensor | None = None
    steep: Tensor | float = 1.0
    tangents: "Tangents | None" = None

    def take(self, rows: Tensor) -> "Lines":
        """Return the lines of some samples."""
        shift = None if self.low_shift is None else self.low_shift[rows]
        tangents = None if self.tangents is None else self.tangents.take(rows)
        return Lines(self.low_slope[rows], self.high_slope[rows], self.high_shift[rows], shift, self.steep, tangents)

    def entries(self, where: Places) -> "Lines":
        """Return the lines of some entries."""
        shift = None if self.low_shift is None else self.low_shift[where]
        tangents = None if self.tangents is None else self.tangents.take(where)
        slopes = self.low_slope[where], self.high_slope[where]
        return Lines(*slopes, self.high_shift[where], shift, self.steep, tangents)

    def put(self, where: Places, few: "Lines") -> "Lines":
        """Return the lines with those of some entries in place of theirs."""
        tangents, low_shift = self.tangents, self.low_shift
        if tangents is not None and few.tangents is not None:
            tangents = tangents.put(where, few.tangents)
        if low_shift is not None and few.low_shift is not None:
            low_shift = low_shift.index_put(where, few.low_shift)
        return Lines(
            self.low_slope.index_put(where, few.low_slope),
            self.high_slope.index_put(where, few.high_slope),
            self.high_shift.index_put(where, few.high_shift),
            low_shift,
            self.steep,
            tangents,
        )

    def cut(self, window: Window) -> "Lines":
        """Return the lines in a window of pictures."""
        shift = None if self.low_shift is None else window.cut(self.low_shift)
        slopes, high_shift = (window.cut(self.low_slope), window.cut(self.high_slope)), window.cut(self.high_shift)
        steep = window.cut(self.steep) if isinstance(self.steep, Tensor) else self.steep
        return Lines(*slopes, high_shift, shift, steep)


@dataclass(eq=False)
class Tangents:
    """The tangents of a smooth activation that are bounds. Float64, `(N, *shape)`.

    Attributes:
        below: the first and the last place whose tangent bounds from below; first > last where none does.
        above: those whose tangent bounds from above.
        touch: where those that were drawn touch, below and above; the middle where chords were.
    """

    below: Interval
    above: Interval
    touch: Interval

    def take(self, rows: Tensor | Places) -> "Tangents":
        """Return the tangents of some samples, or of some entries."""
        return Tangents(*((first[rows], last[rows]) for first, last in self._pairs))

    def put(self, where: Places, few: "Tangents") -> "Tangents":
        """Return the tangents with those of some entries in place of theirs."""
        pairs = zip(self._pairs, few._pairs, strict=True)
        return Tangents(*((a.index_put(where, c), b.index_put(where, d)) for (a, b), (c, d) in pairs))

    @property
    def _pairs(self) -> tuple[Interval, Interval, Interval]:
        return self.below, self.above, self.touch


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


@dataclass(eq=False)
class Planes:
    """Bounds of an operation of several inputs: the sum of lines in each.

    Attributes:
        lines: one for each input, in order.
    """

    lines: tuple[Lines, ...]

    def take(self, rows: Tensor) -> "Planes":
        """Return the planes of some samples."""
        return Planes(tuple(line.take(rows) for line in self.lines))


Relaxation: TypeAlias = Lines | Choice | Planes
