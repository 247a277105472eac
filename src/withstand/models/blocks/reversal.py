"""Gradient reversal: what lies behind it learns to raise the loss that everything before it lowers.

Unsupervised Domain Adaptation by Backpropagation (2015).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * -ctx.weight, None


def reversed_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """Return `x`, whose gradient is -weight times what arrives."""
    found: Tensor = _Reversed.apply(x, weight)
    return found
