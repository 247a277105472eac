"""Rotation and cutout, with angles and boxes of each sample's own."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView, change_some, check_probability, check_range, rows_where


def rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Turn each picture about its middle, bilinearly; what comes in from outside is black.

    Args:
        x: `(N, C, H, W)`, float.
        degrees: counter-clockwise angle, `(N,)`.
    """
    height, width = x.shape[2:]
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    # Turned in pixels and then scaled to grid_sample's [-1, 1], so that oblong pictures are not sheared.
    zero = torch.zeros_like(cosine)
    across = torch.stack((cosine, -sine * (height / width), zero), dim=1)
    down = torch.stack((sine * (width / height), cosine, zero), dim=1)
    grid = torch.nn.functional.affine_grid(torch.stack((across, down), dim=1), list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def cutout(x: Tensor, boxes: Tensor, value: float = 0.0) -> Tensor:
    """Paint one box of each picture over.

    Args:
        x: `(N, C, H, W)`.
        boxes: top, left, height, width in pixels, `(N, 4)`; what lies outside the picture is left out.
        value: the paint.
    """
    top, left, height, width = boxes[:, :, None].unbind(1)
    rows = torch.arange(x.shape[2], device=x.device)
    columns = torch.arange(x.shape[3], device=x.device)
    inside_rows = (rows >= top) & (rows < top + height)
    inside_columns = (columns >= left) & (columns < left + width)
    return x.masked_fill(inside_rows[:, None, :, None] & inside_columns[:, None, None, :], value)


@dataclass(frozen=True)
class Rotation(PictureView):
    """Turn by a random angle with a probability.

    Args:
        degrees: range of the counter-clockwise angle, uniform.
        probability: chance that a picture is changed.
    """

    degrees: tuple[float, float] = (-15.0, 15.0)
    probability: float = 1.0

    moves = True

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("degrees", self.degrees, -360, 360)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        chance, angle = draws.uniform(2).unbind(1)
        degrees = angle * (self.degrees[1] - self.degrees[0]) + self.degrees[0]
        rows = rows_where(chance < self.probability)
        return change_some(x, rows, lambda part: rotate(part, degrees[rows]).clamp_(0, 1))


@dataclass(frozen=True)
class Cutout(PictureView):
    """Paint a square over, with a probability (DeVries and Taylor, Cutout, 2017).

    The square's middle is any pixel, with equal chances, so part of it may lie outside.

    Args:
        size: the square's side, pixels.
        value: the paint, in [0, 1].
        probability: chance that a picture is changed.
    """

    size: int = 16
    value: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_probability("value", self.value)
        if self.size < 1:
            raise ConfigError(f"size must be a positive number of pixels, not {self.size!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(7)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        chance, *middle = draws.uniform(3).unbind(1)
        starts = [(place * length).floor_() - self.size // 2 for place, length in zip(middle, x.shape[2:], strict=True)]
        side = torch.full_like(chance, self.size)
        boxes = torch.stack((*starts, side, side), dim=1)
        rows = rows_where(chance < self.probability)
        return change_some(x, rows, lambda part: cutout(part, boxes[rows], self.value))


@dataclass(frozen=True)
class Erase(PictureView):
    """Paint one fixed place over, with a probability: what stands there is kept from the views.

    Args:
        box: top, left, height, width, pixels; what lies outside a picture is left out.
        value: the paint, in [0, 1].
        probability: chance that a picture is changed.
    """

    box: tuple[int, int, int, int] = (0, 0, 8, 8)
    value: float = 0.5
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_probability("value", self.value)
        if len(self.box) != 4 or min(self.box[2:]) < 1:
            raise ConfigError(f"box must be (top, left, height, width) with a positive size, not {self.box!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        rows = rows_where(draws.uniform(1)[:, 0] < self.probability)
        boxes = torch.tensor(self.box, device=x.device).expand(len(rows), 4)
        return change_some(x, rows, lambda part: cutout(part, boxes, self.value))
