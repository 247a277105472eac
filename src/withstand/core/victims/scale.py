"""How radii are told: as pictures' levels, k/255, as percent of an entry's range, or in input units alone."""

import math
from dataclasses import dataclass

from withstand.core.options import Norm

PICTURES = 255
PERCENT = 100
_USUAL = {PICTURES: (1, 2, 4, 8, 16), PERCENT: (1, 2, 5, 10, 20)}
_HEAD = {PICTURES: "8/255", PERCENT: "5%"}


@dataclass(frozen=True)
class Scale:
    """What radii are told by.

    Attributes:
        span: the width of the input range.
        levels: into how many the range is parted: 255, as of pictures, or 100, whose levels are percent.
    """

    span: float = 1.0
    levels: int = PICTURES

    @property
    def unit(self) -> str:
        """The unit of Linf radii in tables: "k/255", "share" (of the range), or "radius"."""
        if self.levels == PERCENT:
            return "share" if self.span == 1 else "radius"
        return "k/255" if self.span == 1 else "radius"

    @property
    def usual(self) -> tuple[float, ...]:
        """The usual Linf radii, as shares of the range."""
        return tuple(level / self.levels for level in _USUAL[self.levels])

    @property
    def headline(self) -> str:
        """The usual radius of a headline, as it is typed."""
        return _HEAD[self.levels]

    def of_range(self, eps: float) -> str:
        """Return a share of the range: "8/255", or "5 %"."""
        return f"{eps * 100:.3g} %" if self.levels == PERCENT else f"{eps * 255:.3g}/255"

    def told(self, norm: Norm, eps: float) -> str:
        """Return a radius in words: "8/255" of pictures in [0, 1], "5 %" of rows in it, else the number."""
        return self.of_range(eps) if norm == "linf" and self.span == 1 and math.isfinite(eps) else f"{eps:.4g}"
