"""How far points and masks are from the truth: distances, PCK and the area under it, IoU.

Sizes: N pictures, J points, H x W pixels.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError

STEPS = 100
"""Thresholds at which PCK is read for its area."""


def distances(found: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """Return how far points lie from the true ones, in pixels, float64 `(N, J)`; NaN where the truth is not known.

    Args:
        found: x and y, `(N, J, 2)`.
        true: of the same shape.
        known: bool `(N, J)`.

    Raises:
        DataError: other shapes.
    """
    if found.shape != true.shape or known.shape != true.shape[:2]:
        raise DataError(f"points are {tuple(found.shape)}, true ones {tuple(true.shape)}, known {tuple(known.shape)}")
    apart = torch.linalg.vector_norm(found.double() - true.double(), dim=2)
    return torch.where(known, apart, torch.nan)


def mean_error(apart: Tensor) -> float:
    """Return the mean over pictures of each point, then over points, in pixels; NaN where none is known."""
    return float(apart.nanmean(0).nanmean())


def pck(apart: Tensor, thresholds: Tensor) -> Tensor:
    """Return the share of known points at most so far from the truth, float64 `(T,)`, thresholds `(T,)` in pixels."""
    told = apart[~apart.isnan()]
    return (told <= thresholds.to(told)[:, None]).double().mean(1)


def auc(apart: Tensor, most: float) -> float:
    """Return the area under PCK from 0 to `most` pixels, by 100 thresholds and trapezia, as a share of the whole.

    It is 1 without any error, 0 where all errors are larger than `most`, and 1 - e / most of one error e.
    """
    thresholds = torch.linspace(0, most, STEPS, dtype=torch.float64, device=apart.device)
    return float(torch.trapezoid(pck(apart, thresholds), thresholds) / most)


def mask_iou(found: Tensor, true: Tensor) -> Tensor:
    """Return each picture's intersection over union, float64 `(N,)`; 1 where both masks are empty.

    The official mean leaves pictures out whose IoU is 0; here they count.

    Args:
        found: bool `(N, H, W)`.
        true: whole numbers `(N, H, W)`: 0 the ground, 1 what stands before it, -1 not known. NaN where nothing is.

    Raises:
        DataError: other shapes.
    """
    if found.shape != true.shape:
        raise DataError(f"masks are {tuple(found.shape)}, and true ones {tuple(true.shape)}")
    known = true >= 0
    ours, theirs = (found.bool() & known).flatten(1), (true > 0).flatten(1)
    both, either = (ours & theirs).sum(1).double(), (ours | theirs).sum(1).double()
    score = torch.where(either > 0, both / either.clamp_min(1), 1.0)
    return torch.where(known.flatten(1).any(1), score, torch.nan)
