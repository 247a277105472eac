"""More smooth activations, and some with kinks; formulas keep their digits in both tails. Shapes: `(B, *shape)`."""

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
    """log(1 + exp(x)). Torch gives x itself above a threshold, which is a little less: bounds hold for both."""

    threshold: float = 20.0

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        found = x.clamp_min(0) + (-x.abs()).exp().log1p()
        return found if self.threshold == math.inf else torch.where(x > self.threshold, x, found)

    def rate(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        # Wherever a line touches, values on either side of the threshold may be met.
        return super().doubt(x, y) + 1.001 * math.log1p(math.exp(-self.threshold))


@dataclass(frozen=True, eq=False)
class ELU(Curve):
    """x above 0, alpha (exp(x) - 1) below, alpha at least 0; beyond 1 it has a concave kink at 0."""

    alpha: float = 1.0

    @property
    def convex(self) -> tuple[float, float]:
        return _EVERYWHERE if self.alpha <= 1 else (-math.inf, 0.0)

    @property
    def kinked(self) -> bool:
        return self.alpha > 1

    @property
    def steepest(self) -> float:
        return max(1.0, self.alpha)

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x.clamp_min(0) + self.alpha * x.clamp_max(0).expm1()

    def rate(self, x: Tensor) -> Tensor:
        # At the kink, the slope from the left bounds either side.
        return torch.where(x > 0, torch.ones_like(x), self.alpha * x.clamp_max(0).exp())


@dataclass(frozen=True, eq=False)
class HardSwish(Curve):
    """x times the share of the way from -3 to 3 that x has gone: 0 below, x above, with concave kinks at both."""

    @property
    def convex(self) -> tuple[float, float]:
        return -3.0, 3.0

    @property
    def lowest(self) -> float:
        return -1.5

    @property
    def kinked(self) -> bool:
        return True

    @property
    def steepest(self) -> float:
        return 1.5

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * (inputs[0] + 3).clamp(0, 6) / 6

    def rate(self, x: Tensor) -> Tensor:
        # At the kinks, the slopes from between them bound either side.
        inside = (2 * x + 3) / 6
        return torch.where(x < -3, torch.zeros_like(x), torch.where(x > 3, torch.ones_like(x), inside))


@dataclass(frozen=True, eq=False)
class Mish(Curve):
    """x times tanh(log(1 + exp(x)))."""

    @property
    def convex(self) -> tuple[float, float]:
        return -2.256376396360793, 1.490571179485459

    @property
    def lowest(self) -> float:
        return -1.192431214515495

    @property
    def steepest(self) -> float:
        return 1.1

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        small, whole = self._parts(x)
        share = torch.where(x > 0, 1 + 2 * small, small * (small + 2)) / whole
        return x * share

    def rate(self, x: Tensor) -> Tensor:
        small, whole = self._parts(x)
        share = torch.where(x > 0, 1 + 2 * small, small * (small + 2)) / whole
        rise = 4 * torch.where(x > 0, small.square(), small) * (1 + small) / whole.square()
        return share + x * rise

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        small = (-x.abs()).exp()
        return small, torch.where(x > 0, 1 + 2 * small + 2 * small.square(), small * (small + 2) + 2)


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
