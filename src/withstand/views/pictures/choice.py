"""One of several views for each picture, turns by quarters, and parts that keep their pixels as they are."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.colors.color_views import Greyscale
from withstand.views.pictures.picture import PictureView, check_probability, rows_where


@dataclass(frozen=True)
class OneOf(PictureView):
    """With a probability, change a picture by one of several views, each as likely; view i draws from `child(i)`.

    Args:
        views: that keep the pictures' size.
        probability: chance that a picture is changed at all.
    """

    views: tuple[PictureView, ...]
    probability: float = 1.0

    moves = True

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        if not self.views or not all(isinstance(view, PictureView) for view in self.views):
            raise ConfigError("OneOf chooses among picture views: give at least one")

    @classmethod
    def example(cls) -> Self:
        return cls((Greyscale(probability=1.0), QuarterTurns(1.0)))

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        chosen = draws.integers(0, len(self.views), 1)[:, 0]
        changed = draws.chance(self.probability, 1)[:, 0]
        for place, view in enumerate(self.views):
            rows = rows_where(changed & (chosen == place))
            if len(rows):
                x = x.index_copy_(0, rows, view.change(x.index_select(0, rows), draws.child(place)[rows]))
        return x


@dataclass(frozen=True)
class QuarterTurns(PictureView):
    """Turn a picture by 90, 180 or 270 degrees, each as likely, with a probability; an oblong one by 180 alone.

    Args:
        probability: chance that a picture is turned.
    """

    probability: float = 0.5

    moves = True

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        turns = draws.integers(1, 4, 1)[:, 0] * draws.chance(self.probability, 1)[:, 0]
        if x.shape[2] != x.shape[3]:
            turns = turns.clamp_max(1) * 2
        for count in (1, 2, 3):
            rows = rows_where(turns == count)
            if len(rows):
                x[rows] = torch.rot90(x[rows], count, (2, 3))
        return x


@dataclass(frozen=True)
class NativeCrop(PictureView):
    """Cut a square out of a picture at a random place, its pixels as they are: nothing is resampled.

    What tells a generator is in the finest pixels, which resizing takes away.

    Args:
        size: the square's side, pixels; pictures that are no larger in a direction keep all of it.
    """

    size: int = 96

    moves = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size must be a positive number of pixels, not {self.size!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(9)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        height, width = x.shape[2:]
        high, wide = min(self.size, height), min(self.size, width)
        if (high, wide) == (height, width):
            return x
        top, left = draws.integers(0, height - high + 1, 1)[:, 0], draws.integers(0, width - wide + 1, 1)[:, 0]
        rows = top[:, None] + torch.arange(high, device=x.device)
        columns = left[:, None] + torch.arange(wide, device=x.device)
        sample = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
        channel = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
        return x[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
