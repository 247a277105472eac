"""Bayer mosaics: one color a pixel, as a sensor records it, and back to three (Bayer, 1976).

A pattern names the colors of the upper left 2 x 2 pixels in reading order. Sizes: `B` pictures of `H` x `W` pixels,
both even; packed, a mosaic is `(B, 4, H/2, W/2)`: the four places of the pattern, in that order.
"""

from collections.abc import Iterator
from functools import cache
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, pixel_shuffle, pixel_unshuffle

from withstand.core.errors import ConfigError, DataError, nearest

Pattern: TypeAlias = Literal["RGGB", "BGGR", "GRBG", "GBRG"]
Interpolation: TypeAlias = Literal["bilinear", "malvar"]
COLORS = "RGB"


def known_pattern(pattern: str) -> Pattern:
    """Return a pattern that is one.

    Raises:
        ConfigError: it is none.
    """
    for one in get_args(Pattern):
        if one == pattern:
            found: Pattern = one
            return found
    raise ConfigError(f"pattern {pattern!r} is unknown: {nearest(str(pattern), get_args(Pattern))}")


def known_way(way: str) -> Interpolation:
    """Return a way of demosaicing that is one.

    Raises:
        ConfigError: it is none.
    """
    for one in get_args(Interpolation):
        if one == way:
            found: Interpolation = one
            return found
    raise ConfigError(f"way {way!r} is unknown: {nearest(str(way), get_args(Interpolation))}")


def mosaic(x: Tensor, pattern: Pattern = "RGGB") -> Tensor:
    """Return the mosaic `(B, 1, H, W)` of pictures `(B, 3, H, W)`: of each pixel its pattern's color.

    Raises:
        DataError: no pictures of three colors with even sides.
    """
    return unpacked(packed_mosaic(x, pattern))


def packed_mosaic(x: Tensor, pattern: Pattern = "RGGB") -> Tensor:
    """Return the packed mosaic `(B, 4, H/2, W/2)` of pictures; see `mosaic`."""
    known_pattern(pattern)
    if x.dim() != 4 or x.shape[1] != 3 or x.shape[2] % 2 or x.shape[3] % 2:
        raise DataError(f"a Bayer mosaic is of pictures (B, 3, H, W) with even sides, not of {tuple(x.shape)}")
    places = [x[:, COLORS.index(color), place // 2 :: 2, place % 2 :: 2] for place, color in enumerate(pattern)]
    return torch.stack(places, 1)


def packed(raw: Tensor) -> Tensor:
    """Return a mosaic `(B, 1, H, W)` as `(B, 4, H/2, W/2)`.

    Raises:
        DataError: no mosaic with even sides.
    """
    if raw.dim() != 4 or raw.shape[1] != 1 or raw.shape[2] % 2 or raw.shape[3] % 2:
        raise DataError(f"a mosaic is (B, 1, H, W) with even sides, not {tuple(raw.shape)}")
    return pixel_unshuffle(raw, 2)


def unpacked(places: Tensor) -> Tensor:
    """Return a packed mosaic `(B, 4, H/2, W/2)` as `(B, 1, H, W)`."""
    return pixel_shuffle(places, 2)


def demosaic(raw: Tensor, pattern: Pattern = "RGGB", way: Interpolation = "malvar") -> Tensor:
    """Return pictures `(B, 3, H, W)` of mosaics `(B, 1, H, W)`; beyond the border these are reflected.

    What was recorded stays as it is. Both ways are linear. Malvar's takes into account how the recorded color bends,
    and may leave the mosaic's range (Malvar, He and Cutler, High-quality linear interpolation for demosaicing of
    Bayer-patterned color images, 2004).

    Args:
        raw: the mosaics, whose sides are even and at least 4.
        pattern: of them.
        way: "bilinear" or "malvar".

    Raises:
        ConfigError: an unknown pattern or way.
        DataError: no such mosaic.
    """
    known_pattern(pattern)
    known_way(way)
    if raw.dim() != 4 or raw.shape[1] != 1 or raw.shape[2] % 2 or raw.shape[3] % 2 or min(raw.shape[2:]) < 4:
        raise DataError(f"a mosaic is (B, 1, H, W) with even sides of 4 or more, not {tuple(raw.shape)}")
    # Reflection leaves the border's pixels out, so that the pattern goes on. Places are convolved apart: each needs
    # a kernel of its own.
    wide = pixel_unshuffle(pad(raw, (2, 2, 2, 2), mode="reflect"), 2)
    return pixel_shuffle(conv2d(wide, _weights(pattern, way).to(raw)), 2)


@cache
def _weights(pattern: Pattern, way: Interpolation) -> Tensor:
    """Return the kernels `(12, 4, 3, 3)` of packed mosaics: color by color, four places each."""
    weights = torch.zeros(3, 4, 4, 3, 3, dtype=torch.float64)
    for color in range(3):
        for place in range(4):
            for (down, right), weight in _taps(pattern, color, place, way):
                row, column = place // 2 + down, place % 2 + right
                weights[color, place, 2 * (row % 2) + column % 2, row // 2 + 1, column // 2 + 1] += weight
    return weights.view(12, 4, 3, 3)


def _taps(pattern: Pattern, color: int, place: int, way: Interpolation) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield the neighbours, as (down, right), that a color is made of at a place of the pattern, and their weights."""
    here = pattern[place]
    if COLORS[color] == here:
        yield (0, 0), 1.0
        return
    sides = ((0, -1), (0, 1)), ((-1, 0), (1, 0))
    slant = tuple((down, right) for down in (-1, 1) for right in (-1, 1))
    far = tuple((2 * down, 2 * right) for pair in sides for down, right in pair)
    bends = way == "malvar"
    if color == 1:
        yield from ((at, 0.25) for pair in sides for at in pair)
        if bends:
            yield (0, 0), 4 / 8
            yield from ((at, -1 / 8) for at in far)
    elif here == "G":
        across = pattern[place ^ 1] == COLORS[color]
        near, other = sides if across else sides[::-1]
        yield from ((at, 0.5) for at in near)
        if bends:
            yield (0, 0), 5 / 8
            yield from ((at, -1 / 8) for at in slant)
            yield from (((2 * down, 2 * right), -1 / 8) for down, right in near)
            yield from (((2 * down, 2 * right), 0.5 / 8) for down, right in other)
    else:
        yield from ((at, 0.25) for at in slant)
        if bends:
            yield (0, 0), 6 / 8
            yield from ((at, -1.5 / 8) for at in far)
