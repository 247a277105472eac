"""Heatmaps: points as Gaussian bumps, read back by their highest pixel, and compared by Huber's loss.

As in Domain Adaptive Hand Keypoint and Pixel Localization in the Wild (Ohkawa et al., 2022). Points are (x, y) in
pixels; the middle of pixel (row i, column j) is the point (j, i).
Sizes: B pictures, J points, H x W pixels.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.losses.precision import full_precision

DELTA = 0.01
"""Where Huber's loss turns from a square into a line."""


def heatmaps(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """Return bumps of height 1 about the pixels nearest to points `(B, J, 2)`, `(B, J, H, W)`.

    Rounding moves a point by half a pixel at most along each axis. A bump is 0 beyond 3 sigma and one pixel; that of a
    point outside the picture is 0.

    Args:
        points: x and y.
        height: H.
        width: W.
        sigma: of the Gaussian, in pixels.
    """
    nearest = torch.floor(points + 0.5)
    x, y = nearest.unbind(-1)
    reach = 3 * sigma + 1
    across = torch.arange(width, device=points.device, dtype=points.dtype) - x[..., None]
    down = torch.arange(height, device=points.device, dtype=points.dtype) - y[..., None]
    gauss_x = torch.exp(-(across**2) / (2 * sigma**2)) * (across.abs() <= reach)
    gauss_y = torch.exp(-(down**2) / (2 * sigma**2)) * (down.abs() <= reach)
    there = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return gauss_y[..., :, None] * (gauss_x * there[..., None])[..., None, :]


def highest(maps: Tensor) -> Tensor:
    """Return the highest pixel of each map `(B, J, H, W)` and its value: x, y and height, `(B, J, 3)`.

    A flat map gives its first pixel, and a height that tells it: it is no gradient's way.
    """
    width = maps.shape[3]
    value, place = maps.flatten(2).max(2)
    x, y = place % width, torch.div(place, width, rounding_mode="floor")
    return torch.stack((x.to(maps.dtype), y.to(maps.dtype), value), 2)


def expected(maps: Tensor, sharpness: float = 100.0) -> Tensor:
    """Return the mean of pixels weighted by `softmax(sharpness * map)`, x and y, `(B, J, 2)`: a soft `highest`.

    The official one runs over the pixels' numbers in one row after another, which is no place.
    """
    height, width = maps.shape[2:]
    weights = (sharpness * maps.flatten(2)).softmax(2).view_as(maps)
    x = (weights.sum(2) * torch.arange(width, device=maps.device, dtype=maps.dtype)).sum(2)
    y = (weights.sum(3) * torch.arange(height, device=maps.device, dtype=maps.dtype)).sum(2)
    return torch.stack((x, y), 2)


@full_precision
def heatmap_loss(maps: Tensor, wanted: Tensor, known: Tensor | None = None, delta: float = DELTA) -> Tensor:
    """Return each picture's mean of Huber's loss over points and pixels, `(B,)`.

    Args:
        maps: `(B, J, H, W)`.
        wanted: of the same shape.
        known: which points count, bool `(B, J)`, all if None; the others count as met.
        delta: where the square turns into a line; the published one is 0.01.

    Raises:
        DataError: maps of different shapes.
    """
    if maps.shape != wanted.shape:
        raise DataError(f"heatmaps are {tuple(maps.shape)}, and those wanted {tuple(wanted.shape)}")
    each = torch.nn.functional.huber_loss(maps, wanted, reduction="none", delta=delta).mean((2, 3))
    return (each if known is None else each * known).mean(1)


@full_precision
def mask_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return each picture's mean binary cross-entropy, `(B,)`.

    Args:
        logits: of the mask, `(B, H, W)`.
        wanted: in [0, 1], `(B, H, W)`; where it is below 0 the truth is not known, and the pixel counts as met.

    Raises:
        DataError: another shape.
    """
    if logits.shape != wanted.shape:
        raise DataError(f"mask logits are {tuple(logits.shape)}, and masks {tuple(wanted.shape)}")
    known = wanted >= 0
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, wanted.clamp(0, 1).to(logits.dtype), reduction="none"
    )
    return (each * known).mean((1, 2))


@full_precision
def mask_distance(one: Tensor, two: Tensor) -> Tensor:
    """Return each picture's mean squared difference of two masks in [0, 1], `(B,)`, from their logits `(B, H, W)`."""
    return (one.sigmoid() - two.sigmoid()).square().mean((1, 2))


@full_precision
def confidence(disagreement: Tensor, strength: float) -> Tensor:
    """Return `2 (1 - sigmoid(strength * disagreement))`, in (0, 1]: 1 at full agreement, or at strength 0.

    Args:
        disagreement: of two teachers, at least 0, `(B,)`.
        strength: lambda_d.
    """
    return 2 * torch.sigmoid(-strength * disagreement)
