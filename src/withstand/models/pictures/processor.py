"""What a Hugging Face image processor does to pictures, in steps that can be differentiated.

Processors work on bytes: they resize, cut out the middle, and normalise. The first step rounds to bytes again where it
changes the size, which has no slope. Here the same steps are done on floating numbers, and compared once with the
processor's own; where they differ by more than a byte's level the processor is refused, by name.
Sizes: `N` pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError, nearest

Rounding: TypeAlias = Literal["refuse", "straight-through"]
"""What is done about a processor that rounds: refuse it, or round too, as if that did nothing on the way back."""
_MODES = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}
_LEVEL = 1.0
"""By how many levels of a byte the steps may differ from the processor's own: resizing differs so by the library."""


@dataclass(frozen=True)
class Preparation:
    """Resize, round, cut, normalise.

    Args:
        size: (H, W) after resizing; None leaves it.
        crop: (H, W) of the middle that is cut out; None for all.
        mode: of resizing, "bilinear" or "bicubic", antialiased.
        mean: of each channel, taken off.
        std: of each channel, divided by.
        factor: what inputs in [0, 1] are multiplied by before that.
        rounds: round to bytes after resizing, straight through on the way back.
    """

    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1.0
    rounds: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Return pixel values `(N, 3, h, w)` of pictures `(N, C, H, W)` in [0, 1], C 1 or 3."""
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if self.size is not None and x.shape[2:] != self.size:
            x = F.interpolate(x, self.size, mode=self.mode, antialias=True, align_corners=False).clamp(0, 1)
            if self.rounds:
                x = x + ((x * 255).round() / 255 - x).detach()
        if self.crop is not None:
            x = _middle(x, self.crop)
        mean, std = (
            torch.tensor(value, dtype=x.dtype, device=x.device).view(-1, 1, 1) for value in (self.mean, self.std)
        )
        return (x * self.factor - mean) / std

    def levels(self, values: Tensor) -> Tensor:
        """Return pixel values as levels from 0 to 255."""
        mean, std = (_by_channel(value, values) for value in (self.mean, self.std))
        return (values * std + mean) / self.factor * 255


def _by_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


def preparation(processor: Any, shape: tuple[int, ...], rounding: Rounding = "refuse") -> Preparation:
    """Return the steps of an image processor for pictures of one shape, tried against it.

    Args:
        processor: a Hugging Face image processor.
        shape: of the pictures, (C, H, W).
        rounding: what to do where it rounds.

    Raises:
        ConfigError: a processor that rounds, unless told to go straight through; or one that does something else.
    """
    name = type(processor).__name__
    if rounding not in get_args(Rounding):
        raise ConfigError(f"rounding {rounding!r} is unknown: {nearest(str(rounding), get_args(Rounding))}")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ConfigError(f"{name} reads pictures (C, H, W) of 1 or 3 channels, not samples of shape {tuple(shape)}")
    exact = _steps(processor, shape, name)
    picture = _trial_picture(shape)
    own = own_values(processor, picture)
    ours = exact(picture)
    if ours.shape != own.shape:
        raise ConfigError(
            f"{name} makes {tuple(own.shape)} of a picture {tuple(shape)}, where resizing and cutting make "
            f"{tuple(ours.shape)}: processors that pad, or cut pictures into tiles, cannot be differentiated through"
        )
    levels = exact.levels(own)
    off_levels = float((levels - levels.round()).abs().max())
    ours_off = exact.levels(ours)
    rounds = off_levels < 0.02 < float((ours_off - ours_off.round()).abs().max())
    if rounds and rounding == "refuse":
        raise ConfigError(
            f"{name} rounds resized pictures to bytes, which has no slope: give pictures of the size that it makes, "
            f"{tuple(ours.shape[2:])}, or pass over it on the way back, by rounding straight-through"
        )
    found = Preparation(exact.size, exact.crop, exact.mode, exact.mean, exact.std, exact.factor, rounds)
    apart = float((found.levels(found(picture)) - levels).abs().max())
    if not apart <= _LEVEL + 0.02:
        raise ConfigError(
            f"{name} does something else than to resize, cut and normalise: its pixels differ by {apart:.3g} of 255"
        )
    return found


def side_of(processor: Any) -> int | None:
    """Return the side of the squares that a processor and its model read; None where they are no squares.

    Pictures of this size are neither resized nor cut, and so never rounded.

    Args:
        processor: a Hugging Face processor with an `image_processor`.
    """
    images: Any = getattr(processor, "image_processor", None)
    if getattr(images, "do_center_crop", False):
        found = _sizes(getattr(images, "crop_size", None))
    else:
        found = _sizes(getattr(images, "size", None)) if getattr(images, "do_resize", False) else {}
    sides = {int(value) for value in found.values() if isinstance(value, int)}
    return sides.pop() if len(sides) == 1 else None


def _steps(processor: Any, shape: tuple[int, ...], name: str) -> Preparation:
    """Return what a processor's settings say."""
    does = {
        step: bool(getattr(processor, f"do_{step}", False))
        for step in ("resize", "center_crop", "normalize", "rescale")
    }
    size = crop = None
    mode = "bicubic"
    if does["resize"]:
        size = _sides(_sizes(getattr(processor, "size", None)), shape[1:], name)
        if size == tuple(shape[1:]):
            size = None
        else:
            kind = getattr(processor, "resample", None)
            key = getattr(kind, "value", kind)
            if key not in _MODES:
                raise ConfigError(f"{name} resizes by {kind!r}, and only bilinear and bicubic are known here")
            mode = _MODES[key]
    if does["center_crop"]:
        sides = _sizes(getattr(processor, "crop_size", None))
        crop = int(sides["height"]), int(sides["width"])
    factor = 255.0 * float(getattr(processor, "rescale_factor", 1 / 255)) if does["rescale"] else 255.0
    mean, std = (getattr(processor, f"image_{part}", None) for part in ("mean", "std"))
    if not does["normalize"] or mean is None or std is None:
        mean, std = (0.0,) * 3, (1.0,) * 3
    return Preparation(size, crop, mode, tuple(map(float, mean)), tuple(map(float, std)), factor)


def _sizes(size: Any) -> Mapping[str, Any]:
    """Return a size as its fields by name."""
    if isinstance(size, int):
        return {"shortest_edge": size}
    fields = size if isinstance(size, Mapping) else vars(size) if hasattr(size, "__dict__") else {}
    return {key: value for key, value in dict(fields).items() if value is not None}


def _sides(size: Mapping[str, Any], sides: tuple[int, ...], name: str) -> tuple[int, int]:
    """Return (H, W) after resizing."""
    if set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    if set(size) == {"shortest_edge"}:
        edge, short = int(size["shortest_edge"]), min(sides)
        height, width = (edge if side == short else int(edge * side / short) for side in sides)
        return height, width
    raise ConfigError(f"{name} resizes by {dict(size)}: height and width, or shortest_edge alone, are known here")


def _middle(x: Tensor, crop: tuple[int, int]) -> Tensor:
    """Return the middle of pictures; those that are smaller are padded with zeros, as processors do."""
    for axis, wanted in ((2, crop[0]), (3, crop[1])):
        short = wanted - x.shape[axis]
        if short > 0:
            before = short // 2 + short % 2
            pads = (0, 0, before, short - before) if axis == 2 else (before, short - before)
            x = F.pad(x, pads)
        elif short < 0:
            x = x.narrow(axis, (x.shape[axis] - wanted) // 2, wanted)
    return x


def _trial_picture(shape: tuple[int, ...]) -> Tensor:
    """Return a picture of random bytes, `(1, C, H, W)`, smooth enough that resizers agree, as numbers in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, shape[0], max(2, shape[1] // 4), max(2, shape[2] // 4), generator=generator)
    smooth = F.interpolate(coarse, tuple(shape[1:]), mode="bilinear", align_corners=False)
    return (smooth * 255).round() / 255


def own_values(processor: Any, images: Tensor) -> Tensor:
    """Return what a processor itself makes of pictures `(N, C, H, W)`, rounded to bytes: `(N, 3, h, w)`, on the CPU.

    Raises:
        ConfigError: it gives anything but one tensor.
    """
    pixels = (images.detach().expand(-1, 3, -1, -1).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
    given = processor(images=[np.ascontiguousarray(one) for one in pixels], return_tensors="pt")
    values = given["pixel_values"]
    if not isinstance(values, Tensor):
        raise ConfigError(
            f"{type(processor).__name__} gives pixel_values as a {type(values).__name__}, not as one tensor"
        )
    return values.float()
