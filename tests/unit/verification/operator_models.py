"""Operators that have bounds, by themselves and between layers, for tests to hold their bounds against samples."""

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
_LATER = torch.ones(3, 3).triu(1) > 0
_HOLES = torch.tensor([[True, False, False, True], [False] * 4, [False, True, True, True]])

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


class Attention(nn.Module):
    """Attention of the sequence's entries to each other, the batch first or second."""

    def __init__(self, *, first: bool, weights: bool, heads: int = 2, causal: bool = False) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, heads, batch_first=first)
        self.first, self.weights, self.mask = first, weights, _LATER if causal else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.first else x.transpose(0, 1)
        found: Tensor = self.inner(x, x, x, need_weights=self.weights, attn_mask=self.mask)[0]
        return found if self.first else found.transpose(0, 1)


class Sequence(nn.Module):
    """Work on a sequence with the batch in the second dimension, and what joins it in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        start = torch.tensor([0.5, -0.2, 0.1, 0.3]).to(x).expand(1, len(x), 4)
        x = torch.cat([start, x.permute(1, 0, 2)]) + torch.arange(4).to(x)[:, None, None]
        x = self.norm(self.first(x)).tanh() * torch.tensor([1.0, -1.0, 0.5, 2.0]).to(x)
        x = torch.cat([x[:2].mean(0, keepdim=True), x.amax(0, keepdim=True)]).softmax(2)
        found: Tensor = self.last(x.transpose(0, 1)).flatten(1)
        return found


def _twice(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x.flip(1), x * 2)


def _split(x: Tensor) -> Tensor:
    first, second, third = x.split([1, 2, 3], 2)
    one, two = second.chunk(2, 1)
    return torch.cat([first.relu(), third], 2)[:, :2, :2] - one * two


SHAPED: dict[str, tuple[tuple[int, ...], Callable[[], Function]]] = {
    "conv1d": ((2, 5), lambda: nn.Conv1d(2, 3, 3, padding=1)),
    "conv1d, strided, dilated, grouped": ((4, 7), lambda: nn.Conv1d(4, 2, 2, 2, 1, 2, 2)),
    "conv1d, reflecting": ((2, 5), lambda: nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect")),
    "conv1d, in circles": ((2, 5), lambda: nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular")),
    "transposed 1d": ((2, 4), lambda: nn.ConvTranspose1d(2, 3, 3, 2, 1, 1)),
    "transposed 1d, grouped, dilated": ((4, 3), lambda: nn.ConvTranspose1d(4, 4, 2, 3, 0, 0, 2, dilation=2)),
    "transposed 2d": ((2, 3, 2), lambda: nn.ConvTranspose2d(2, 2, (3, 2), (2, 1), (1, 0), (1, 0))),
    "transposed 2d, cropped": ((2, 3, 3), lambda: nn.ConvTranspose2d(2, 2, 2, 2, 2, bias=False)),
    "average 1d": ((2, 6), lambda: nn.AvgPool1d(3, 2, 1)),
    "average 1d, ceiling": ((2, 6), lambda: nn.AvgPool1d(4, 3, 1, ceil_mode=True, count_include_pad=False)),
    "average 2d, divided otherwise": ((1, 4, 3), lambda: nn.AvgPool2d(2, 1, divisor_override=3)),
    "adaptive average, uneven": ((1, 5, 4), lambda: nn.AdaptiveAvgPool2d((3, 3))),
    "adaptive average 1d": ((2, 6), lambda: nn.AdaptiveAvgPool1d(4)),
    "max 1d": ((2, 6), lambda: nn.MaxPool1d(3, 2, 1)),
    "adaptive max": ((2, 4, 4), lambda: nn.AdaptiveMaxPool2d(2)),
    "largest": ((3, 4), lambda: lambda x: x.amax(1)),
    "largest of all": ((3, 4), lambda: lambda x: x.amax((1, 2), keepdim=True)),
    "largest, its value": ((3, 4), lambda: lambda x: x.max(2)[0]),
    "smallest": ((3, 4), lambda: lambda x: x.min(1, keepdim=True).values * 2),
    "bilinear": ((1, 3, 2), lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "nearest": ((2, 2, 3), lambda: nn.Upsample(scale_factor=2)),
    "padded with a number": ((2, 3), lambda: lambda x: F.pad(x, (1, 2), value=0.7).relu()),
    "padded on two sides": ((2, 3, 2), lambda: lambda x: F.pad(x, (0, 1, 2, 0), value=1.0)),
    "padded after a turn": ((2, 3), lambda: lambda x: F.pad(x.flip(2), (1, 2)) + 1),
    "turned after padding": ((2, 3), lambda: lambda x: F.pad(x, (1, 2)).flip(2)[:, :, 1:] * 3),
    "parts": ((4, 6), lambda: _split),
    "indexed": ((4, 3), lambda: lambda x: x[:, [0, 3, 3]][:, :, torch.tensor([2, 0])]),
    "stacked": ((4,), lambda: lambda x: torch.stack([x, 2 * x, torch.ones_like(x)], 2)),
    "triangles": ((3, 3), lambda: lambda x: x.tril() - x.triu(1)),
    "lerp": ((3, 3), lambda: lambda x: torch.lerp(x, x.flip(1), 0.3)),
    "layer norm": ((3, 4), lambda: _shifted(nn.LayerNorm(4))),
    "layer norm of all": ((3, 4), lambda: _shifted(nn.LayerNorm((3, 4)))),
    "group norm": ((4, 3), lambda: _shifted(nn.GroupNorm(2, 4))),
    "softmax": ((3, 4), lambda: lambda x: x.softmax(2) * 2),
    "softmax of two": ((3, 2), lambda: lambda x: x.softmax(2) + x),
    "softmax over rows": ((3, 4), lambda: lambda x: 3 * x.softmax(1)),
    "log softmax": ((3, 4), lambda: lambda x: x.log_softmax(2) * 2),
    "log softmax of two": ((3, 2), lambda: lambda x: x.log_softmax(2) * 2),
    "log of sums": ((3, 4), lambda: lambda x: x.logsumexp(2)),
    "variance": ((3, 4), lambda: lambda x: x.var(2)),
    "deviation": ((3, 4), lambda: lambda x: (x + torch.arange(4)).std(2, keepdim=True, unbiased=False)),
    "unit length": ((3, 4), lambda: lambda x: F.normalize(torch.cat([x, torch.ones_like(x)], 2), dim=2)),
    "rms norm": ((3, 4), lambda: nn.RMSNorm(4, eps=0.1)),
    "matrix": ((3, 4), lambda: nn.Linear(4, 2)),
    "product of matrices": ((3, 4), lambda: lambda x: x @ x.transpose(1, 2)),
    "product with one matrix": ((3, 4), lambda: lambda x: torch.arange(6.0).view(2, 3).to(x) @ x),
    "products by groups": ((3, 4), lambda: lambda x: torch.einsum("btd,tde->bte", x, torch.ones(3, 4, 2).to(x).tril())),
    "attention": ((3, 4), lambda: Attention(first=True, weights=False)),
    "attention with weights": ((3, 4), lambda: Attention(first=True, weights=True)),
    "attention, batch second": ((3, 4), lambda: Attention(first=False, weights=False)),
    "attention, batch second, with weights": ((3, 4), lambda: Attention(first=False, weights=True, heads=1)),
    "attention of two": ((2, 4), lambda: _twice),
    "softmax with holes": ((3, 4), lambda: lambda x: x.masked_fill(_HOLES, -torch.inf).softmax(2) * 2),
    "softmax over rows with holes": ((3, 4), lambda: lambda x: 3 * torch.where(_HOLES, -torch.inf, x).softmax(1)),
    "softmax of a sum with holes": (
        (3, 4),
        lambda: lambda x: (torch.where(_HOLES, -torch.inf, 0.3).to(x) + x).softmax(2) + x,
    ),
    "attention, causal": ((3, 4), lambda: Attention(first=True, weights=False, causal=True)),
    "attention, causal, with weights": ((3, 4), lambda: Attention(first=True, weights=True, causal=True)),
    "attention, causal, batch second": ((3, 4), lambda: Attention(first=False, weights=True, causal=True)),
    "attention, causal by name": (
        (3, 4),
        lambda: lambda x: F.scaled_dot_product_attention(x, x.flip(1), x * 2, is_causal=True),
    ),
    "attention, of which one sees nothing": (
        (3, 4),
        lambda: lambda x: F.scaled_dot_product_attention(x, x.flip(1), x * 2, attn_mask=_LATER),
    ),
    "a sequence first": ((3, 4), Sequence),
    "a transformer's block": ((3, 4), lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu")),
}


def _shifted(layer: nn.Module) -> nn.Module:
    """Give a norm weights that are not 1 and 0."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return layer


def shaped(name: str, seed: int) -> tuple[Function, tuple[int, ...]]:
    """Return an operator of values of a shape of its own, in float64 and in eval mode, with random weights."""
    shape, build = SHAPED[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = build()
    return (found.double().eval() if isinstance(found, nn.Module) else found), shape
