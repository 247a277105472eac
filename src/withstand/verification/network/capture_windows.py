"""Convolutions, pooling and resizing of a traced network, in one and in two dimensions.

What is one-dimensional is two-dimensional with a height of 1. A transposed convolution is a convolution of what has
zeros between its entries. Names are those of torch's ATen operators.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.activation import MaxPool2d
from withstand.verification.network.capture_bends import scaled
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.capture_products import own_dims
from withstand.verification.network.capture_rules import Rule, constant_of, defaults, unsupported
from withstand.verification.network.operation import AvgPool2d, Conv2d, Linear, Scale

Options = dict[str, Any]

_MOST = 1 << 24
"""Numbers that the matrix of a plane's resizing may have."""


def _pair(value: Sequence[int], fill: int) -> tuple[int, int]:
    """Return one number a dimension, for height and width; a single one counts for both, or for the width."""
    return (int(value[0]), int(value[-1])) if len(value) == 2 else (fill, int(value[0]))


def _both(value: Sequence[int]) -> tuple[int, int]:
    return int(value[0]), int(value[-1])


def _convolution(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, weight, bias, stride, padding, dilation, transposed, more, groups = arguments
    dims = len(stride)
    if not isinstance(x, Place) or not isinstance(weight, Tensor) or isinstance(bias, Place):
        raise unsupported("a convolution with weights that hang on the input")
    if dims not in (1, 2):
        raise unsupported(f"a convolution in {dims} dimensions")
    before = builder.shape(x)
    weight = weight.double()
    if dims == 1:
        x, weight = builder.shaped(x, (before[0], 1, before[1])), weight.unsqueeze(2)
    strides, around, dilations = _pair(stride, 1), _pair(padding, 0), _pair(dilation, 1)
    if transposed:
        x = _spaced(builder, x, weight, strides, around, dilations, _pair(more, 0))
        inner, outer = weight.shape[0] // int(groups), weight.shape[1]
        weight = weight.flip(2, 3).reshape(int(groups), inner, outer, *weight.shape[2:])
        weight = weight.transpose(1, 2).reshape(-1, inner, *weight.shape[3:])
        strides, around = (1, 1), (0, 0)
    conv = Conv2d(
        weight=weight,
        bias=None if bias is None else bias.double().view(-1, 1, 1),
        stride=strides,
        padding=around,
        dilation=dilations,
        groups=int(groups),
    )
    found = builder.add(conv, x)
    return builder.shaped(found, shape) if dims == 1 else found


def _spaced(
    builder: Builder,
    x: Place,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    more: tuple[int, int],
) -> Place:
    """Append what puts zeros between pictures' entries and round them, as a transposed convolution sees them."""
    channels, height, width = builder.shape(x)
    places = torch.arange(channels * height * width).view(channels, height, width)
    wide = torch.full((channels, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1), -1)
    wide[:, :: stride[0], :: stride[1]] = places
    sides = []
    for dim in (1, 0):
        border = dilation[dim] * (weight.shape[2 + dim] - 1) - padding[dim]
        sides += [border, border + more[dim]]
    return builder.moved(x, F.pad(wide, sides, value=-1))


def _linear_planes(target: Callable[[Tensor], Tensor]) -> Callable[[Builder, Place, Shape], Place]:
    """Return what appends a linear map of each channel's plane, read off torch's own operation."""

    def append(builder: Builder, x: Place, shape: Shape) -> Place:
        channels, *sides = builder.shape(x)
        size, after = math.prod(sides), math.prod(shape[1:])
        if size * after > _MOST:
            raise unsupported(f"a resizing of {size} entries to {after}")
        unit = torch.eye(size, dtype=torch.float64).view(size, 1, *sides)
        matrix = target(unit).reshape(size, after)
        flat = builder.add(Linear(weight=matrix.t().contiguous()), builder.shaped(x, (channels, size)))
        return builder.shaped(flat, shape)

    return append


def _avg_pool(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, kernel, stride, padding, ceil, count_padding, divisor = defaults(
        arguments, [None, None, [], [0], False, True, None]
    )
    stride = stride or kernel
    if ceil or divisor is not None:
        given = (_both(kernel), _both(stride), _both(padding), bool(ceil), bool(count_padding), divisor)
        return _linear_planes(lambda planes: F.avg_pool2d(planes, *given))(builder, x, shape)
    pool = AvgPool2d(kernel=_both(kernel), stride=_both(stride), padding=_both(padding))
    place = builder.add(pool, x)
    if any(pool.padding) and not count_padding:
        share = pool.apply(torch.ones(1, *builder.shape(x), dtype=torch.float64))
        place = builder.add(Scale(weight=1 / share[0]), place)
    return place


def _adaptive_avg_pool(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, size = arguments
    sides = builder.shape(x)[-2:]
    if any(side % out for side, out in zip(sides, size, strict=True)):
        return _linear_planes(lambda planes: F.adaptive_avg_pool2d(planes, size))(builder, x, shape)
    kernel = (sides[0] // size[0], sides[1] // size[1])
    return builder.add(AvgPool2d(kernel=kernel, stride=kernel), x)


def _resized(target: Any) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        return _linear_planes(lambda planes: target(planes, *arguments[1:]))(builder, arguments[0], shape)

    return rule


def _max_pool(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, kernel, stride, padding, dilation, ceil = defaults(arguments, [None, None, [], [0], [1], False])
    stride = stride or kernel
    return builder.add(MaxPool2d(_both(kernel), _both(stride), _both(padding), _both(dilation), bool(ceil)), x)


def _adaptive_max_pool(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, size = arguments
    sides = builder.shape(x)[-2:]
    if any(side % out for side, out in zip(sides, size, strict=True)):
        raise unsupported("adaptive max pooling to a size that does not divide its input's")
    kernel = (sides[0] // size[0], sides[1] // size[1])
    return builder.add(MaxPool2d(kernel, kernel), x)


def _extreme(sign: int) -> Rule:
    """Return the rule of the largest (1) or the smallest (-1) entry along dimensions."""

    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        x, given = defaults(arguments, [None, None])[:2]
        before = builder.shape(x)
        dims = own_dims(given if isinstance(given, int) else given or None, before)
        rest = [dim for dim in range(len(before)) if dim not in dims]
        places = torch.arange(math.prod(before)).view(before).permute(*rest, *dims)
        entries = math.prod(before[dim] for dim in dims)
        lined = builder.moved(x, places.reshape(1, -1, entries))
        found = builder.add(MaxPool2d((1, entries), (1, entries)), scaled(builder, lined, float(sign)))
        return builder.shaped(scaled(builder, found, float(sign)), shape)

    return rule


def _constant_pad(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    # Zeros are put in where entries are moved; another number is added there.
    x, pads, value = arguments
    before = builder.shape(x)
    places = torch.arange(math.prod(before)).view(before)
    around = F.pad(places, pads, value=-1)
    if around.dim() * 2 < len(pads):
        raise unsupported("a padding of the samples of a batch")
    bias = torch.where(around < 0, constant_of(value, shape), torch.zeros((), dtype=torch.float64))
    return scaled(builder, builder.moved(x, around), 1.0, bias)


_ATEN = torch.ops.aten

WINDOWS: dict[str, Rule] = {
    "convolution": _convolution,
    "avg_pool2d": _avg_pool,
    "_adaptive_avg_pool2d": _adaptive_avg_pool,
    "max_pool2d_with_indices": _max_pool,
    "adaptive_max_pool2d": _adaptive_max_pool,
    "amax": _extreme(1),
    "amin": _extreme(-1),
    "max": _extreme(1),
    "min": _extreme(-1),
    "upsample_bilinear2d": _resized(_ATEN.upsample_bilinear2d.default),
    "upsample_bicubic2d": _resized(_ATEN.upsample_bicubic2d.default),
    "upsample_linear1d": _resized(_ATEN.upsample_linear1d.default),
    "constant_pad_nd": _constant_pad,
}
"""By name."""
