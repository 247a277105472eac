"""Random resized crop and flip: a picture times two small interpolation matrices, one pair a sample.

A crop that is resized to h x w is `A_y x A_x'` with `A_y (h, H)` and `A_x (w, W)`: row i holds the
filter's weights around output pixel i's place in the source. Antialiasing widens the filter where the
crop shrinks, as Pillow and torchvision do; a flip reverses the rows of `A_x`. The products are what a GPU
likes, and small pictures anywhere. For large pictures on a CPU torch's own kernel, one sample after another, is
several times faster than dense products; it rounds bytes to bytes, as torchvision does. That also takes the crops of
photos that a batch has in more detail than `x`: see `Photos`.

Law of the boxes: Szegedy et al., Going Deeper with Convolutions (2014), as in torchvision: up to ten tries,
then the largest central box of an allowed aspect ratio.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.views.pictures.photos import Photos
from withstand.views.pictures.picture import (
    CROP,
    PictureView,
    blocks,
    check_pictures,
    check_probability,
    check_range,
    rows_where,
    tracked,
)

Size: TypeAlias = int | tuple[int, int]
Interpolation = Literal["bilinear", "bicubic"]

_TRIES = 10
_SMALL = 96 * 96
"""Pixels up to which a CPU is faster at the dense products."""


def crop_boxes(
    draws: Draws, sides: Sequence[tuple[int, int]], scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Draw one box a sample inside H x W pictures.

    Args:
        draws: N streams.
        sides: H and W of each picture, pixels; one pair for all of them where they are of one size.
        scale: range of the box's share of the area, uniform.
        ratio: range of width / height, log-uniform.

    Returns:
        `(N, 4)` float32 whole numbers: top, left, height, width.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    numbers = draws.uniform(2 * _TRIES + 2)
    share, shape, place = numbers[:, :_TRIES], numbers[:, _TRIES:-2], numbers[:, -2:]
    bounds = share.new_tensor(sides).T[:, :, None]  # (2, 1 or N, 1)
    area = (share * (scale[1] - scale[0]) + scale[0]) * bounds.prod(0)
    root = (shape * ((high - low) / 2) + low / 2).exp()  # of the aspect ratio
    area = area.sqrt_()
    lengths = torch.stack(((area / root).round_(), (area * root).round_()))
    any_fits, first = ((lengths > 0) & (lengths <= bounds)).all(0).max(dim=1, keepdim=True)
    lengths = lengths.gather(2, first.expand(2, -1, 1)).squeeze(2)  # (2, N)
    # Whole positions with equal chances: a floor of uniform numbers in [0, free + 1).
    starts = ((bounds[:, :, 0] - lengths + 1) * place.T).floor_()
    central = lengths.new_tensor([_central_box(height, width, ratio) for height, width in sides])
    return torch.where(any_fits, torch.cat((starts, lengths)).T, central)


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    if width / height < ratio[0]:
        box_height, box_width = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        box_height, box_width = height, round(height * ratio[1])
    else:
        box_height, box_width = height, width
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def interpolation_matrices(
    start: Tensor,
    length: Tensor,
    source: int,
    target: int,
    *,
    interpolation: Interpolation,
    total: float = 1.0,
    flip: Tensor | None = None,
) -> Tensor:
    """Return `(N, source, target)`: column i holds the weights of output pixel i, which sum to `total`.

    Args:
        start: first source pixel of each stretch, `(N,)`.
        length: source pixels in each stretch, `(N,)`.
        source: pixels of the whole source axis.
        target: pixels of the output axis.
        interpolation: the filter.
        total: what each column sums to.
        flip: which samples are reversed, bool `(N,)`.
    """
    step = (length / target)[:, None]
    reach = step.clamp_min(1)
    order = torch.arange(0.5, target, device=start.device)
    if flip is not None:
        order = torch.where(flip[:, None], target - order, order)
    centers = order * (step / reach)
    pixels = torch.arange(0.5, source, device=start.device) - start[:, None]
    # A pixel outside the crop is infinitely far from every output pixel, so that its weight is 0.
    pixels = torch.where((pixels > 0) & (pixels < length[:, None]), pixels / reach, math.inf)
    distance = (pixels[:, :, None] - centers[:, None, :]).abs_()
    # The triangle is built upside down, one operation less; dividing by its sum turns it.
    weights = distance.sub_(1).clamp_max_(0) if interpolation == "bilinear" else _cubic(distance)
    return weights.div_(weights.sum(1, keepdim=True).div_(total))


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution filter with a = -1/2, as Pillow's; 0 from distance 2 on."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    capped = distance.clamp(max=2)
    far = ((-0.5 * capped + 2.5) * capped - 4) * capped + 2
    return torch.where(distance < 1, near, far)


def resized_crop(
    x: Tensor, boxes: Tensor, size: Size, *, flip: Tensor | None = None, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Crop each picture by its own box and resize it, with antialiasing.

    Args:
        x: `(N, C, H, W)`, uint8, or float in [0, 1].
        boxes: top, left, height, width of each crop in pixels, `(N, 4)`.
        size: output height and width; one number for both.
        flip: which crops are mirrored left to right, bool `(N,)`.
        interpolation: "bilinear" or "bicubic".

    Returns:
        `(N, C, h, w)`, float32 in [0, 1].
    """
    height, width = (size, size) if isinstance(size, int) else size
    if tracked(x):
        return _resize(x, boxes.to(torch.float32), (height, width), interpolation, flip)
    if x.device.type == "cpu" and max(x.shape[2] * x.shape[3], height * width) > _SMALL:
        return _resize_each(x, boxes, (height, width), interpolation, flip)
    out = torch.empty(*x.shape[:2], height, width, device=x.device)
    boxes = boxes.to(torch.float32)
    for block in blocks(x):
        mirrored = None if flip is None else flip[block]
        _resize(x[block], boxes[block], (height, width), interpolation, mirrored, out[block])
    return out


def _resize_each(
    x: Tensor, boxes: Tensor, size: tuple[int, int], interpolation: Interpolation, flip: Tensor | None
) -> Tensor:
    """Resize one box after another with torch's kernel."""
    out = torch.empty(*x.shape[:2], *size)
    scale = 1 / 255 if x.dtype == torch.uint8 else 1.0
    mirrored = [False] * len(x) if flip is None else flip.tolist()
    for picture, box, mirror, target in zip(x, boxes.to(torch.int64).tolist(), mirrored, out, strict=True):
        top, left, height, width = box
        part = picture[None, :, top : top + height, left : left + width]
        view = torch.nn.functional.interpolate(part, size, mode=interpolation, antialias=True)[0]
        torch.mul(view.flip(2) if mirror else view, scale, out=target)
    return out.clamp_(0, 1)


def _resize(
    x: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    interpolation: Interpolation,
    flip: Tensor | None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the resized boxes of `x`, in `out` where it is given."""
    count, channels, source_height, source_width = x.shape
    height, width = size
    top, left, box_height, box_width = boxes.unbind(1)
    total = 1 / 255 if x.dtype == torch.uint8 else 1.0
    columns = interpolation_matrices(
        left, box_width, source_width, width, interpolation=interpolation, total=total, flip=flip
    )
    rows = interpolation_matrices(top, box_height, source_height, height, interpolation=interpolation)
    wide = torch.bmm(x.to(torch.float32).reshape(count, channels * source_height, source_width), columns)
    rows = rows[:, None].expand(-1, channels, -1, -1).reshape(-1, source_height, height)
    flat = None if out is None else out.view(-1, height, width)
    resized = torch.bmm(rows.mT, wide.view(-1, source_height, width), out=flat)
    return resized.view(count, channels, height, width).clamp_(0, 1)


@dataclass(frozen=True)
class RandomResizedCrop(PictureView):
    """A random part of the picture, resized, and mirrored with probability `flip`; `extras["crop"]` says which part.

    Args:
        size: output height and width, pixels; one number for both.
        scale: range of the part's share of the area.
        ratio: range of the part's width / height.
        flip: probability of mirroring left to right. It costs nothing here.
        interpolation: "bilinear" or "bicubic", both antialiased.
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    interpolation: Interpolation = "bilinear"

    moves = True

    def __post_init__(self) -> None:
        sides = (self.size,) if isinstance(self.size, int) else self.size
        if len(sides) > 2 or any(side < 1 for side in sides):
            raise ConfigError(f"size must be one or two positive numbers of pixels, not {self.size!r}")
        check_range("scale", self.scale, 0, 1)
        check_range("ratio", self.ratio, 1e-3, 1e3)
        check_probability("flip", self.flip)
        if self.interpolation not in get_args(Interpolation):
            hint = nearest(str(self.interpolation), get_args(Interpolation))
            raise ConfigError(f"interpolation {self.interpolation!r} is unknown: {hint}")

    @classmethod
    def example(cls) -> Self:
        return cls(12, flip=0.5)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        check_pictures(batch.x)
        photos = batch.whole if isinstance(batch.whole, Photos) else None
        sides = [_sides(batch.x)] if photos is None else photos.sides(*_sides(batch.x))
        boxes, flip = self._drawn(sides, draws)
        parts = boxes / boxes.new_tensor([(*pair, *pair) for pair in sides])
        mirrored = parts.new_zeros(len(parts)) if flip is None else flip.to(parts)
        crop = torch.cat([parts, mirrored[:, None]], 1)
        if photos is None:
            x = resized_crop(batch.x, boxes, self.size, flip=flip, interpolation=self.interpolation)
        else:
            x = self._of_photos(batch.x, photos, boxes, flip)
        return batch.with_x(x).with_extra(CROP, crop)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        boxes, flip = self._drawn([_sides(x)], draws)
        return resized_crop(x, boxes, self.size, flip=flip, interpolation=self.interpolation)

    def _drawn(self, sides: Sequence[tuple[int, int]], draws: Draws) -> tuple[Tensor, Tensor | None]:
        """Draw the part of each picture, and whether it is mirrored."""
        boxes = crop_boxes(draws, sides, self.scale, self.ratio)
        return boxes, draws.chance(self.flip, 1).squeeze(1) if self.flip else None

    def _of_photos(self, x: Tensor, photos: Photos, boxes: Tensor, flip: Tensor | None) -> Tensor:
        """Return the crops, of photos where there are some and of `x` elsewhere."""
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        if bool(photos.larger.all()):
            return photos.resized(boxes, size, self.interpolation, flip)
        out = torch.empty(*x.shape[:2], *size, device=x.device)
        for which in (photos.larger, ~photos.larger):
            rows = rows_where(which).to(x.device)
            own, mirrored = boxes[rows], None if flip is None else flip[rows]
            if which is photos.larger:
                out[rows] = photos.resized(own, size, self.interpolation, mirrored)
            else:
                out[rows] = resized_crop(x[rows], own, size, flip=mirrored, interpolation=self.interpolation)
        return out


def _sides(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


@dataclass(frozen=True)
class HorizontalFlip(PictureView):
    """Mirror left to right with a probability; in a chain, `RandomResizedCrop(flip=...)` does it for nothing."""

    probability: float = 0.5

    moves = True

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return horizontal_flip(x, draws.chance(self.probability, 1).squeeze(1))


def horizontal_flip(x: Tensor, flip: Tensor) -> Tensor:
    """Mirror the chosen pictures left to right.

    Args:
        x: `(N, C, H, W)`.
        flip: which ones, bool `(N,)`.
    """
    return torch.where(flip.view(-1, 1, 1, 1), x.flip(3), x)
