"""Which dimensions of a layer to manipulate next."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest

Heuristic = Literal["activation", "gradient"]


def rank(
    values: Tensor,
    margin: Callable[[Tensor], Tensor],
    free: Tensor,
    count: int,
    heuristic: Heuristic = "activation",
) -> Tensor:
    """Return up to `count` flat dimensions of a layer, the most promising first, int64.

    Args:
        values: the layer's values at the point in hand, one sample's shape.
        margin: gives the margin of values `(B, *shape)`, `(B,)`.
        free: which dimensions may be taken, bool, flat.
        count: how many are wanted.
        heuristic: "activation": those furthest from the layer's mean, as in the official code; "gradient": those
            that the margin depends on most.
    """
    if heuristic not in get_args(Heuristic):
        raise ConfigError(f"heuristic {heuristic!r} is unknown: {nearest(str(heuristic), get_args(Heuristic))}")
    if heuristic == "activation":
        flat = values.detach().flatten()
        weight = (flat - flat.mean()).abs()
    else:
        inputs = values.detach()[None].clone().requires_grad_(True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(margin(inputs).sum(), inputs)
        weight = slope.flatten().abs()
    weight = torch.where(free, weight, -torch.inf)
    order = weight.argsort(descending=True, stable=True)
    return order[: min(count, int(free.sum()))]
