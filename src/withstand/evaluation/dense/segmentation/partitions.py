"""How far two ways of cutting a picture into parts agree, whatever the parts are called.

Sizes: N pictures of H x W pixels.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot


def _shared(found: Tensor, true: Tensor, counted: Tensor) -> Tensor:
    """Return how many counted pixels each pair of parts shares, float64 `(N, found parts, true parts)`."""
    one, other = (one_hot(part.flatten(1).long()).double() for part in (found, true))
    return (one * counted.flatten(1)[:, :, None]).transpose(1, 2) @ other


def adjusted_rand(found: Tensor, true: Tensor, *, foreground: bool = False) -> Tensor:
    """Return the adjusted Rand index of each picture, float64 `(N,)` (Hubert and Arabie, 1985).

    1 for the same partition, about 0 for chance; 1 where both are one part. NaN where fewer than two pixels count.

    Args:
        found: whole numbers from 0, `(N, H, W)`.
        true: likewise; 0 is the background.
        foreground: count pixels of true objects alone.
    """
    counted = true > 0 if foreground else torch.ones_like(true, dtype=torch.bool)
    shared = _shared(found, true, counted)
    count = shared.sum((1, 2))
    pairs = (shared * (shared - 1)).sum((1, 2))
    rows, columns = (side * (side - 1) for side in (shared.sum(2), shared.sum(1)))
    one, other = rows.sum(1), columns.sum(1)
    expected = one * other / (count * (count - 1))
    most = (one + other) / 2
    index = torch.where(most == expected, 1.0, (pairs - expected) / (most - expected))
    return torch.where(count > 1, index, torch.nan)


def matched_iou(found: Tensor, true: Tensor) -> Tensor:
    """Return the mean intersection over union of each picture's true parts, the background among them, `(N,)`.

    Parts are matched so that the sum is largest; a true part that is matched with none counts 0.
    """
    shared = _shared(found, true, torch.ones_like(true, dtype=torch.bool))
    union = shared.sum(2, keepdim=True) + shared.sum(1, keepdim=True) - shared
    ratio = (shared / union.clamp_min(1)).cpu().numpy()
    there = shared.sum(1) > 0
    best = [float(one[linear_sum_assignment(one, maximize=True)].sum()) for one in ratio]
    return torch.from_numpy(np.asarray(best)) / there.sum(1).cpu()
