"""What each traced operation is in a captured network. Names are those of torch's ATen operators."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.operation import Add, Concat, Linear, Mean, Scale

Rule = Callable[[Builder, Sequence[Any], dict[str, Any], Shape], Place]

REARRANGING = frozenset({
    "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unsqueeze", "squeeze", "permute", "transpose", "t",
    "slice", "select", "index_select", "index", "gather", "take_along_dim", "expand", "flip", "roll", "repeat",
    "repeat_interleave", "split", "split_with_sizes", "unsafe_split", "chunk", "unbind", "narrow", "unfold", "im2col",
    "diagonal", "tril", "triu", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "upsample_nearest1d",
    "upsample_nearest2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
})  # fmt: skip
"""Operations that only move entries, or put in zeros; what they do is seen by running them on places."""


UNBOUNDED = "a constant that is not finite, or a mask of -inf outside a softmax"


def unsupported(name: str) -> ConfigError:
    """Return the error for an operation without bounds."""
    return ConfigError(
        f"the network uses {name}, which has no bounds here: rewrite it with linear layers, convolutions, pooling, "
        "attention, norms over features, and activations such as ReLU, GELU or tanh"
    )


def _double(value: Any) -> Tensor:
    # A number of Python would be of torch's default type without one of its own.
    return torch.as_tensor(value, dtype=torch.float64)


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
            if alpha != 1:
                second = builder.add(Scale(weight=_double(alpha)), second)
            return builder.add(Add(signs=(1, sign)), first, second)
        x, constant = (first, second) if isinstance(first, Place) else (second, first)
        if sign * alpha == 1:
            constant, where = apart(constant)
            if where is not None:
                found = builder.add(Scale(bias=constant_of(constant, shape)), x)
                return hide(builder, found, where, shape)
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
        raise unsupported(UNBOUNDED)
    if constant.dim() > len(shape):
        if not bool((constant == constant[:1]).all()):
            raise ConfigError("a constant differs between the samples of a batch: it cannot be part of a network")
        constant = constant[0]
    return constant


def apart(value: Any) -> tuple[Any, Tensor | None]:
    """Return a constant with zeros in place of -inf, and where these are; None where there are none.

    Such a constant is a mask: what is -inf counts for nothing in the softmax that follows.
    """
    constant = _double(value)
    where = constant == -torch.inf
    return (constant.masked_fill(where, 0.0), where) if bool(where.any()) else (value, None)


def hide(builder: Builder, place: Place, where: Tensor | None, shape: Shape) -> Place:
    """Append a value of a shape that is -inf where a constant says so; the value itself where none does."""
    if where is None:
        return place
    return builder.hide(builder.spread(place, shape), constant_of(where, shape).expand(shape) > 0)


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


def _cat(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    dim = (arguments[1] if len(arguments) > 1 else 0) % (len(shape) + 1) - 1
    if dim < 0:
        raise ConfigError("a concatenation mixes the samples of a batch: certificates need each sample on its own")
    places = [
        p if isinstance(p, Place) else builder.constant(constant_of(p, shape), tuple(p.shape[1:])) for p in arguments[0]
    ]
    return builder.add(Concat(dim=dim), *places)


def _stack(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    dim = (arguments[1] if len(arguments) > 1 else 0) % (len(shape) + 1) - 1
    if dim < 0:
        raise ConfigError("a stack mixes the samples of a batch: certificates need each sample on its own")
    side = (*shape[:dim], 1, *shape[dim + 1 :])
    rest = (*shape[:dim], *shape[dim + 1 :])
    places = [p if isinstance(p, Place) else builder.constant(constant_of(p, rest), rest) for p in arguments[0]]
    return builder.add(Concat(dim=dim), *(builder.shaped(place, side) for place in places))


def _lerp(builder: Builder, arguments: Sequence[Any], options: dict[str, Any], shape: Shape) -> Place:
    first, second, weight = arguments
    if isinstance(weight, Place):
        raise unsupported("a lerp whose weight hangs on the input")
    parts = []
    for value, share in ((first, 1 - constant_of(weight, shape)), (second, constant_of(weight, shape))):
        whole = value if isinstance(value, Place) else builder.constant(constant_of(value, shape), shape)
        parts.append(builder.add(Scale(weight=share), whole))
    return builder.add(Add(), *parts)


def defaults(arguments: Sequence[Any], values: list[Any]) -> list[Any]:
    """Return arguments, followed by the values of those that were left out."""
    return [*arguments, *values[len(arguments) :]]


LINEAR: dict[str, Rule] = {
    "addmm": _addmm,
    "mm": _mm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "add": _sum_of_two(1),
    "sub": _sum_of_two(-1),
    "rsub": _rsub,
    "neg": _neg,
    "mean": _over_dims(True),
    "sum": _over_dims(False),
    "cat": _cat,
    "stack": _stack,
    "lerp": _lerp,
}
