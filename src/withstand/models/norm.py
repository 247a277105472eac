"""Batch normalisation over the samples of all processes, on any device.

torch's SyncBatchNorm works on GPUs only. Here statistics and gradients are those of the global batch on any
backend: P processes with B samples each give what one process with P * B samples gives.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from withstand.core.distributed import total, world_size

M = TypeVar("M", bound=nn.Module)


def synchronize(module: M) -> M:
    """Make every BatchNorm1d and BatchNorm2d below `module` normalise over all processes, in place.

    Parameters, buffers and the names in the state dict stay. With one process nothing is changed.
    """
    if world_size() > 1:
        for child in module.modules():
            if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
                child.__class__ = GlobalBatchNorm
    return module


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose training statistics are those of all processes; `synchronize` makes it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised features shaped like `x`, `(B, C, ...)`."""
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.dim())]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        wide = x if x.dtype == torch.float64 else x.float()
        count = total(wide.new_tensor(x.numel() // x.shape[1]))
        mean = total(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = total(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            return (centred * (scale * self.weight).view(shape) + self.bias.view(shape)).to(x.dtype)
        return (centred * scale.view(shape)).to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept what BatchNorm1d and BatchNorm2d accept; torch's functional form checks the rest."""
