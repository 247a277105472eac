"""Islands of full precision: delicate terms are computed in float32 (float64 stays) under any autocast."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` without autocast, its half-precision tensors widened to float32.

    Gradients come back in each tensor's own type.
    """

    inner: Callable[..., R] = function

    @wraps(function)
    def island(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        named = {name: _widen(value) for name, value in kwargs.items()}
        with torch.autocast(device, enabled=False):
            return inner(*map(_widen, args), **named)

    return island


def _widen(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def unit_rows(x: Tensor) -> Tensor:
    """Return rows of length 1, `(N, D)`; a zero row stays zero and gets no gradient.

    `torch.nn.functional.normalize` gives a zero row a gradient of 1e12, which is infinite in half precision.
    """
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(length > 1e-12, length, torch.inf)
