"""Powers, exponentials and logarithms: what attention and norms over features are made of. Shapes: `(B, *shape)`."""

import math
from dataclasses import dataclass

from torch import Tensor

from withstand.verification.network.activation import Curve

_EVERYWHERE = (-math.inf, math.inf)


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


class _FallingOfPositive(Curve):
    """A convex function of positive numbers that only falls."""

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


@dataclass(frozen=True, eq=False)
class Reciprocal(_FallingOfPositive):
    """1 / x, of positive numbers alone.

    Args:
        off: how far what is meant may lie from that.
    """

    off: float = 0.0

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        return super().doubt(x, y) + self.off

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].reciprocal()

    def rate(self, x: Tensor) -> Tensor:
        return -x.square().reciprocal()


@dataclass(frozen=True, eq=False)
class Rsqrt(_FallingOfPositive):
    """1 / sqrt(x), of positive numbers alone."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].rsqrt()

    def rate(self, x: Tensor) -> Tensor:
        return -0.5 * x.rsqrt() / x


class _OfPositive(Curve):
    """A concave function of positive numbers that only rises."""

    @property
    def convex(self) -> tuple[float, float]:
        return math.inf, math.inf

    @property
    def steepest(self) -> None:
        return None

    @property
    def start(self) -> float:
        return 0.0


@dataclass(frozen=True, eq=False)
class Sqrt(_OfPositive):
    """The square root, of positive numbers alone."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].sqrt()

    def rate(self, x: Tensor) -> Tensor:
        return 0.5 * x.rsqrt()


@dataclass(frozen=True, eq=False)
class Log(_OfPositive):
    """The natural logarithm, of positive numbers alone."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].log()

    def rate(self, x: Tensor) -> Tensor:
        return x.reciprocal()
