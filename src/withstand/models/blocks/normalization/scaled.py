"""Features whose spread is brought to 1, so that distances between them mean the same whatever the encoder."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.roles import Model
from withstand.models.pictures.normalized import Normalized


class Scaled(Model):
    """An encoder's features over their spread, one number for all of them, so that directions stay as they are.

    The spread is the square root of the mean variance of a feature. It is 1 until it is measured.

    Args:
        encoder: whose features.
    """

    spread: Tensor
    measured: Tensor

    def __init__(self, encoder: Model) -> None:
        super().__init__()
        self.encoder, self.width = encoder, encoder.width
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example())

    def measure(self, pass_over: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> None:
        """Take the spread of all samples' features.

        Args:
            pass_over: gives a function of every sample, as `Epoch.pass_over` does.
        """
        features = pass_over(self.encoder).double()
        spread = features.var(0, correction=0).mean().sqrt()
        self.spread.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))
        self.measured.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)`."""
        features: Tensor = self.encoder(x) / self.spread
        return features


class Flat(Model):
    """Samples themselves as features, in one row each: what a linear classifier reads.

    Args:
        width: numbers of a sample.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @classmethod
    def example(cls) -> Self:
        return cls(3 * 8 * 8)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, width)` of samples `(B, ...)`, bytes in [0, 1]."""
        return unit_range(x).flatten(1)
