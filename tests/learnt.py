"""Methods that learn guards and attacks, for tests; importable as `learnt` (see pythonpath in pyproject.toml)."""

from typing import Self

from torch import Tensor, nn

from withstand.core.batch import Batch, unit_range
from withstand.core.roles import Method, Product, Terms


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
