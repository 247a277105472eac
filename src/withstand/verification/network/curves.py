"""More smooth activations. Formulas keep their digits in both tails; shapes: batches `(B, *shape)`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from withstand.verification.network.activation import Curve

_EVERYWHERE = (-math.inf, math.inf)


@dataclass(frozen=True, eq=False)
class Erf(Curve):
    """The error function."""

    @property
    def convex(self) -> tuple[float, float]:
        return -math.inf, 0.0

    @property
    def steepest(self) -> float:
        return 1.13

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].erf()

    def rate(self, x: Tensor) -> Tensor:
        return 2 / math.sqrt(math.pi) * (-x.square()).exp()


@dataclass(frozen=True, eq=False)
class Softplus(Curve):
    """log(1 + exp(x)). Torch gives x itself above 20, which is 2.1e-9 less: bounds hold for both."""

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x.clamp_min(0) + (-x.abs()).exp().log1p()

    def rate(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        return super().doubt(x, y) + torch.zeros_like(y).masked_fill(x > 19.9, 2.1e-9)


@dataclass(frozen=True, eq=False)
class ELU(Curve):
    """x above 0, exp(x) - 1 below."""

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x.clamp_min(0) + x.clamp_max(0).expm1()

    def rate(self, x: Tensor) -> Tensor:
        return x.clamp_max(0).exp()


@dataclass(frozen=True, eq=False)
class SiLU(Curve):
    """x times its sigmoid (swish)."""

    @property
    def convex(self) -> tuple[float, float]:
        return -2.399357280515468, 2.399357280515468

    @property
    def lowest(self) -> float:
        return -1.278464542761074

    @property
    def steepest(self) -> float:
        return 1.1

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * inputs[0].sigmoid()

    def rate(self, x: Tensor) -> Tensor:
        return x.sigmoid() * (1 + x * (-x).sigmoid())


@dataclass(frozen=True, eq=False)
class GELU(Curve):
    """x times the normal distribution's share below x."""

    @property
    def convex(self) -> tuple[float, float]:
        return -math.sqrt(2), math.sqrt(2)

    @property
    def lowest(self) -> float:
        return -0.7517915246935645

    @property
    def steepest(self) -> float:
        return 1.13

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x * _share(x)

    def rate(self, x: Tensor) -> Tensor:
        return _share(x) + x * (-0.5 * x.square()).exp() / math.sqrt(2 * math.pi)

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        # The tail's relative error is that of its exponent.
        return super().doubt(x, y) * (1 + x.clamp_max(0).square())


@dataclass(frozen=True, eq=False)
class GELUTanh(Curve):
    """x / 2 times 1 + tanh(scale (x + cubic x^3)), which stands for GELU.

    The sign of its second derivative is that of `1 + u / (1 + u) - x w' tanh(w)` with u = 3 cubic x^2: it changes once
    on each side of 0, for any positive scale and cubic of at least 0. No slope is above 1 + 3 v s(v) s(-v), v = 2 w.
    """

    scale: float = math.sqrt(2 / math.pi)
    cubic: float = 0.044715

    @property
    def convex(self) -> tuple[float, float]:
        return -self._inflection, self._inflection

    @property
    def lowest(self) -> float:
        return self._lowest

    @property
    def steepest(self) -> float:
        return 1.7

    @cached_property
    def _inflection(self) -> float:
        def bends(x: float) -> float:
            cube = 3 * self.cubic * x * x
            return 1 + cube / (1 + cube) - x * self.scale * (1 + cube) * math.tanh(self._inner(x))

        return _root(bends, 0.0, 4.0 / self.scale)

    @cached_property
    def _lowest(self) -> float:
        def rises(x: float) -> float:
            return -float(self.rate(torch.tensor(x, dtype=torch.float64)))

        return _root(rises, -self._inflection, 0.0)

    def _inner(self, x: float) -> float:
        return self.scale * (x + self.cubic * x**3)

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x * (2 * self.scale * (x + self.cubic * x**3)).sigmoid()

    def rate(self, x: Tensor) -> Tensor:
        inner = 2 * self.scale * (x + self.cubic * x**3)
        steep = 2 * self.scale * (1 + 3 * self.cubic * x.square())
        return inner.sigmoid() * (1 + x * steep * (-inner).sigmoid())

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        return super().doubt(x, y) * (1 - 2 * self.scale * (x + self.cubic * x**3).clamp_max(0))


@dataclass(frozen=True, eq=False)
class Square(Curve):
    """x^2."""

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    @property
    def lowest(self) -> float:
        return 0.0

    @property
    def steepest(self) -> None:
        return None

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].square()

    def rate(self, x: Tensor) -> Tensor:
        return 2 * x


@dataclass(frozen=True, eq=False)
class Exp(Curve):
    """e to the x."""

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    @property
    def steepest(self) -> None:
        return None

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].exp()

    def rate(self, x: Tensor) -> Tensor:
        return x.exp()


@dataclass(frozen=True, eq=False)
class Reciprocal(Curve):
    """1 / x, of positive numbers alone."""

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    @property
    def lowest(self) -> float:
        return math.inf

    @property
    def steepest(self) -> None:
        return None

    @property
    def start(self) -> float:
        return 0.0

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].reciprocal()

    def rate(self, x: Tensor) -> Tensor:
        return -x.square().reciprocal()


@dataclass(frozen=True, eq=False)
class Rsqrt(Curve):
    """1 / sqrt(x), of positive numbers alone."""

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    @property
    def lowest(self) -> float:
        return math.inf

    @property
    def steepest(self) -> None:
        return None

    @property
    def start(self) -> float:
        return 0.0

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].rsqrt()

    def rate(self, x: Tensor) -> Tensor:
        return -0.5 * x.rsqrt() / x


def _share(x: Tensor) -> Tensor:
    """Return the normal distribution's share below x."""
    outside: Tensor = torch.special.erfc(-x / math.sqrt(2))
    return 0.5 * outside


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that is positive at `low` and negative at `high` changes its sign."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
