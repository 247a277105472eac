"""The slope by the input of a strided convolution with few channels, as a plain convolution of the slope that came.

The first layer of many networks reads three channels in strides: patches of a ViT, the stem of a ResNet. Its slope by
the input, which every attack asks for in every step, is what processors are slowest at: several times its forward pass.
Seen in cells of stride by stride entries, each cell's slope is a convolution with stride 1 over the outputs near it
(Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016), at half the time or less.

Shapes: inputs `(N, C, H, W)`, outputs `(N, K, h, w)`, stride s, D outputs along an axis that reach into one cell.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 4
"""Channels up to which it pays."""


def shorten_slopes(model: nn.Module) -> int:
    """Let strided convolutions with few channels take the shorter way back, and return how many do.

    Args:
        model: a copy, whose modules may be changed; layers whose weights need slopes are left alone.
    """
    chosen = [module for module in model.modules() if type(module) is nn.Conv2d and _fits(module)]
    for module in chosen:
        module.__dict__["forward"] = _Strided(module)
    return len(chosen)


def _fits(layer: nn.Conv2d) -> bool:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    strided = layer.stride[0] == layer.stride[1] > 1 and layer.in_channels <= FEW
    parameters = [layer.weight, layer.bias] if layer.bias is not None else [layer.weight]
    fixed = all(isinstance(value, Tensor) and not value.requires_grad for value in parameters)
    return plain and strided and fixed and not isinstance(layer.padding, str) and "forward" not in layer.__dict__


class _Strided:
    """A convolution's forward pass, with a way back of its own."""

    def __init__(self, layer: nn.Conv2d) -> None:
        assert not isinstance(layer.padding, str)
        self.layer, self.stride, self.padding = layer, layer.stride[0], (layer.padding[0], layer.padding[1])
        self.back, self.nearest = _way_back(layer.weight.detach(), self.stride, self.padding)

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or not (x.requires_grad and torch.is_grad_enabled()):
            return F.conv2d(x, self.layer.weight, self.layer.bias, self.stride, self.padding)
        found: Tensor = _Convolution.apply(x, self)
        return found

    def slope(self, came: Tensor, height: int, width: int) -> Tensor:
        """Return the slope by inputs of `height` by `width` from that by the outputs."""
        cells = [-(-side // self.stride) for side in (height, width)]
        before = [-first for first in self.nearest]
        # Cells c look at outputs from c + nearest on: zeros stand for those beyond the borders.
        after = [
            cell - 1 + first + reach - side
            for cell, first, reach, side in zip(cells, self.nearest, self.back.shape[2:], came.shape[2:], strict=True)
        ]
        if before == after and min(before) >= 0:
            found = F.conv2d(came, self.back, padding=before)
        else:
            found = F.conv2d(F.pad(came, (before[1], after[1], before[0], after[0])), self.back)
        return F.pixel_shuffle(found, self.stride)[:, :, :height, :width]


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, layer: _Strided) -> Tensor:
        return F.conv2d(x, layer.layer.weight, layer.layer.bias, layer.stride, layer.padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.layer = inputs
        ctx.size = x.shape[2:]

    @staticmethod
    def backward(ctx: Any, came: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.slope(came, *ctx.size), None


def _way_back(weight: Tensor, stride: int, padding: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Return weights `(C * s * s, K, D, D)` from outputs to cells, and the first output's place less its cell's."""
    outputs, channels, *kernel = weight.shape
    nearest = [-((side - 1 - pad) // stride) for side, pad in zip(kernel, padding, strict=True)]
    reach = [(stride - 1 + pad) // stride - first + 1 for first, pad in zip(nearest, padding, strict=True)]
    back = weight.new_zeros(channels, stride, stride, outputs, *reach)
    # Output o sees entry s o + k - p by the kernel's entry k: entry r of cell c by k = r + p - s (o - c).
    places = [
        [(r, d, r + pad - stride * (d + first)) for r in range(stride) for d in range(count)]
        for first, count, pad in zip(nearest, reach, padding, strict=True)
    ]
    for row, down, tall in places[0]:
        for column, right, wide in places[1]:
            if 0 <= tall < kernel[0] and 0 <= wide < kernel[1]:
                back[:, row, column, :, down, right] = weight[:, :, tall, wide].T
    return back.flatten(0, 2), (nearest[0], nearest[1])
