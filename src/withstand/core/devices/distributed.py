"""What a loss needs of other processes: a gather whose gradients are exact.

Convention: process r of P holds rows r of the global batch, and the engine averages parameter gradients
over processes. A loss that is the mean over the *local* anchors against gathered keys, or one that every
process computes whole from gathered rows, then has the single-process gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's place among them."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process used our rows: the gradient is the sum of what each found for them.
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # others may read what came
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.rows : (rank() + 1) * ctx.rows]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient


def gather(x: Tensor) -> Tensor:
    """Return the rows of all processes, `(P * B, ...)` in rank order, with exact gradients.

    Every process must hold the same number of rows. With one process, `x` itself.
    """
    return x if world_size() == 1 else _Gather.apply(x)


def total(x: Tensor) -> Tensor:
    """Return the sum of `x` over all processes, with exact gradients. With one process, `x` itself."""
    return x if world_size() == 1 else _Sum.apply(x)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their means over processes, in one exchange a type; those that no process has stay None.

    Every process must call it with the same parameters. A process that lacks a gradient takes part with 0.
    """
    if world_size() == 1:
        return
    has = torch.tensor([parameter.grad is not None for parameter in parameters], device=parameters[0].device)
    somewhere = has.float()
    dist.all_reduce(somewhere)
    known = [parameter for parameter, share in zip(parameters, somewhere.tolist(), strict=True) if share]
    for dtype in dict.fromkeys(parameter.dtype for parameter in known):
        alike = [parameter for parameter in known if parameter.dtype == dtype]
        for parameter in alike:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in alike if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= world_size()
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, parts, strict=True):
            gradient.copy_(mean.view(gradient.shape))


def as_on_first_process(x: Tensor) -> Tensor:
    """Return the first process's `x`, for what rounding or a race may make differ. With one process, `x` itself."""
    if world_size() > 1:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.broadcast(x, 0)
    return x


def mean_of_all(values: Tensor) -> Tensor:
    """Return the mean of values `(M,)`, such that its mean over processes, each with an M of its own, is that of all.

    A process without any takes part with 0.
    """
    count = total(torch.tensor(float(len(values)), device=values.device))
    return values.sum() * (world_size() / count.clamp_min(1).to(values.dtype))


def first_row(rows: int) -> int:
    """Return the global number of this process's first row when each process holds `rows`."""
    return rank() * rows
