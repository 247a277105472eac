"""What each traced operation is in a captured network. Names are those of torch's ATen operators."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.activation import MaxPool2d
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.operation import Add, AvgPool2d, Concat, Conv2d, Linear, Mean, Scale

Rule = Callable[[Builder, Sequence[Any], dict[str, Any], Shape], Place]

REARRANGING = {
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "flatten",
        "unsqueeze",
        "squeeze",
        "permute",
        "transpose",
        "t",
    ),
    *(
        "slice",
        "select",
        "index_select",
        "expand",
        "flip",
        "roll",
        "pixel_shuffle",
        "pixel_unshuffle",
        "constant_pad_nd",
    ),
    *("split", "split_with_sizes", "chunk", "unbind", "repeat"),
}
"""Operations that only move entries, or put in zeros; what they do is seen by running them on places."""


def unsupported(name: str) -> ConfigError:
    """Return the error for an operation without bounds."""
    return ConfigError(
        f"the network uses {name}, which has no bounds here: rewrite it with linear layers, convolutions, pooling, "
        "attention, norms over features, and activations such as ReLU, GELU or tanh"
    )


def _double(value: Any) -> Tensor:
    # A number of Python would be of torch's default type without one of its own.
    return torch.as_tensor(value, dtype=torch.float64)


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return int(value[0]), int(value[-1])


def _addmm(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    bias, x, weight = arguments
    if (
        not isinstance(x, Place)
        or not isinstance(weight, Tensor)
        or not isinstance(bias, Tensor)
        or any(options.values())
    ):
        raise unsupported("addmm")
    return builder.add(Linear(weight=_double(weight).t().contiguous(), bias=_double(bias)), x)


def _mm(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    x, weight = arguments
    if not isinstance(x, Place) or not isinstance(weight, Tensor):
        raise unsupported("bmm")
    return builder.add(Linear(weight=_double(weight).t().contiguous()), x)


def _convolution(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = arguments
    if transposed or len(stride) != 2 or not isinstance(x, Place) or not isinstance(weight, Tensor):
        raise unsupported("a transposed convolution" if transposed else f"a convolution in {len(stride)} dimensions")
    return builder.add(
        Conv2d(
            weight=_double(weight),
            bias=None if bias is None else _double(bias).view(-1, 1, 1),
            stride=_pair(stride),
            padding=_pair(padding),
            dilation=_pair(dilation),
            groups=int(groups),
        ),
        x,
    )


def _batch_norm(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    x, weight, bias, mean, variance = arguments[:5]
    training = len(arguments) == 8 and bool(arguments[5])
    if mean is None or training or not isinstance(x, Place):
        raise ConfigError(
            "a batch normalisation by its batch's own statistics depends on the batch: give it running ones"
        )
    factor = (_double(variance) + float(arguments[-1])).rsqrt()
    if weight is not None:
        factor = factor * _double(weight)
    shift = -_double(mean) * factor + (0 if bias is None else _double(bias))
    side = (-1, *[1] * (len(shape) - 1))
    return builder.add(Scale(weight=factor.view(side), bias=shift.view(side)), x)


def _sum_of_two(sign: int) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
        first, second = arguments[:2]
        alpha = float(options.get("alpha", 1))
        if isinstance(first, Place) and isinstance(second, Place):
            if len(builder.shape(first)) != len(builder.shape(second)):
                raise DataError("a sum mixes the samples of a batch: certificates need each sample on its own")
            if alpha != 1:
                second = builder.add(Scale(weight=_double(alpha)), second)
            return builder.add(Add(signs=(1, sign)), first, second)
        x, constant = (first, second) if isinstance(first, Place) else (second, first)
        flipped = sign < 0 and not isinstance(first, Place)
        weight = None if x is first else _double(sign * alpha)
        bias = constant_of(constant, shape) * (sign * alpha if x is first else 1)
        return builder.add(Scale(weight=weight if flipped or alpha != 1 else None, bias=bias), x)

    return rule


def _rsub(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    return _sum_of_two(-1)(builder, [arguments[1], arguments[0]], options, shape)


def constant_of(value: Any, shape: Shape) -> Tensor:
    """Return a constant as it meets one sample, float64; it may not differ between the samples of a batch.

    Raises:
        ConfigError: it differs, or is not finite.
    """
    constant = _double(value)
    if not bool(torch.isfinite(constant).all()):
        raise unsupported("a constant that is not finite, such as a mask of -inf")
    if constant.dim() > len(shape):
        if not bool((constant == constant[:1]).all()):
            raise ConfigError("a constant differs between the samples of a batch: it cannot be part of a network")
        constant = constant[0]
    return constant


def _neg(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    return builder.add(Scale(weight=_double(-1)), arguments[0])


def _over_dims(mean: bool) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
        x = arguments[0]
        before = builder.shape(x)
        dims = tuple(sorted(d % (len(before) + 1) - 1 for d in arguments[1]))
        keep = bool(arguments[2]) if len(arguments) > 2 else bool(options.get("keepdim", False))
        if not dims or dims[0] < 0:
            raise ConfigError("a mean or sum mixes the samples of a batch: certificates need each sample on its own")
        entries = math.prod(before[d] for d in dims)
        return builder.add(Mean(dims=dims, keep=keep, count=entries if mean else 1, entries=entries), x)

    return rule


def _avg_pool(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    x, kernel, stride, padding, ceil, count_padding, divisor = defaults(
        arguments, [None, None, [], [0], False, True, None]
    )
    if ceil or divisor is not None:
        raise unsupported("average pooling with ceil_mode or divisor_override")
    pool = AvgPool2d(kernel=_pair(kernel), stride=_pair(stride or kernel), padding=_pair(padding))
    place = builder.add(pool, x)
    if any(pool.padding) and not count_padding:
        share = pool.apply(torch.ones(1, *builder.shape(x), dtype=torch.float64))
        place = builder.add(Scale(weight=1 / share[0]), place)
    return place


def _adaptive_avg_pool(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    x, size = arguments
    sides = builder.shape(x)[-2:]
    if any(side % out for side, out in zip(sides, size, strict=True)):
        raise unsupported("adaptive average pooling to a size that does not divide its input's")
    kernel = (sides[0] // size[0], sides[1] // size[1])
    return builder.add(AvgPool2d(kernel=kernel, stride=kernel), x)


def _max_pool(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    x, kernel, stride, padding, dilation, ceil = defaults(arguments, [None, None, [], [0], [1], False])
    stride = stride or kernel
    return builder.add(MaxPool2d(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation), bool(ceil)), x)


def _cat(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    dim = (arguments[1] if len(arguments) > 1 else 0) % (len(shape) + 1) - 1
    if dim < 0:
        raise ConfigError("a concatenation mixes the samples of a batch: certificates need each sample on its own")
    places = [
        p if isinstance(p, Place) else builder.constant(constant_of(p, shape), tuple(p.shape[1:])) for p in arguments[0]
    ]
    return builder.add(Concat(dim=dim), *places)


def defaults(arguments: Sequence[Any], values: list[Any]) -> list[Any]:
    """Return arguments, followed by the values of those that were left out."""
    return [*arguments, *values[len(arguments) :]]


LINEAR: dict[str, Rule] = {
    "addmm": _addmm,
    "mm": _mm,
    "convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "add": _sum_of_two(1),
    "sub": _sum_of_two(-1),
    "rsub": _rsub,
    "neg": _neg,
    "mean": _over_dims(True),
    "sum": _over_dims(False),
    "avg_pool2d": _avg_pool,
    "_adaptive_avg_pool2d": _adaptive_avg_pool,
    "max_pool2d_with_indices": _max_pool,
    "cat": _cat,
}
