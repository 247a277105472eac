"""A projection head without parameters, that weighs features in a falling series.

Investigating the Benefits of Projection Head for Representation Learning (2024).
"""

import math

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, below
from withstand.core.roles import Model


class ReweightingHead(Model):
    """Multiply feature i by `kappa ** -i`, i from 0: what a trained head does to features, under control.

    It stands where a projection head does in training, and is thrown away after.

    Args:
        width: of the features.
        kappa: at least 1; 1 is no head. For hundreds of features 1.005 to 1.05.

    Raises:
        ConfigError: kappa is below 1, or so large that the last features vanish in float32.
    """

    scale: Tensor

    def __init__(self, width: int, kappa: float = 1.02) -> None:
        super().__init__()
        if width < 1 or not kappa >= 1:
            raise ConfigError(f"width and kappa must be at least 1, not {width!r} and {kappa!r}")
        smallest = torch.finfo(torch.float32).tiny
        if (width - 1) * math.log(kappa) > -math.log(smallest):
            most = smallest ** (-1 / (width - 1))
            raise ConfigError(
                f"kappa {kappa!r} to the power {1 - width} is 0 in float32: give {below(most, 4)} or less"
            )
        self.width = width
        scale = (-math.log(kappa) * torch.arange(width, dtype=torch.float64)).exp()
        self.register_buffer("scale", scale.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return weighted features, `(B, width)`."""
        if x.shape[-1] != self.width:
            raise DataError(f"features must be (B, {self.width}), not {tuple(x.shape)}")
        return x * self.scale
