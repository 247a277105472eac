"""Digits with five landmarks and a mask, white on black or tinted on photos: two looks of the same things."""

from functools import cache
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import KEYPOINTS, MASK, VISIBLE
from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws, derive, permutation
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource

Look = Literal["clean", "photos"]
LANDMARKS = ("top", "bottom", "left", "right", "middle")
"""What the points of a digit are: its outermost pixels, and the mean of all."""
SIDE = 24
_DIGIT = 16
_INK = 0.3
NOISE = 0.05
_LIGHT = (0.2, 0.6)


class LandmarkDigits(PairedSource):
    """The digits of scikit-learn, `(3, 24, 24)`, with the landmarks and the mask that their clean pictures tell.

    A clean digit is white on black. On photos it has a tint of its own, lies on a part of a photo of scikit-learn that
    is dimmed to 0.2 to 0.6 of its light, and has noise of spread 0.05. The 1,797 digits are in one order by the seed;
    parts of it without a common digit are told by `first` and `count`.

    Args:
        look: clean, or photos.
        first: place of the first digit in the order.
        count: how many.
        seed: of the order, tints, photos and noise.

    Raises:
        ConfigError: an unknown look, or more digits than there are.
    """

    def __init__(self, look: Look = "clean", *, first: int = 0, count: int = 500, seed: int = 0) -> None:
        if look not in get_args(Look):
            raise ConfigError(f"look {look!r} is unknown: {nearest(str(look), get_args(Look))}")
        ink = _digits()
        if first < 0 or count < 1 or first + count > len(ink):
            raise ConfigError(f"first and count must name some of {len(ink)} digits, not {first!r} and {count!r}")
        rows = permutation(len(ink), seed, "landmark digits")[first : first + count]
        ink = ink[rows]
        x = ink[:, None].repeat(1, 3, 1, 1) if look == "clean" else _on_photos(ink, rows, seed)
        mask = ink > _INK
        super().__init__(
            ArraySource((x * 255).round().to(torch.uint8)),
            {
                KEYPOINTS: landmarks(mask),
                VISIBLE: torch.ones(count, len(LANDMARKS), dtype=torch.bool),
                MASK: mask.long(),
            },
        )
        self.kind, self.name = "picture", "digits" if look == "clean" else "digits on photos"
        self.origin = "scikit-learn's digits" + ("" if look == "clean" else " on parts of its photos")

    @classmethod
    def example(cls) -> Self:
        return cls("photos", count=8)


def landmarks(mask: Tensor) -> Tensor:
    """Return the top, bottom, left and right pixel of each mask, and the mean of all, x and y, `(N, 5, 2)`.

    Where several pixels are outermost, the middle one of them.

    Args:
        mask: bool `(N, H, W)`, with at least one pixel each.
    """
    height, width = mask.shape[1:]
    y = torch.arange(height, dtype=torch.float32)[:, None].expand(height, width)
    x = torch.arange(width, dtype=torch.float32).expand(height, width)

    def mean(chosen: Tensor) -> Tensor:
        count = chosen.sum((1, 2))
        return torch.stack(((x * chosen).sum((1, 2)) / count, (y * chosen).sum((1, 2)) / count), 1)

    points = [mean(mask)]
    for values, lowest in ((y, True), (y, False), (x, True), (x, False)):
        signed = torch.where(mask, values if lowest else -values, torch.inf)
        points.append(mean(signed == signed.amin((1, 2), keepdim=True)))
    return torch.stack((*points[1:], points[0]), 1)


@cache
def _digits() -> Tensor:
    """Return the digits in [0, 1], enlarged to 16 pixels in 24, `(1797, 24, 24)`."""
    from sklearn.datasets import load_digits

    small: Any = load_digits().images
    large = torch.nn.functional.interpolate(
        torch.from_numpy(np.asarray(small, np.float32))[:, None] / 16, size=(_DIGIT, _DIGIT), mode="bilinear"
    )
    edge = (SIDE - _DIGIT) // 2
    return torch.nn.functional.pad(large, (edge, edge, edge, edge))[:, 0]


@cache
def _photos() -> Tensor:
    """Return the photos of scikit-learn at a third of their size, in [0, 1], `(2, 3, H, W)`."""
    from sklearn.datasets import load_sample_images

    large: Any = load_sample_images().images
    x = torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).float() / 255
    return torch.nn.functional.interpolate(x, scale_factor=1 / 3, mode="bilinear", antialias=True)


def _on_photos(ink: Tensor, rows: Tensor, seed: int) -> Tensor:
    draws, photos = Draws(derive(seed, "digits on photos"), rows), _photos()
    which = draws.integers(0, len(photos), 1)[:, 0]
    top, left = (draws.integers(0, side - SIDE, 1)[:, 0] for side in photos.shape[2:])
    ground = torch.stack(
        [
            photos[photo, :, y : y + SIDE, x : x + SIDE]
            for photo, y, x in zip(which.tolist(), top.tolist(), left.tolist(), strict=True)
        ]
    )
    dimmed = ground * draws.uniform(1, low=_LIGHT[0], high=_LIGHT[1])[..., None, None]
    tint = draws.uniform(3, low=0.5)[..., None, None]
    mixed = ink[:, None] * tint + (1 - ink[:, None]) * dimmed
    return (mixed + NOISE * draws.normal(3, SIDE, SIDE)).clamp(0, 1)
