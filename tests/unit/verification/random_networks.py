"""Small random networks of every kind of operation, and points to try them on."""

from collections.abc import Callable

import torch
from torch import Tensor

from withstand.verification.network.activation import MaxPool2d, ReLU, Sigmoid, Tanh
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.curves import ELU, GELU, Erf, GELUTanh, SiLU, Softplus
from withstand.verification.network.network import Network
from withstand.verification.network.operation import Add, AvgPool2d, Concat, Conv2d, Linear, Mean, Rearrange, Scale
from withstand.verification.network.powers import Exp, Square
from withstand.verification.network.product import Product

KINDS = (
    "dense",
    "leaky",
    "curved",
    "mixed",
    "conv",
    "strided",
    "residual",
    "concat",
    "pooled",
    "deep",
    "ended",
    "chained",
    "smooth",
    "abs",
    "product",
)


class Maker:
    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.draws = torch.Generator().manual_seed(seed)
        self.builder = Builder(shape)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draws, dtype=torch.float64)

    def linear(self, place: Place, wide: int) -> Place:
        narrow = self.builder.shape(place)[-1]
        weight = self.normal(wide, narrow) * (1.5 / narrow) ** 0.5
        return self.builder.add(Linear(weight=weight, bias=0.3 * self.normal(wide)), place)

    def conv(self, place: Place, wide: int, size: int = 3, stride: int = 1, padding: int = 1, groups: int = 1) -> Place:
        narrow = self.builder.shape(place)[0] // groups
        weight = self.normal(wide, narrow, size, size) * (1.5 / (narrow * size * size)) ** 0.5
        bias = 0.3 * self.normal(wide, 1, 1)
        conv = Conv2d(weight=weight, bias=bias, stride=(stride, stride), padding=(padding, padding), groups=groups)
        return self.builder.add(conv, place)

    def scale(self, place: Place) -> Place:
        side = (self.builder.shape(place)[0], *[1] * (len(self.builder.shape(place)) - 1))
        return self.builder.add(Scale(weight=1 + 0.5 * self.normal(*side), bias=0.2 * self.normal(*side)), place)

    def flat(self, place: Place) -> Place:
        shape = self.builder.shape(place)
        return self.builder.add(Rearrange(shape=(int(torch.Size(shape).numel()),)), place)

    def relu(self, place: Place, slope: float = 0.0) -> Place:
        return self.builder.add(ReLU(slope), place)


def network(kind: str, seed: int, outputs: int = 4) -> Network:
    """Return a network of one kind."""
    images = kind in ("conv", "strided", "residual", "concat", "pooled")
    maker = Maker(seed, (2, 6, 5) if images else (5,))
    add = maker.builder.add
    x = Place(0)
    if kind in ("dense", "leaky", "curved", "mixed", "deep", "ended", "chained", "smooth", "abs"):
        bends: dict[str, list[Callable[[Place], Place]]] = {
            "dense": [maker.relu],
            "leaky": [lambda p: maker.relu(p, 0.1)],
            "curved": [lambda p: add(Sigmoid(), p), lambda p: add(Tanh(), p)],
            "mixed": [maker.relu, lambda p: add(Tanh(), p), lambda p: maker.relu(p, 0.3)],
            "deep": [maker.relu] * 5,
            "ended": [maker.relu, lambda p: maker.relu(p, 0.2)],
            "chained": [lambda p: maker.relu(add(Tanh(), p), 0.1), lambda p: maker.relu(maker.relu(p, 0.5))],
        }
        smooth = [SMOOTH[(2 * seed + part) % len(SMOOTH)] for part in range(2)]
        bends["smooth"] = [lambda p, kind=kind: add(kind, p) for kind in smooth]
        bends["abs"] = [lambda p: maker.relu(p, -1.0), lambda p: maker.relu(p, -0.4)]
        if seed % 2:
            x = maker.scale(x)
        for bend in bends[kind]:
            x = bend(maker.linear(x, 8))
    elif kind == "product":
        hidden = maker.relu(maker.linear(x, 8))
        x = add(Product(), add(Sigmoid(), maker.linear(hidden, 6)), maker.linear(hidden, 6))
        x = add(Product(), add(SMOOTH[seed % len(SMOOTH)], maker.linear(x, 6)), x)
    elif kind == "conv":
        x = maker.relu(maker.conv(maker.scale(x), 3))
        x = maker.flat(maker.relu(maker.conv(x, 3, groups=3)))
    elif kind == "strided":
        x = maker.relu(maker.conv(x, 4, size=3, stride=2, padding=1))
        x = maker.flat(maker.relu(maker.conv(x, 3, size=2, stride=2, padding=0)))
    elif kind == "residual":
        x = maker.relu(maker.conv(x, 3))
        side = add(Add(signs=(1, -1 if seed % 2 else 1)), maker.conv(maker.relu(maker.conv(x, 3)), 3), x)
        x = add(Mean(dims=(1, 2), count=30, entries=30), maker.relu(side))
    elif kind == "concat":
        left, right = maker.relu(maker.conv(x, 2)), add(Tanh(), maker.conv(x, 3, size=1, padding=0))
        x = add(AvgPool2d(kernel=(2, 2), stride=(2, 2), padding=(0, 1)), add(Concat(dim=0), left, right))
        x = maker.relu(maker.linear(maker.flat(x), 6))
    else:
        x = add(MaxPool2d((3, 2), (2, 2), (1, 0)), maker.relu(maker.conv(x, 3)))
        places = torch.randperm(18, generator=maker.draws).view(3, 6)
        places[0, 0] = -1
        size = int(torch.Size(maker.builder.shape(x)).numel())
        x = add(MaxPool2d((1, 2), (1, 2)), add(Rearrange(shape=(1, 3, 6), places=places.clamp_max(size - 1)[None]), x))
        x = maker.flat(x)
    x = maker.linear(x, outputs)
    if kind == "ended":  # what the functions are of is an activation itself
        x = maker.relu(x, 0.1 * (seed % 2))
    return maker.builder.network(x, ())


SMOOTH = (Softplus(), GELU(), ELU(), SiLU(), Square(), GELUTanh(), Exp(), Erf())


def points(low: Tensor, high: Tensor, count: int, seed: int) -> Tensor:
    """Return points of N boxes, `(count, N, *shape)`: half of them corners."""
    draws = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, *low.shape, generator=draws, dtype=torch.float64)
    unit[::2] = unit[::2].round()
    return unit
