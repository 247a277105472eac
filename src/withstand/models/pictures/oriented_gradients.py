"""Histograms of oriented gradients, as MaskFeat tells them.

Histograms of Oriented Gradients for Human Detection (Dalal, Triggs, 2005), in the form of the official code of Masked
Feature Prediction for Self-Supervised Visual Pre-Training (Wei et al., CVPR 2022): Sobel filters in every channel,
directions without sign, no interpolation between bins or cells, each cell of each channel at unit length.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from withstand.core.errors import DataError
from withstand.losses.precision import full_precision


@full_precision
def oriented_gradients(x: Tensor, cell: int, bins: int = 9) -> Tensor:
    """Return how much of each cell's gradient points where, `(B, H / cell, W / cell, C, bins)`; flat cells are 0.

    Args:
        x: floating pictures `(B, C, H, W)`; a channel's brightness and contrast do not matter.
        cell: side of a cell, pixels.
        bins: of half a turn; bin 0 begins where brightness changes from row to row alone.

    Raises:
        DataError: cells do not tile the pictures.
    """
    count, channels, height, width = x.shape
    if height % cell or width % cell or min(height, width) < 2:
        raise DataError(f"cells of {cell} pixels do not tile pictures of {height} x {width}")
    # Sobel's filters as differences first, which are exactly 0 where a picture is flat: their sums in one pass are not,
    # and normalisation would make a direction of what rounding leaves.
    padded = pad(x, (1, 1, 1, 1), mode="reflect")
    across, down = padded[..., :-2] - padded[..., 2:], padded[..., :-2, :] - padded[..., 2:, :]
    horizontal = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]).flatten(0, 1)
    vertical = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]).flatten(0, 1)
    strength = (horizontal.square() + vertical.square()).sqrt()
    place = (torch.atan2(horizontal, vertical) / math.pi * bins).floor().to(torch.int64) % bins
    rows, columns = height // cell, width // cell
    upper, left = (torch.arange(side, device=x.device) // cell for side in (height, width))
    where = (upper[:, None] * columns + left) * bins + place
    sums = x.new_zeros(count * channels, rows * columns * bins).scatter_add_(1, where.flatten(1), strength.flatten(1))
    histograms = sums.view(count, channels, rows, columns, bins).permute(0, 2, 3, 1, 4)
    length = torch.linalg.vector_norm(histograms, dim=-1, keepdim=True)
    normalised: Tensor = histograms / length.clamp_min(1e-12)
    return normalised
