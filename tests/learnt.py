"""Methods that learn guards and attacks, for tests; importable as `learnt` (see pythonpath in pyproject.toml)."""

import copy
import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from victims import digits
from withstand.attacks.learnt.perturbations import Perturbation, Universal
from withstand.core.batch import Batch, unit_range
from withstand.core.roles import Method, Model, Product, Terms
from withstand.core.threat import Ball


class Smoother(nn.Module):
    """A blend of each picture with a learnt blur of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blur = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.blur(x).sigmoid()


class ToyPurifier(Method):
    """Learns to give noisy pictures back clean, and gives what it learnt as a purifier.

    Args:
        channels: of the pictures.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.filter = Smoother(channels)

    @classmethod
    def example(cls) -> Self:
        return cls(3)

    def products(self) -> dict[str, Product]:
        return {"purifier": self.filter}

    def step(self, batch: Batch) -> Terms:
        x = unit_range(batch.x)
        noisy = (x + 0.1 * batch.draws("noise").normal(*x.shape[1:])).clamp(0, 1)
        return {"loss": (self.filter(noisy) - x).square().mean()}


class DigitsClassifier(Model):
    """The small trained classifier of scikit-learn's digits that all tests share."""

    width = 10

    def __init__(self) -> None:
        super().__init__()
        model = digits()[0].model
        assert isinstance(model, nn.Module)
        self.net = copy.deepcopy(model).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


class ToyUniversal(Method):
    """Learns one perturbation that deceives a frozen classifier on as many inputs as it can, without labels.

    Args:
        ball: in which it stays, Linf.
        shape: of one sample.
    """

    def __init__(self, ball: Ball = Ball("linf", 0.25), shape: tuple[int, ...] = (1, 8, 8)) -> None:  # noqa: B008
        super().__init__()
        self.ball = ball
        self.network = DigitsClassifier()
        self.perturbation = Perturbation(shape)

    def products(self) -> dict[str, Product]:
        return {"attack": Universal(self.ball, perturbation=self.perturbation)}

    def step(self, batch: Batch) -> Terms:
        x = unit_range(batch.x)
        with torch.no_grad():
            own = self.network(x).argmax(1)
        return {"loss": -F.cross_entropy(self.network(self.perturbation(x).clamp(0, 1)), own)}

    def after_step(self, step: int) -> None:
        with torch.no_grad():
            self.perturbation.values.clamp_(-self.ball.eps, self.ball.eps)


class ToyClassifier(Method):
    """Learns to classify by labels, and gives a classifier and no encoder.

    Args:
        shape: of one sample.
        classes: how many.
    """

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8), classes: int = 10) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))

    @classmethod
    def example(cls) -> Self:
        return cls((3, 8, 8))

    def products(self) -> dict[str, Product]:
        return {"classifier": self.network}

    def step(self, batch: Batch) -> Terms:
        assert batch.y is not None
        return {"loss": F.cross_entropy(self.network(unit_range(batch.x)), batch.y)}
