"""Points of a box in a smaller precision."""

import torch
from torch import Tensor

from withstand.verification.specification.box import inward


def rounded(x: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype) -> Tensor:
    """Return points of a box in another precision: inside where that has a number there, else the nearest to the point.

    A box that is narrower than the precision's steps, as where an input is fixed at a decimal, holds no such number.
    """
    shown = inward(x, low, high, dtype)
    outside = (shown.to(low) < low) | (shown.to(low) > high)
    return torch.where(outside, torch.maximum(torch.minimum(x.to(low), high), low).to(dtype), shown)
