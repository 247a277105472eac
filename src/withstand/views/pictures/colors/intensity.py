"""Intensities of grey scans: brightness is added and contrast stretched about the mean; nothing moves."""

from dataclasses import dataclass

from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView, per_sample


@dataclass(frozen=True)
class Intensity(PictureView):
    """Add to each picture, and stretch it about its channels' means, by random amounts.

    Contrastive learning of global and local features for medical image segmentation with limited annotations (2020),
    whose code lets intensities rise to 1.5; here they end at 1.

    Args:
        brightness: b; what is added is uniform in [-b, b].
        contrast: c; the factor is uniform in [1 - c, 1 + c].
    """

    brightness: float = 0.3
    contrast: float = 0.3

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], not {getattr(self, name)!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        numbers = draws.uniform(2, low=-1.0, high=1.0)
        x = x + per_sample(self.brightness * numbers[:, 0])
        mean = x.mean((2, 3), keepdim=True)
        return ((x - mean) * per_sample(1 + self.contrast * numbers[:, 1]) + mean).clamp_(0, 1)
