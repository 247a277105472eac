"""Batch normalisation over the samples of all processes, on any device.

torch's SyncBatchNorm works on GPUs only. Here statistics and gradients are those of the global batch on any
backend: P processes with B samples each give what one process with P * B samples gives.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from withstand.core.devices.distributed import total, world_size
from withstand.core.errors import ConfigError

M = TypeVar("M", bound=nn.Module)


def synchronize(module: M) -> M:
    """Make every batch normalisation of `module` work over all processes, in place.

    Parameters, buffers and names in the state dict stay as they are. Layers without running statistics use the
    batch's in eval mode too, as torch's do. With one process nothing is changed.

    Raises:
        ConfigError: a layer with a batch normalisation of its own making, which would see one process only.
    """
    if world_size() > 1:
        for name, child in module.named_modules():
            if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                child.__class__ = GlobalBatchNorm
            elif isinstance(child, _BatchNorm) and not isinstance(child, GlobalBatchNorm | nn.SyncBatchNorm):
                raise ConfigError(
                    f"{name} is a {type(child).__name__}, which cannot normalise over processes: "
                    "train with one process, or take an encoder with torch's own BatchNorm or with LayerNorm"
                )
    return module


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation whose training statistics are those of all processes; `synchronize` makes it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised features shaped like `x`, `(B, C, ...)`."""
        if not self.training and self.running_mean is not None:
            return super().forward(x)
        count, mean, variance = _global_statistics(x.detach())
        if self.training:
            self._follow(mean, variance * (count / (count - 1)))
        weight = torch.ones_like(mean) if self.weight is None else self.weight
        bias = torch.zeros_like(mean) if self.bias is None else self.bias
        found: Tensor = _Normalize.apply(x, weight, bias, mean, variance, count, self.eps)
        return found

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept `(B, C)` and `(B, C, ...)` alike."""


def _global_statistics(x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return the number of values a channel, their mean and their biased variance, over all processes."""
    axes = [0, *range(2, x.dim())]
    wide = x if x.dtype == torch.float64 else x.float()
    variance, mean = torch.var_mean(wide, axes, correction=0)
    here = x.numel() // x.shape[1]
    sums = total(torch.cat([mean * here, mean.new_tensor([here])]))
    count = float(sums[-1])
    if count < 2:
        raise ValueError(f"batch normalisation needs more than one value a channel to train, not {tuple(x.shape)}")
    center = sums[:-1] / count
    # The spread within this process, moved to the common center: no difference of large squares.
    return count, center, total((variance + (mean - center).square()) * here) / count


class _Normalize(torch.autograd.Function):
    """Normalise by given statistics, with the gradient that flows through them over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: float, eps: float
    ) -> Tensor:
        ctx.count, ctx.eps = count, eps
        ctx.save_for_backward(x, weight, mean, variance)
        return batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # Above, the statistics stood for constants. Every value moved them, on every process: with u = (x - mean) /
        # std, each value's gradient loses weight / std * (sum of gradients + u * sum of gradients times u) / count.
        shape = (1, -1) + (1,) * (x.dim() - 2)
        inverse = (variance + ctx.eps).rsqrt()
        slope = weight * inverse.square() * total(to_weight) / ctx.count
        offset = weight * inverse * total(to_bias) / ctx.count - slope * mean
        correction = torch.addcmul(offset.view(shape), x.to(slope.dtype), slope.view(shape))
        return (to_x - correction).to(x.dtype), to_weight, to_bias, None, None, None, None
