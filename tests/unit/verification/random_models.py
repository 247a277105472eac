"""Small random torch models of every operation that has bounds, odd on purpose, and inputs for them.

Inputs are repeated, broadcast and written in place; units are dead or equal; scales go from 1e-4 to 1e4.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[Tensor], Tensor]


@dataclass
class Made:
    """A model and what it is asked.

    Attributes:
        model: in eval mode.
        x: one input, `(1, *shape)`, in [0, 1].
        steps: what the model is made of, in words.
    """

    model: nn.Module
    x: Tensor
    steps: list[str]


class Steps(nn.Module):
    """One step after the other."""

    def __init__(self, steps: list[Step], parts: list[nn.Module]) -> None:
        super().__init__()
        self.steps, self.parts = steps, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class Maker:
    """Draws steps, knowing the shape that each is given."""

    def __init__(self, seed: int) -> None:
        self.draws = torch.Generator().manual_seed(seed)
        self.names: list[str] = []
        self.steps: list[Step] = []
        self.parts: list[nn.Module] = []
        self.shape: tuple[int, ...] = ()

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.draws))

    def chance(self, share: float) -> bool:
        return bool(torch.rand((), generator=self.draws) < share)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draws)

    def pick(self, names: list[str]) -> str:
        return names[self.whole(0, len(names) - 1)]

    def add(self, name: str, step: Step, *parts: nn.Module) -> None:
        self.names.append(name)
        self.steps.append(step)
        self.parts += parts
        self.shape = tuple(step(torch.zeros(2, *self.shape)).shape[1:])

    # What is done to the input, and between layers: copies, constants, places.

    def copies(self) -> None:
        channels, rank = self.shape[0], len(self.shape)
        side = (channels, *[1] * (rank - 1))
        name = self.pick(["repeat", "cat", "gather", "expand", "overlap", "writes", "means", "minus mean", "roll"])
        if name == "repeat":
            times = (1, 2 + channels % 2, *[1] * (rank - 1))
            self.add(name, lambda x: x.repeat(times))
        elif name == "cat":
            self.add(name, lambda x: torch.cat([x, 1 - x, x], 1))
        elif name == "gather":
            places = torch.randint(channels, (channels + 2,), generator=self.draws)
            self.add(name, lambda x: x.index_select(1, places))
        elif name == "expand":
            self.add(name, lambda x: x.unsqueeze(1).expand(-1, 2, *x.shape[1:]).flatten(1, 2))
        elif name == "overlap":
            first = max(1, channels - 1)
            self.add(name, lambda x: torch.cat([x[:, :first], x[:, -first:]], 1))
        elif name == "writes":
            value = 0.5 * self.normal(1)

            def written(x: Tensor) -> Tensor:
                y = x.clone()
                y[:, 0].add_(value.to(y)).mul_(-1)
                flat = y.view(len(y), -1)
                flat[:, -1:] = flat[:, :1] + x.flatten(1)[:, -1:]
                return y

            self.add(name, written)
        elif name == "means":
            # One channel less the means of three, as a normalisation of grey pictures; else a constant a channel.
            wide = 3 if channels == 1 else channels
            # At times so strong that digits cancel: a thousandth of the range becomes all of it.
            scale = 10.0 ** -self.whole(1, 4) if self.chance(0.4) else 1.0
            mean = 0.5 + scale * self.normal(wide, *side[1:])
            std = scale * (0.3 + self.normal(wide, *side[1:]).abs())
            self.add(name, lambda x: (x - mean.to(x)) / std.to(x))
        elif name == "minus mean":
            self.add(name, lambda x: x - x.mean(1, keepdim=True))
        else:
            self.add(name, lambda x: torch.roll(x, 1, 1).flip(-1))

    def linear(self, wide: int) -> None:
        layer = nn.Linear(self.shape[-1], wide)
        self.fill(layer.weight, (1.5 / self.shape[-1]) ** 0.5)
        self.fill(layer.bias, 0.3)
        self.odd(layer.weight, layer.bias)
        self.add("linear", layer, layer)

    def convolution(self) -> None:
        channels, height, width = self.shape
        groups = 2 if channels % 2 == 0 and self.chance(0.3) else 1
        kernel = (self.whole(1, min(3, height)), self.whole(1, min(3, width)))
        layer = nn.Conv2d(
            channels, 2 * self.whole(1, 2), kernel, self.whole(1, 2), self.whole(0, 2), self.whole(1, 1), groups,
            bias=self.chance(0.8),
        )  # fmt: skip
        self.fill(layer.weight, (1.5 / layer.weight[0].numel()) ** 0.5)
        if layer.bias is not None:
            self.fill(layer.bias, 0.3)
            self.odd(layer.weight, layer.bias)
        self.add("convolution", layer, layer)

    def fill(self, parameter: Tensor, scale: float) -> None:
        with torch.no_grad():
            parameter.copy_(scale * self.normal(*parameter.shape))

    def odd(self, weight: Tensor, bias: Tensor) -> None:
        """Make some units dead, some equal, and some layers huge or tiny."""
        with torch.no_grad():
            if self.chance(0.2):
                bias[0] = -50.0
            if self.chance(0.1):
                weight[-1].zero_()
            if len(bias) > 1 and self.chance(0.15):
                weight[1], bias[1] = weight[0], bias[0]
            if self.chance(0.3):
                scale = 10.0 ** self.whole(-4, 4)
                weight.mul_(scale)
                bias.mul_(scale)

    def norm(self) -> None:
        layer = nn.BatchNorm2d(self.shape[0]) if len(self.shape) == 3 else nn.BatchNorm1d(self.shape[0])
        with torch.no_grad():
            for value, scale in ((layer.weight, 1.0), (layer.bias, 0.3), (layer.running_mean, 0.3)):
                value.copy_(scale * self.normal(self.shape[0]))
            layer.running_var.copy_(0.2 + self.normal(self.shape[0]).abs())
        self.add("batch norm", layer.eval(), layer)

    def bend(self) -> None:
        slope = float(torch.rand((), generator=self.draws)) ** 3
        low, high = sorted(self.normal(2).tolist())
        steps: dict[str, Step] = {
            "relu": F.relu,
            "leaky": lambda x: F.leaky_relu(x, slope),
            "sigmoid": torch.sigmoid,
            "tanh": torch.tanh,
            "relu in place": lambda x: (x + 0).relu_(),
            "clamp": lambda x: x.clamp(min=0),
            "relu6": F.relu6,
            "hardtanh": lambda x: F.hardtanh(x, low, high),
            "abs": torch.abs,
            "prelu": lambda x: F.prelu(x, torch.tensor([2 * slope - 0.5]).to(x)),
            "maximum": lambda x: torch.maximum(x, x.flip(1) - 0.3),
            "minimum": lambda x: torch.minimum(2 * x, torch.tensor(high).to(x)),
            "softplus": F.softplus,
            "elu": lambda x: F.elu(x, 2 * slope),
            "selu": F.selu,
            "gelu": F.gelu,
            "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
            "silu": F.silu,
            "mish": F.mish,
            "hard swish": F.hardswish,
            "hard sigmoid": F.hardsigmoid,
            "softsign": F.softsign,
            "gated": lambda x: x.flip(1) * torch.sigmoid(x),
        }
        old = ["relu"] * 5 + ["leaky"] * 2 + ["sigmoid", "tanh", "relu in place", "clamp"]
        name = self.pick(old if self.chance(0.5) else [*steps])
        self.add(name, steps[name])

    def mixed(self) -> None:
        """Add what mixes a vector's entries and is not linear."""
        wide = self.shape[-1]
        name = self.pick(["softmax", "layer norm", "largest", "attention", "conv1d", "transposed"])
        layer: nn.Module = nn.Identity()
        if name == "layer norm":
            layer = nn.LayerNorm(wide, eps=10.0 ** -self.whole(1, 5))
        elif name == "attention":
            # As many heads as the batch has samples in the trace, with the batch first and in between.
            layer = nn.MultiheadAttention(3, 3, batch_first=self.chance(0.5))
        elif name == "conv1d":
            layer = nn.Conv1d(1, 2, 2, padding=1)
        elif name == "transposed":
            layer = nn.ConvTranspose1d(1, 1, 2, 2)
        for parameter in layer.parameters():
            self.fill(parameter, 0.7)

        def attention(x: Tensor) -> Tensor:
            assert isinstance(layer, nn.MultiheadAttention)
            rows = torch.stack([x, x.flip(1), 1 - x], 2)
            rows = rows if layer.batch_first else rows.transpose(0, 1)
            found = layer(rows, rows, rows, need_weights=False)[0]
            return (found if layer.batch_first else found.transpose(0, 1)).flatten(1)

        steps: dict[str, Step] = {
            "softmax": lambda x: 2 * x.softmax(1),
            "layer norm": layer,
            "largest": lambda x: torch.cat([x.amax(1, keepdim=True), x.amin(1, keepdim=True), x], 1),
            "attention": attention,
            "conv1d": lambda x: layer(x.unsqueeze(1)).flatten(1),
            "transposed": lambda x: layer(x.unsqueeze(1)).flatten(1),
        }
        self.add(name, steps[name], layer)

    def residual(self) -> None:
        inner = nn.Linear(self.shape[-1], self.shape[-1])
        self.fill(inner.weight, (1.0 / self.shape[-1]) ** 0.5)
        sign = -1 if self.chance(0.4) else 1
        self.add("residual", lambda x: x + sign * F.relu(inner(x)), inner)

    def pool(self) -> None:
        _, height, width = self.shape
        kernel = (min(2, height), min(2, width))
        pad = tuple(int(self.chance(0.3)) * (k // 2) for k in kernel)
        name = self.pick(["max pool", "average pool", "average without padding", "global"])
        steps: dict[str, Step] = {
            "max pool": nn.MaxPool2d(kernel, self.whole(1, 2), pad),
            "average pool": nn.AvgPool2d(kernel, self.whole(1, 2), pad),
            "average without padding": nn.AvgPool2d(kernel, 1, pad, count_include_pad=False),
            "global": nn.AdaptiveAvgPool2d(1),
        }
        self.add(name, steps[name])


def made(seed: int, dtype: torch.dtype = torch.float32) -> Made:
    """Return a random model and an input."""
    maker = Maker(seed)
    few = maker.chance(0.45)
    if maker.chance(0.5):
        maker.shape = (maker.whole(1, 3) if few else maker.whole(4, 7),)
    else:
        maker.shape = (1, 1, maker.whole(2, 3)) if few else (maker.whole(1, 3), maker.whole(2, 4), maker.whole(2, 4))
    x = torch.rand(1, *maker.shape, generator=maker.draws)
    if maker.chance(0.2):
        x = x.round()  # at the border of the valid range
    for _ in range(maker.whole(0, 2)):
        maker.copies()
    for depth in range(maker.whole(1, 3)):
        if len(maker.shape) == 3 and maker.chance(0.7):
            maker.convolution()
            if maker.chance(0.3):
                maker.norm()
            maker.bend()
            if maker.chance(0.5):
                maker.pool()
            continue
        if len(maker.shape) == 3:
            maker.add("flatten", lambda x: x.flatten(1))
        maker.linear(maker.whole(2, 6))
        if maker.chance(0.2):
            maker.norm()
        maker.bend()
        if maker.chance(0.25):
            maker.residual()
        if maker.chance(0.25):
            maker.mixed()
        if depth and maker.chance(0.15):
            maker.copies()
    if len(maker.shape) > 1:
        maker.add("flatten", lambda x: x.flatten(1))
    classes = maker.whole(2, 4)
    last = nn.Linear(maker.shape[-1], classes)
    maker.fill(last.weight, maker.shape[-1] ** -0.5)
    maker.fill(last.bias, 0.2)
    with torch.no_grad():
        if maker.chance(0.12):  # two classes that nothing tells apart
            last.weight[1], last.bias[1] = last.weight[0], last.bias[0]
        if maker.chance(0.2):
            scale = 10.0 ** maker.whole(-4, 4)
            last.weight.mul_(scale)
            last.bias.mul_(scale)
    maker.add("linear", last, last)
    if maker.chance(0.85):  # so that there is a boundary: on average no class is ahead
        tried = Steps(maker.steps, maker.parts).eval()(torch.rand(100, *x.shape[1:], generator=maker.draws))
        with torch.no_grad():
            last.bias.sub_(tried.mean(0))
    return Made(Steps(maker.steps, maker.parts).to(dtype).eval(), x.to(dtype), maker.names)
