"""Geometry that pictures, points and masks share: what moved where, said so that labels can follow.

Points are (x, y) in pixels, and the middle of pixel (row i, column j) is the point (j, i). Matrices `(N, 2, 3)` lead
from a picture's points to those of its view: `p' = A p + b`.
Sizes: N pictures, V views, J points, K boxes, H x W pixels.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.losses.precision import full_precision
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.geometry import cutout
from withstand.views.pictures.picture import (
    PictureView,
    change_some,
    check_pictures,
    check_probability,
    check_range,
    own_copy,
    rows_where,
)

GEOMETRY = "geometry"
"""The extra that says where a view's points went, matrices `(B, V, 2, 3)`."""
HIDDEN = "hidden"
"""The extra that says which boxes of a view are painted over: top, left, height, width in pixels, `(B, V, K, 4)`."""


def placements(mirrored: Tensor, degrees: Tensor, shift: Tensor, height: int, width: int) -> Tensor:
    """Return matrices `(N, 2, 3)` of a mirroring left to right, then a turn about the middle, then a shift.

    Args:
        mirrored: bool `(N,)`.
        degrees: counter-clockwise as it is seen, `(N,)`.
        shift: to the right and down, in pixels, `(N, 2)`.
        height: H.
        width: W.
    """
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], device=shift.device, dtype=shift.dtype)
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    side = 1 - 2 * mirrored.to(shift.dtype)
    # y points down, so that a turn that is seen counter-clockwise has its signs exchanged.
    turn = torch.stack((torch.stack((side * cosine, sine), 1), torch.stack((-side * sine, cosine), 1)), 1)
    offset = middle - turn @ middle + shift
    return torch.cat((turn, offset[..., None]), 2)


@full_precision
def placed(points: Tensor, matrices: Tensor) -> Tensor:
    """Return where points `(N, J, 2)` went."""
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


def inside(points: Tensor, height: int, width: int) -> Tensor:
    """Return whether points `(..., 2)` lie on a pixel of the picture, bool `(...)`."""
    x, y = points.unbind(-1)
    return (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)


@full_precision
def warped(x: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures or masks `(N, C, H, W)` moved, bilinearly; what comes in from outside is mirrored at the edge."""
    height, width = x.shape[2:]
    matrices = matrices.to(x.dtype)
    turn = torch.linalg.inv(matrices[:, :, :2].double()).to(x.dtype)
    offset = -(turn @ matrices[:, :, 2:])
    # From the view's coordinates in [-1, 1] to its pixels, to the picture's, and back to [-1, 1].
    half = torch.tensor([width / 2, height / 2], device=x.device, dtype=x.dtype)
    middle = half - 0.5
    across = turn * half / half[:, None]
    along = (turn @ middle + offset[:, :, 0] - middle) / half
    theta = torch.cat((across, along[..., None]), 2)
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def moved(x: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures or masks moved; those that stay where they are come as they are, to the bit."""
    still = torch.eye(2, 3, device=matrices.device, dtype=matrices.dtype)
    rows = rows_where((matrices != still).flatten(1).any(1))
    return change_some(x.clone(), rows, lambda part: warped(part, matrices[rows])) if len(rows) else x


def painted(x: Tensor, boxes: Tensor, value: float | Tensor = 0.0) -> Tensor:
    """Return pictures or masks `(N, C, H, W)` with their boxes `(N, K, 4)` painted over, by a value or one each."""
    whole = torch.ones_like(x[:, :1])
    for number in range(boxes.shape[1]):
        whole = cutout(whole, boxes[:, number])
    paint = value if isinstance(value, float) else value.view(-1, 1, 1, 1)
    return torch.where(whole > 0, x, paint)


@dataclass(frozen=True)
class Placement(View):
    """Views of a picture that say what was done to it: mirrored, turned, shifted, other colors, boxes painted over.

    `batch.views` has `count` views with draws of their own; the extras `geometry` and `hidden` say where each one's
    points went and which boxes hide what. What comes in from outside is mirrored at the edge.

    Args:
        count: V.
        mirrored: chance of a mirroring left to right.
        degrees: range of the counter-clockwise angle, uniform.
        turned: chance of a turn.
        shift: range of the shift to the right and down, as shares of the width and height, uniform.
        shifted: chance of a shift.
        colors: views that change pixels where they are.
        boxes: fewest and most boxes.
        box_sides: their least and largest sides, as shares of the picture's.
        hidden: chance that a picture has boxes, painted in its mean.
    """

    count: int = 1
    mirrored: float = 0.3
    degrees: tuple[float, float] = (-45.0, 45.0)
    turned: float = 0.3
    shift: tuple[float, float] = (0.0, 0.2)
    shifted: float = 0.3
    colors: tuple[PictureView, ...] = ()
    boxes: tuple[int, int] = (1, 5)
    box_sides: tuple[float, float] = (0.05, 0.2)
    hidden: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mirrored", "turned", "shifted", "hidden"):
            check_probability(name, getattr(self, name))
        check_range("degrees", self.degrees, -360, 360)
        check_range("shift", self.shift, -1, 1)
        check_range("box_sides", self.box_sides, 0, 1)
        if self.count < 1:
            raise ConfigError(f"count must be at least 1, not {self.count!r}")
        if len(self.boxes) != 2 or not 1 <= self.boxes[0] <= self.boxes[1]:
            raise ConfigError(f"boxes must be (fewest, most), from 1, not {self.boxes!r}")
        for view in self.colors:
            if not isinstance(view, PictureView) or view.moves:
                raise ConfigError(f"colors are views that leave pixels where they are, not {type(view).__name__}")

    @classmethod
    def example(cls) -> Self:
        return cls(2, colors=(ColorJitter(),))

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        check_pictures(batch.x)
        height, width = batch.x.shape[2:]
        views, matrices, boxes = [], [], []
        for number in range(self.count):
            own = draws.child(number)
            matrix, box = self._geometry(own, height, width), self._boxes(own.child("boxes"), height, width)
            x = moved(own_copy(batch.x), matrix)
            x = x.clamp(0, 1)
            for place, view in enumerate(self.colors):
                x = view.change(x, own.child(place))
            views.append(painted(x, box, x.mean((1, 2, 3))))
            matrices.append(matrix)
            boxes.append(box)
        made = batch.with_views(*views)
        return made.with_extra(GEOMETRY, torch.stack(matrices, 1)).with_extra(HIDDEN, torch.stack(boxes, 1))

    def _geometry(self, draws: Draws, height: int, width: int) -> Tensor:
        mirror, turn, move, angle, right, down = draws.uniform(6).unbind(1)
        low, high = self.degrees
        degrees = torch.where(turn < self.turned, low + (high - low) * angle, 0.0)
        low, high = self.shift
        shift = torch.stack((width * (low + (high - low) * right), height * (low + (high - low) * down)), 1)
        shift = torch.where((move < self.shifted)[:, None], shift, 0.0)
        return placements(mirror < self.mirrored, degrees, shift, height, width)

    def _boxes(self, draws: Draws, height: int, width: int) -> Tensor:
        few, most = self.boxes
        chance, many = draws.uniform(2).unbind(1)
        count = few + (many * (most - few + 1)).floor()
        tall, wide, top, left = draws.uniform(most, 4).unbind(2)
        low, high = self.box_sides
        tall, wide = ((height * (low + (high - low) * tall)).round(), (width * (low + (high - low) * wide)).round())
        box = torch.stack(((top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor(), tall, wide), 2)
        there = (torch.arange(most, device=box.device) < count[:, None]) & (chance < self.hidden)[:, None]
        return torch.where(there[..., None], box, 0.0)
