"""What is kept of a picture file: a square, all of it, or all of it at a bounded size, from which crops are taken."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MOST = 4
"""How many squares of the kept side a long picture may cover."""


@dataclass(frozen=True)
class Form(ABC):
    """What pictures become.

    Attributes:
        together: how many are decoded at once, which bounds what waits in memory.
    """

    together: ClassVar[int] = 64

    @property
    @abstractmethod
    def key(self) -> str:
        """What cache files of such pictures are called by."""

    @property
    def least(self) -> int | None:
        """The shorter side from which on a JPEG's decoder may leave detail out; None where it may not."""
        return None

    @abstractmethod
    def of(self, upright: Image.Image) -> NDArray[np.uint8]:
        """Return the pixels of an RGB picture."""


@dataclass(frozen=True)
class Square(Form):
    """`(3, size, size)`: the shorter side resized to `size`, and the center cropped; antialiased bicubic.

    A JPEG more than six times too large is decoded at a half, a quarter or an eighth, but never below three times
    `size`: several times faster, and not seen after the resizing.
    """

    size: int

    together = 512

    @property
    def key(self) -> str:
        return str(self.size)

    @property
    def least(self) -> int:
        return 3 * self.size

    def of(self, upright: Image.Image) -> NDArray[np.uint8]:
        wide, high = upright.size
        side = min(wide, high)
        left, top = (wide - side) / 2, (high - side) / 2
        square = upright.resize(
            (self.size, self.size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


@dataclass(frozen=True)
class Whole(Form):
    """`(3, H, W)`, at its own resolution."""

    @property
    def key(self) -> str:
        return "whole"

    def of(self, upright: Image.Image) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.asarray(upright).transpose(2, 0, 1))


@dataclass(frozen=True)
class ForCrops(Form):
    """`(H, W, 3)`, all of the picture, its shorter side at most `side`: what random crops are taken from.

    A long picture is made smaller, so that it has no more pixels than four squares of `side`, though its shorter side
    stays at `size` or above. Nothing is enlarged.
    """

    side: int
    size: int

    @property
    def key(self) -> str:
        return f"{self.size}-crops-{self.side}"

    @property
    def least(self) -> int:
        return 2 * self.side

    def sides(self, high: int, wide: int) -> tuple[int, int]:
        """Return height and width of what is kept of a picture."""
        short = min(high, wide)
        share = min(self.side / short, (_MOST * self.side**2 / (wide * high)) ** 0.5)
        share = min(1.0, max(share, self.size / short))
        return max(1, round(high * share)), max(1, round(wide * share))

    def of(self, upright: Image.Image) -> NDArray[np.uint8]:
        wide, high = upright.size
        sides = self.sides(high, wide)
        if sides != (high, wide):
            upright = upright.resize((sides[1], sides[0]), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(upright))
