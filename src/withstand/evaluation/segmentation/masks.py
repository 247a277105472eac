"""Masks beside their truth: Dice by volume and structure, and masks drawn over what they are of.

Sizes: N slices, V volumes, K classes with the background as class 0, H x W pixels.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.roles import Source
from withstand.losses.agreement.dice import dice_scores

MASK = "mask"
"""The extra that holds masks."""
_COLORS = ((230, 70, 60), (60, 150, 240), (80, 190, 90), (240, 180, 40), (170, 90, 210), (60, 200, 200))
_COVER = 0.55
"""Share of a structure's color in a pixel that it covers."""


def volumes_of(source: Source) -> Tensor:
    """Return which volume each sample is of, int64 `(N,)`, counted from 0; each is its own where there are none."""
    volume = source.attributes.get("volume")
    return torch.arange(len(source)) if volume is None else torch.unique(volume, return_inverse=True)[1]


def masked_volumes(source: Source) -> list[Tensor]:
    """Return the samples of each volume whose masks are known, in order.

    Raises:
        DataError: there are no masks.
    """
    if not source.structures:
        raise DataError(f"{source.name} has no masks")
    known = source.attributes.get("masked", torch.ones(len(source), dtype=torch.bool))
    volume = volumes_of(source)
    return [rows for one in torch.unique(volume[known]) if len(rows := ((volume == one) & known).nonzero()[:, 0])]


def scores(found: Tensor, true: Tensor, volumes: Tensor, classes: int) -> Tensor:
    """Return Dice of every structure in each volume, float64 `(V, K - 1)`; NaN where neither mask has it.

    Args:
        found: predicted classes, `(N, H, W)`.
        true: of the same shape, -1 where not known.
        volumes: of each slice, counted from 0, `(N,)`.
        classes: K.
    """
    each = [dice_scores(found[volumes == one], true[volumes == one], classes)[1:] for one in torch.unique(volumes)]
    return torch.stack(each)


def overlaid(pictures: npt.NDArray[np.uint8], masks: Tensor) -> npt.NDArray[np.uint8]:
    """Return grey or color pictures `(N, H, W, C)` in color, each structure of their masks `(N, H, W)` tinted."""
    out = np.repeat(pictures, 3, 3) if pictures.shape[3] == 1 else pictures.copy()
    values = masks.cpu().numpy()
    for structure in range(1, int(values.max(initial=0)) + 1):
        color = np.array(_COLORS[(structure - 1) % len(_COLORS)])
        here = values == structure
        out[here] = np.rint((1 - _COVER) * out[here] + _COVER * color).astype(np.uint8)
    return out
