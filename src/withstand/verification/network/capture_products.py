"""Products of what hangs on the input, and what is made of them: attention, softmax, norms over features.

Everything is written in operations that have bounds: a softmax by differences of its inputs, which are exact and never
leave [0, 1]; a norm over features by squares, a root and products. Names are those of torch's ATen operators.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from withstand.core.errors import DataError
from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.activation import Sigmoid
from withstand.verification.network.capture_bends import at_most, difference, product, scaled
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.capture_rules import Rule, apart, constant_of, defaults, hide, unsupported
from withstand.verification.network.curves import Softplus
from withstand.verification.network.operation import Add, Linear, Mean, Scale
from withstand.verification.network.powers import Exp, Log, Reciprocal, Rsqrt, Sqrt, Square
from withstand.verification.network.product import Product

Options = dict[str, Any]

_MOST = 1 << 16
"""Entries that a product of matrices, or the differences of a softmax, may have a sample: all are held at once."""


_FAR = 80.0
"""A difference of a softmax's inputs from which on the smaller one counts for nothing."""


def _check_size(what: str, entries: int) -> None:
    if entries > _MOST:
        raise unsupported(f"{what} of {entries:,} entries a sample, of which at most {_MOST:,} are bounded")


def summed(builder: Builder, x: Place, dims: Sequence[int], *, keep: bool = False, mean: bool = False) -> Place:
    """Append the sum, or the mean, over some of a sample's dimensions."""
    entries = math.prod(builder.shape(x)[dim] for dim in dims)
    return builder.add(Mean(dims=tuple(sorted(dims)), keep=keep, count=entries if mean else 1, entries=entries), x)


def own_dims(dims: Any, shape: Shape) -> list[int]:
    """Return dimensions of a batch as those of a sample, from the front; None is all of a sample's.

    Raises:
        DataError: the samples' own is among them.
    """
    given = range(1, len(shape) + 1) if dims is None else [dims] if isinstance(dims, int) else dims
    found = sorted(int(dim) % (len(shape) + 1) - 1 for dim in given)
    if not found or found[0] < 0:
        raise DataError("an operation along the samples mixes those of a batch: certificates need each on its own")
    return found


def _bmm(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    first, second = arguments
    return multiplied(builder, first, second, shape)


def multiplied(builder: Builder, first: Any, second: Any, shape: Shape) -> Place:
    """Append a product of matrices `(*groups, n, k)` and `(*groups, k, m)`, of which one may be constant."""
    groups, rows, columns = shape[:-2], shape[-2], shape[-1]
    if isinstance(first, Place):
        inner = builder.shape(first)[-1]
    else:
        inner = builder.shape(second)[-2]
        first = constant_of(first, (*groups, rows, inner)).expand(*groups, rows, inner)
    if not isinstance(second, Place):
        second = constant_of(second, (*groups, inner, columns)).expand(*groups, inner, columns)
        flat = second.reshape(-1, inner, columns)
        if bool((flat == flat[:1]).all()):
            return builder.add(Linear(weight=flat[0].t().contiguous()), first)
    full = (*groups, rows, columns, inner)
    _check_size("a product of matrices", math.prod(full))

    def spread(x: Any, right: bool) -> Any:
        places = torch.arange(math.prod(builder.shape(x))).view(builder.shape(x)) if isinstance(x, Place) else x
        wide = places.transpose(-1, -2).unsqueeze(-3) if right else places.unsqueeze(-2)
        return builder.moved(x, wide.expand(full)) if isinstance(x, Place) else wide

    left, right = spread(first, False), spread(second, True)
    if isinstance(left, Place) and isinstance(right, Place):
        found = builder.add(Product(), left, right)
    else:
        x, factor = (left, right) if isinstance(left, Place) else (right, left)
        found = builder.add(Scale(weight=factor), x)
    return summed(builder, found, [len(full) - 1])


def _baddbmm(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    added, first, second = arguments
    beta, alpha = (float(options.get(name, 1)) for name in ("beta", "alpha"))
    where = None
    if beta == 1 and not isinstance(added, Place):
        added, where = apart(added)
    found = scaled(builder, multiplied(builder, first, second, shape), alpha)
    if isinstance(added, Place):
        return builder.add(Add(), found, builder.spread(scaled(builder, added, beta), shape))
    return hide(builder, scaled(builder, found, 1.0, beta * constant_of(added, shape)), where, shape)


def _pairs(shape: Shape, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the flat places of each entry's others along a dimension, and those of itself, `(*shape, n - 1)`."""
    count = shape[dim]
    _check_size("a softmax", math.prod(shape) * (count - 1))
    places = torch.arange(math.prod(shape)).view(shape).movedim(dim, -1)
    index = torch.arange(count)
    other = torch.stack([index[index != one] for one in range(count)])
    wide = [places[..., other], places.unsqueeze(-1).expand(*places.shape, count - 1)]
    first, second = (part.movedim(-2, dim) for part in wide)
    return first, second


def _others(builder: Builder, x: Place, dim: int) -> Place:
    """Append the differences of each entry's others to it along a dimension, `(*shape, n - 1)`."""
    first, second = (builder.moved(x, part) for part in _pairs(builder.shape(x), dim))
    return difference(builder, first, second)


def _softmax(logarithm: bool, *, safe: bool = False) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        x = arguments[0]
        (dim,) = own_dims(arguments[1], shape)
        count, last = shape[dim], len(shape)
        hidden = builder.hidden(x)
        if hidden is not None:
            return _masked_softmax(builder, x, dim, hidden, logarithm=logarithm, safe=safe)
        if count == 1:
            return scaled(builder, x, 0.0, 0.0 if logarithm else 1.0)
        above = _others(builder, x, dim)
        if count == 2:
            one = builder.shaped(above, shape)
            if logarithm:
                return scaled(builder, builder.add(Softplus(math.inf), one), -1.0)
            return builder.add(Sigmoid(), scaled(builder, one, -1.0))
        if not logarithm:
            # Beyond, float32 has no exponential, and a share is 0 up to what its reciprocal may be off.
            above = at_most(builder, above, _FAR)
        total = scaled(builder, summed(builder, builder.add(Exp(), above), [last]), 1.0, 1.0)
        if logarithm:
            return scaled(builder, builder.add(Log(), total), -1.0)
        return builder.add(Reciprocal(off=1.01 * math.exp(-_FAR)), total)

    return rule


def _masked_softmax(
    builder: Builder, x: Place, dim: int, hidden: torch.Tensor, *, logarithm: bool, safe: bool
) -> Place:
    """Append the softmax of a value that is -inf at known places: 0 there, and among the others as ever."""
    if logarithm:
        raise unsupported("a log-softmax of -inf")
    if not safe and bool(hidden.all(dim).any()):
        raise unsupported("a softmax of -inf alone, which is no number,")
    seen = (~hidden).double()
    if builder.shape(x)[dim] == 1:
        return scaled(builder, x, 0.0, seen)
    both = torch.stack([seen.flatten()[part] for part in _pairs(builder.shape(x), dim)]).prod(0)
    above = at_most(builder, builder.add(Scale(weight=both), _others(builder, x, dim)), _FAR)
    shares = builder.add(Scale(weight=both), builder.add(Exp(), above))
    total = scaled(builder, summed(builder, shares, [len(hidden.shape)]), 1.0, 1.0)
    return scaled(builder, builder.add(Reciprocal(off=1.01 * math.exp(-_FAR)), total), seen)


def _logsumexp(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, dims, keep = defaults(arguments, [None, None, False])
    before = builder.shape(x)
    (dim,) = own_dims(dims if isinstance(dims, int) else dims[0] if len(dims) == 1 else None, before)
    places = torch.arange(math.prod(before)).view(before)
    first = builder.moved(x, places.narrow(dim, 0, 1))
    # Of the first entry alone: its own logarithm of a softmax, with the sign turned.
    above = difference(builder, x, builder.spread(first, before))
    total = summed(builder, builder.add(Exp(), above), [dim], keep=True)
    found = builder.add(Add(), builder.add(Log(), total), first)
    return found if keep else builder.shaped(found, shape)


def normed(builder: Builder, x: Place, dims: Sequence[int], eps: float) -> Place:
    """Append x less its mean, over the root of its variance and `eps`, over some dimensions."""
    shape = builder.shape(x)
    entries = math.prod(shape[dim] for dim in dims)
    centred = difference(builder, x, summed(builder, x, dims, keep=True, mean=True))
    variance = summed(builder, builder.add(Square(), centred), dims, keep=True, mean=True)
    inverse = builder.add(Rsqrt(), scaled(builder, variance, 1.0, eps))
    # No entry is further from the mean than sqrt(n - 1) deviations.
    limit = math.sqrt(max(1, entries - 1)) * (1 + 1e-6)
    return builder.add(Product(limit=limit), centred, builder.spread(inverse, shape))


def _affine(builder: Builder, x: Place, weight: Any, bias: Any, shape: Shape) -> Place:
    factor, shift = (None if value is None else constant_of(value, shape) for value in (weight, bias))
    return scaled(builder, x, 1.0 if factor is None else factor, 0.0 if shift is None else shift)


def _layer_norm(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, over, weight, bias, eps = arguments
    if isinstance(weight, Place) or isinstance(bias, Place) or len(over) > len(shape):
        raise unsupported("a layer norm over the samples of a batch, or with weights that hang on the input")
    dims = range(len(shape) - len(over), len(shape))
    return _affine(builder, normed(builder, x, dims, float(eps)), weight, bias, shape)


def _group_norm(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, weight, bias, _, channels, _, groups, eps = arguments
    if not isinstance(x, Place) or isinstance(weight, Place) or isinstance(bias, Place):
        raise unsupported("a group norm with weights that hang on the input")
    flat = builder.shaped(x, (int(groups), math.prod(shape) // int(groups)))
    found = builder.shaped(normed(builder, flat, [1], float(eps)), shape)
    side = (int(channels), *[1] * (len(shape) - 1))
    factor, shift = (None if value is None else value.reshape(side) for value in (weight, bias))
    return _affine(builder, found, factor, shift, shape)


def _variance(root: bool) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        x, given = defaults(arguments, [None, None])
        dims = own_dims(given or None, builder.shape(x))
        keep, correction = bool(options.get("keepdim", False)), options.get("correction")
        entries = math.prod(builder.shape(x)[dim] for dim in dims)
        less = 1 if correction is None else correction
        if entries <= less:
            raise unsupported(f"a variance of {entries} entries with correction {less}")
        centred = difference(builder, x, summed(builder, x, dims, keep=True, mean=True))
        squares = summed(builder, builder.add(Square(), centred), dims, keep=keep)
        found = scaled(builder, squares, 1 / (entries - less))
        return builder.add(Sqrt(), found) if root else found

    return rule


def _vector_norm(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, order, given, keep = defaults(arguments, [None, 2, None, False])
    if order != 2:
        raise unsupported(f"a norm of order {order}")
    dims = own_dims(given or None, builder.shape(x))
    return builder.add(Sqrt(), summed(builder, product(builder, x, x, builder.shape(x)), dims, keep=bool(keep)))


PRODUCTS: dict[str, Rule] = {
    "bmm": _bmm,
    "baddbmm": _baddbmm,
    "_softmax": _softmax(False),
    "_safe_softmax": _softmax(False, safe=True),
    "_log_softmax": _softmax(True),
    "logsumexp": _logsumexp,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "var": _variance(False),
    "std": _variance(True),
    "linalg_vector_norm": _vector_norm,
}
"""By name."""
