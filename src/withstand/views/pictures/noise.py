"""Noise: pictures with Gaussian noise added."""

from dataclasses import dataclass

from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView


@dataclass(frozen=True)
class GaussianNoise(PictureView):
    """Independent noise on every number, held in [0, 1].

    Args:
        std: its standard deviation, of pictures in [0, 1].
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise ConfigError(f"std must be at least 0, not {self.std!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return x.add_(draws.normal(*x.shape[1:]), alpha=self.std).clamp_(0, 1)
