"""Masks whose order nobody knows: true ones are matched with slots. Sizes: B pictures, K slots, H x W pixels."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot

from withstand.core.devices.distributed import total, world_size
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision


def matching(true: Tensor, told: Tensor) -> Tensor:
    """Return which slot each true mask is matched with, int64 `(B, K)`: least sum of Euclidean distances, no gradient.

    Args:
        true: masks `(B, K, N)`, those that are not there zero.
        told: the slots' masks `(B, K, N)`.
    """
    costs = torch.cdist(true.detach().double(), told.detach().double()).cpu().numpy()
    found = np.stack([linear_sum_assignment(cost)[1] for cost in costs]) if len(costs) else np.zeros((0, true.shape[1]))
    return torch.from_numpy(found.astype(np.int64)).to(told.device)


@full_precision
def matched_mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the weighted binary cross-entropy of matched masks, 0-d (Slot-TTA, Prabhudesai et al., 2023).

    Of a picture with labels 0 to L the first L + 1 masks count. A pixel inside its mask weighs as many as there are
    pixels outside for one inside, over all masks of all processes, and one outside 1.

    Args:
        logits: `(B, K, H, W)`; the slots' masks are their softmax over K.
        masks: whole numbers from 0, the background's, `(B, H, W)`.

    Raises:
        DataError: masks of another shape, or more objects than slots.
    """
    if logits.dim() != 4 or masks.shape != (len(logits), *logits.shape[2:]):
        raise DataError(
            f"logits (B, K, H, W) and masks (B, H, W) must fit: {tuple(logits.shape)}, {tuple(masks.shape)}"
        )
    slots = logits.shape[1]
    low, high = (int(masks.min()), int(masks.max())) if len(masks) else (0, 0)
    if low < 0 or high >= slots:
        raise DataError(
            f"masks hold the numbers {low} to {high}, and {slots} slots tell 0 to {slots - 1}: take {high + 1} slots"
            if low >= 0
            else f"masks count from 0, the background, and these hold {low}"
        )
    true = one_hot(masks.long(), slots).movedim(3, 1).flatten(2).to(logits.dtype)
    valid = (torch.arange(slots, device=masks.device) <= masks.flatten(1).amax(1, keepdim=True)).to(logits.dtype)
    told = logits.flatten(2)
    places = matching(true, told.softmax(1))[:, :, None].expand_as(told)
    log_inside = told.log_softmax(1).gather(1, places)
    # A mask of 1 has no finite logarithm of what is outside it.
    log_outside = torch.log1p(-log_inside.exp().clamp_max(1 - 1e-6))
    inside, all_of = total((true * valid[:, :, None]).sum()), total(valid.sum() * true.shape[2])
    weights = valid[:, :, None] * (1 + true * ((all_of - inside) / inside.clamp_min(1) - 1))
    errors = -(true * log_inside + (1 - true) * log_outside)
    return (weights * errors).sum() / (total(weights.sum()) + 1e-6) * world_size()
