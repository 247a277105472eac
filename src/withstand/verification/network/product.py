"""Products of two values that both depend on the input. Shapes: batches `(B, *shape)`, one shape for all."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.verification.network.activation import Bent, Interval


@dataclass(frozen=True, eq=False)
class Product(Bent):
    """One input times the other, entry by entry.

    Args:
        limit: a size that no product of what the two can be at once exceeds.
    """

    limit: float = math.inf

    def forward(self, *inputs: Tensor) -> Tensor:
        first, second = inputs
        return first * second

    def span(self, *inputs: Interval) -> Interval:
        first, second = inputs
        ends = torch.stack([one * other for one in first for other in second])
        limits = torch.finfo(ends.dtype)
        slack = 2 * limits.eps * ends.abs().amax(0) + limits.tiny
        return (ends.amin(0) - slack).clamp_min(-self.limit), (ends.amax(0) + slack).clamp_max(self.limit)
