"""Activations of a traced network: those of straight pieces as ReLUs and scalings, smooth ones as curves.

Whatever is made of straight pieces is written exactly, so that what is known of ReLUs (their lines, their splitting,
their exact encodings) serves it too. Names are those of torch's ATen operators.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.activation import Curve, ReLU, Sigmoid, Tanh
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.capture_rules import Rule, apart, constant_of, defaults, hide, unsupported
from withstand.verification.network.curves import ELU, GELU, Erf, GELUTanh, HardSwish, Mish, SiLU, Softplus
from withstand.verification.network.operation import Add, Scale
from withstand.verification.network.powers import Exp, Log, Reciprocal, Rsqrt, Sqrt, Square
from withstand.verification.network.product import Product

Options = dict[str, Any]


def scaled(builder: Builder, x: Place, weight: Tensor | float = 1.0, bias: Tensor | float = 0.0) -> Place:
    """Append `weight x + bias`."""
    weight, bias = (torch.as_tensor(value, dtype=torch.float64) for value in (weight, bias))
    if bool((weight == 1).all()) and bool((bias == 0).all()):
        return x
    return builder.add(Scale(weight=weight, bias=bias), x)


def difference(builder: Builder, first: Place, second: Place) -> Place:
    """Append `first - second`."""
    return builder.add(Add(signs=(1, -1)), first, second)


def leaky(builder: Builder, x: Place, slope: float) -> Place:
    """Append x above 0 and `slope x` below, for any slope."""
    if not math.isfinite(slope):
        raise unsupported(f"a leaky ReLU with slope {slope}")
    if abs(slope) <= 1:
        return builder.add(ReLU(slope), x) if slope != 1 else x
    # The larger of x and z = slope x, or the smaller, with the slope 1 / slope on z.
    found = builder.add(ReLU(1 / slope), scaled(builder, x, -abs(slope)))
    return scaled(builder, found, -1.0) if slope > 1 else found


def at_least(builder: Builder, x: Place, low: Tensor | float) -> Place:
    """Append the larger of x and a constant."""
    low = torch.as_tensor(low, dtype=torch.float64)
    return scaled(builder, builder.add(ReLU(), scaled(builder, x, 1.0, -low)), 1.0, low)


def at_most(builder: Builder, x: Place, high: Tensor | float) -> Place:
    """Append the smaller of x and a constant."""
    high = torch.as_tensor(high, dtype=torch.float64)
    return scaled(builder, builder.add(ReLU(), scaled(builder, x, -1.0, high)), -1.0, high)


def clipped(builder: Builder, x: Place, low: Tensor | None, high: Tensor | None) -> Place:
    """Append x brought into [low, high]; None for no limit."""
    if low is not None and high is not None and bool((low > high).any()):
        raise unsupported("a clamp with a lower limit above the upper one")
    x = x if low is None else at_least(builder, x, low)
    return x if high is None else at_most(builder, x, high)


def maximum(builder: Builder, first: Place, second: Place) -> Place:
    """Append the larger of two."""
    return builder.add(Add(), second, builder.add(ReLU(), difference(builder, first, second)))


def minimum(builder: Builder, first: Place, second: Place) -> Place:
    """Append the smaller of two."""
    return difference(builder, first, builder.add(ReLU(), difference(builder, first, second)))


def _clamp(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, low, high = defaults(arguments, [None, options.get("min"), options.get("max")])
    if not isinstance(x, Place):
        raise unsupported("a clamp of a constant to limits that hang on the input")
    x = builder.spread(x, shape)
    if isinstance(low, Place) or isinstance(high, Place):
        for limit, meet, alone in ((low, maximum, at_least), (high, minimum, at_most)):
            if limit is not None:
                x = (
                    meet(builder, x, limit)
                    if isinstance(limit, Place)
                    else alone(builder, x, constant_of(limit, shape))
                )
        return x
    limits = (
        None if not isinstance(limit, Tensor) and limit in (None, none) else limit
        for limit, none in ((low, -math.inf), (high, math.inf))
    )
    return clipped(builder, x, *(None if limit is None else constant_of(limit, shape) for limit in limits))


def _limit(upper: bool) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        return _clamp(builder, [arguments[0], None, arguments[1]] if upper else [*arguments[:2], None], {}, shape)

    return rule


def _hardtanh(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, low, high = defaults(arguments, [None, -1.0, 1.0])
    return _clamp(builder, [x, low, high], {}, shape)


def _larger(sign: int) -> Rule:
    """Return the rule of the larger (1) or the smaller (-1) of two."""

    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        first, second = arguments[:2]
        if isinstance(first, Place) and isinstance(second, Place):
            return (maximum if sign > 0 else minimum)(builder, first, second)
        x, limit = (first, second) if isinstance(first, Place) else (second, first)
        x = builder.spread(x, shape)
        return (at_least if sign > 0 else at_most)(builder, x, constant_of(limit, shape))

    return rule


def _abs(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    return builder.add(ReLU(-1.0), arguments[0])


def _relu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    return builder.add(ReLU(), arguments[0])


def _leaky_relu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, slope = defaults(arguments, [None, 0.01])
    return leaky(builder, x, float(slope))


def _prelu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, slope = arguments
    if not isinstance(x, Place) or isinstance(slope, Place):
        raise unsupported("a PReLU with slopes that hang on the input")
    slope = constant_of(slope, shape)
    if bool((slope == slope.flatten()[0]).all()):
        return leaky(builder, x, float(slope.flatten()[0]))
    bent = scaled(builder, builder.add(ReLU(), x), 1 - slope)
    return builder.add(Add(), scaled(builder, x, slope), bent)


def _hardsigmoid(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    limits = (torch.tensor(value, dtype=torch.float64) for value in (0.0, 6.0))
    return scaled(builder, clipped(builder, scaled(builder, arguments[0], 1.0, 3.0), *limits), 1 / 6)


def _softshrink(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, width = defaults(arguments, [None, 0.5])
    above, below = (builder.add(ReLU(), scaled(builder, x, sign, -float(width))) for sign in (1.0, -1.0))
    return difference(builder, above, below)


def _threshold(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, limit, value = arguments
    if limit != value:
        raise unsupported(f"a threshold at {limit:g} that jumps to {value:g}")
    return at_least(builder, x, float(limit))


def _curve(curve: Curve) -> Rule:
    def rule(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
        return builder.add(curve, arguments[0])

    return rule


def _gelu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    kind = options.get("approximate", arguments[1] if len(arguments) > 1 else "none")
    if kind not in ("none", "tanh"):
        raise unsupported(f"a gelu approximated by {kind}")
    return builder.add(GELUTanh() if kind == "tanh" else GELU(), arguments[0])


def _elu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    # scale (x above 0, alpha (exp(inner x) - 1) below), by z = inner x.
    x, alpha, scale, inner = defaults(arguments, [None, 1.0, 1.0, 1.0])
    if not (inner > 0 and alpha >= 0):
        raise unsupported(f"an ELU with alpha {alpha:g} and input scale {inner:g}")
    return scaled(builder, builder.add(ELU(alpha * inner), scaled(builder, x, inner)), scale / inner)


def _celu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, alpha = defaults(arguments, [None, 1.0])
    return _elu(builder, [x, alpha, 1.0, 1 / alpha], {}, shape)


def _softplus(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, beta, threshold = defaults(arguments, [None, 1.0, 20.0])
    if not (beta > 0 and threshold > -math.inf):
        raise unsupported(f"a softplus with beta {beta:g} that jumps at {threshold:g}")
    return scaled(builder, builder.add(Softplus(float(threshold)), scaled(builder, x, beta)), 1 / beta)


def _log_sigmoid(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    return scaled(builder, builder.add(Softplus(math.inf), scaled(builder, arguments[0], -1.0)), -1.0)


def product(builder: Builder, first: Place, second: Place, shape: Shape) -> Place:
    """Append a product of two values that hang on the input, each broadcast to one shape."""
    if first == second:
        return builder.add(Square(), first)
    return builder.add(Product(), builder.spread(first, shape), builder.spread(second, shape))


def _mul(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    first, second = arguments[:2]
    if isinstance(first, Place) and isinstance(second, Place):
        return product(builder, first, second, shape)
    x, factor = (first, second) if isinstance(first, Place) else (second, first)
    return builder.add(Scale(weight=constant_of(factor, shape)), x)


def _div(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    first, second = arguments[:2]
    if options.get("rounding_mode") is not None:
        raise unsupported("a division that rounds")
    if not isinstance(second, Place):
        return builder.add(Scale(weight=1 / constant_of(second, shape)), first)
    inverse = builder.add(Reciprocal(), second)
    return _mul(builder, [first, inverse], {}, shape)


def _pow(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, power = arguments[:2]
    if not isinstance(x, Place) or isinstance(power, Place | Tensor):
        raise unsupported("a power that is no fixed number")
    curves: dict[float, Curve] = {0.5: Sqrt(), -0.5: Rsqrt(), -1.0: Reciprocal(), 2.0: Square()}
    if power == 1:
        return x
    if power in curves:
        return builder.add(curves[power], x)
    if power in (3, 4):
        square = builder.add(Square(), x)
        return builder.add(Square(), square) if power == 4 else product(builder, square, x, shape)
    raise unsupported(f"a power of {power:g}")


def _where(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    condition, first, second = arguments
    if isinstance(condition, Place):
        raise unsupported("a choice that hangs on the input")
    chosen = constant_of(condition, shape)
    parts, hidden = [], torch.zeros(shape, dtype=torch.bool)
    for value, kept in ((first, chosen), (second, 1 - chosen)):
        if isinstance(value, Place):
            parts.append(scaled(builder, builder.spread(value, shape), kept))
        else:
            finite, where = apart(value)
            if where is not None:
                hidden = hidden | ((constant_of(where, shape) > 0) & (kept > 0))
            constant = torch.where(kept > 0, constant_of(finite, shape), torch.zeros((), dtype=torch.float64))
            parts.append(builder.constant(constant, shape))
    found = builder.add(Add(), *parts)
    return hide(builder, found, hidden, shape) if bool(hidden.any()) else found


def _masked_fill(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, mask, value = arguments
    return _where(builder, [mask, value, x], {}, shape)


def _glu(builder: Builder, arguments: Sequence[Any], options: Options, shape: Shape) -> Place:
    x, dim = defaults(arguments, [None, -1])
    before = builder.shape(x)
    dim = dim % (len(before) + 1) - 1
    if dim < 0:
        raise unsupported("a glu over the samples of a batch")
    half = before[dim] // 2
    places = torch.arange(math.prod(before)).view(before)
    value, gate = (builder.moved(x, places.narrow(dim, start, half)) for start in (0, half))
    return product(builder, value, builder.add(Sigmoid(), gate), shape)


BENDS: dict[str, Rule] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "_prelu_kernel": _prelu,
    "abs": _abs,
    "clamp": _clamp,
    "clamp_min": _limit(upper=False),
    "clamp_max": _limit(upper=True),
    "hardtanh": _hardtanh,
    "hardsigmoid": _hardsigmoid,
    "softshrink": _softshrink,
    "threshold": _threshold,
    "maximum": _larger(1),
    "minimum": _larger(-1),
    "where": _where,
    "masked_fill": _masked_fill,
    "sigmoid": _curve(Sigmoid()),
    "tanh": _curve(Tanh()),
    "erf": _curve(Erf()),
    "exp": _curve(Exp()),
    "log": _curve(Log()),
    "sqrt": _curve(Sqrt()),
    "rsqrt": _curve(Rsqrt()),
    "reciprocal": _curve(Reciprocal()),
    "square": _curve(Square()),
    "silu": _curve(SiLU()),
    "mish": _curve(Mish()),
    "hardswish": _curve(HardSwish()),
    "gelu": _gelu,
    "elu": _elu,
    "celu": _celu,
    "softplus": _softplus,
    "log_sigmoid_forward": _log_sigmoid,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "glu": _glu,
}
"""By name."""
