"""Operators that have bounds, each by itself and between two layers, for tests to hold their bounds against samples."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
WIDE = 6
"""Features that the operators are given, `(N, WIDE)`."""

KINKS = (
    0.0,
    -0.0,
    -3.0,
    3.0,
    6.0,
    1.0,
    -1.0,
    2**0.5,
    -(2**0.5),
    0.1,
    -0.5,
    -0.75179,
    -1.2784645,
    -2.25637,
    2.39936,
    20.0,
)
"""Where operators bend or turn."""
_EVEN = torch.tensor([0.5, -1.0, 0.0, 2.0, -0.1, 1.5], dtype=torch.float64)
_MASK = torch.tensor([True, False, True, True, False, True])

PIECES: dict[str, Function] = {
    "relu": F.relu,
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.5, 1.25),
    "clamp": lambda x: x.clamp(-0.3, 0.7),
    "clamp from below": lambda x: torch.clamp(x, min=0.1),
    "clamp from above": lambda x: x.clamp_max(0.1),
    "clamp to nothing": lambda x: x.clamp(-float("inf"), float("inf")),
    "clamp by entries": lambda x: torch.clamp(x, (_EVEN - 1).to(x), _EVEN.to(x)),
    "clamp by others": lambda x: torch.clamp(x, x.flip(1) - 1, x.flip(1) * 0.5),
    "clamp to a number": lambda x: x.clamp(0.2, 0.2),
    "abs": torch.abs,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "leaky, rising": lambda x: F.leaky_relu(x, 2.5),
    "leaky, turning": lambda x: F.leaky_relu(x, -0.4),
    "leaky, turning sharply": lambda x: F.leaky_relu(x, -3.0),
    "leaky, straight": lambda x: F.leaky_relu(x, 1.0),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.2]).to(x)),
    "prelu by channels": lambda x: F.prelu(x, _EVEN.to(x)),
    "hardsigmoid": nn.Hardsigmoid(),
    "softshrink": nn.Softshrink(0.4),
    "threshold": nn.Threshold(0.2, 0.2),
    "maximum": lambda x: torch.maximum(x, 1 - x.flip(1)),
    "maximum, tied": lambda x: torch.maximum(x, x),
    "minimum": lambda x: torch.min(x, 2 * x.roll(1, 1)),
    "maximum of a number": lambda x: torch.maximum(x, torch.tensor(0.3).to(x)),
    "minimum of numbers": lambda x: torch.minimum(_EVEN.to(x), x),
    "maximum over columns": lambda x: torch.maximum(x[:, :1], x),
    "where": lambda x: torch.where(_MASK, x, 2 * x.flip(1)),
    "where, a number": lambda x: torch.where(_MASK, x, -1.5),
    "masked": lambda x: x.masked_fill(_MASK, 0.25),
    "softsign": F.softsign,
    "clip in place": lambda x: (x + 0).clamp_(-1, 1),
}
SMOOTH: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": F.gelu,
    "gelu by tanh": nn.GELU(approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "elu": F.elu,
    "elu, steep": lambda x: F.elu(x, 2.5),
    "elu, flat": lambda x: F.elu(x, 0.3),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.6),
    "softplus": F.softplus,
    "softplus, sharp": nn.Softplus(4.0, 20.0),
    "softplus, straight early": nn.Softplus(1.0, 16.0),
    "log sigmoid": F.logsigmoid,
    "tanh shrink": F.tanhshrink,
    "exp": lambda x: (x / 4).exp(),
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "fourth power": lambda x: x.pow(4) / 100,
    "sqrt": lambda x: (x.square() + 0.5).sqrt(),
    "power of a half": lambda x: (x.abs() + 0.1) ** 0.5,
    "rsqrt": lambda x: torch.rsqrt(x.square() + 0.3),
    "reciprocal": lambda x: 1 / (x.abs() + 0.2),
    "log": lambda x: (1 + x.square()).log(),
    "product": lambda x: x * x.flip(1),
    "product with itself": lambda x: x * x,
    "product over columns": lambda x: x[:, :1] * x,
    "quotient": lambda x: x / (1 + x.flip(1).exp()),
    "quotient of a number": lambda x: 2 / (1 + x.abs()),
    "glu": lambda x: F.glu(torch.cat([x, x.flip(1) - 1], 1), 1),
    "swish by hand": lambda x: x * torch.sigmoid(1.7 * x),
    "gelu by hand": lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))),
}
OPERATORS = PIECES | SMOOTH


class Between(nn.Module):
    """A layer, an operator, and another layer."""

    def __init__(self, operator: Function, seed: int, scale: float = 1.0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        first, last = nn.Linear(5, WIDE), nn.Linear(WIDE, 3)
        with torch.no_grad():
            for layer, size in ((first, scale), (last, 1.0)):
                layer.weight.copy_(size * torch.randn(layer.weight.shape, generator=draws))
                layer.bias.copy_(0.5 * size * torch.randn(layer.bias.shape, generator=draws))
        self.first, self.operator, self.last = first, operator, last

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.operator(self.first(x)))
        return found
