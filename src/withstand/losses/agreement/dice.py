"""Dice: how far a predicted mask and the true one overlap (Dice, 1945; Milletari et al., V-Net, 2016).

Sizes: B slices, K classes with the background as class 0, H x W pixels.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from withstand.core.errors import DataError
from withstand.losses.precision import full_precision

_EPS = 1e-10


@full_precision
def dice_loss(logits: Tensor, masks: Tensor, *, background: bool = True) -> Tensor:
    """Return one less the mean over slices and classes of `2 sum(p y) / (sum p + sum y + 1e-10)`, 0-d.

    p is the softmax of the logits, y the one-hot mask; sums run over a slice's known pixels. Whether a class that a
    slice lacks counts, as 0 and not as perfect, is the published form's choice.

    Args:
        logits: `(B, K, H, W)`.
        masks: whole numbers from 0, `(B, H, W)`; -1 where the truth is not known.
        background: whether class 0 counts.

    Raises:
        DataError: masks of another shape.
    """
    if logits.dim() != 4 or masks.shape != (len(logits), *logits.shape[2:]):
        raise DataError(
            f"logits (B, K, H, W) and masks (B, H, W) must fit: {tuple(logits.shape)}, {tuple(masks.shape)}"
        )
    known = (masks >= 0)[:, None]
    told = logits.softmax(1) * known
    true = one_hot(masks.clamp_min(0).long(), logits.shape[1]).movedim(3, 1).to(told.dtype) * known
    overlap = 2 * (told * true).sum((2, 3)) / (told.sum((2, 3)) + true.sum((2, 3)) + _EPS)
    return 1 - (overlap if background else overlap[:, 1:]).mean()


def dice_scores(found: Tensor, true: Tensor, classes: int) -> Tensor:
    """Return `2 |A & B| / (|A| + |B|)` of every class in a whole volume, float64 `(K,)`; NaN where neither has it.

    Args:
        found: predicted classes, whole numbers of any shape.
        true: of the same shape; pixels of -1 are left out of both.
        classes: K.

    Raises:
        DataError: shapes that differ.

    >>> dice_scores(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), 3)
    tensor([0.8000, 0.6667,    nan], dtype=torch.float64)
    """
    if found.shape != true.shape:
        raise DataError(f"masks must be of one shape, not {tuple(found.shape)} and {tuple(true.shape)}")
    known = true >= 0
    one, other = found[known].long(), true[known].long()
    both = torch.bincount(one[one == other], minlength=classes)[:classes].double()
    whole = torch.bincount(one, minlength=classes)[:classes] + torch.bincount(other, minlength=classes)[:classes]
    return torch.where(whole > 0, 2 * both / whole, torch.nan)
