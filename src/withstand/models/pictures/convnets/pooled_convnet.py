"""The convolutional network of dataset distillation: blocks of convolution, batch normalisation, ReLU and a mean.

As in Gidaris and Komodakis (2018), and as KRR-ST has it (Lee et al., 2024).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.roles import Model


class PooledConvNet(Model):
    """Blocks that halve the side; features are the last map, flattened and not pooled.

    Args:
        shape: one picture's (C, H, W).
        channels: of each block.
    """

    def __init__(self, shape: tuple[int, ...], channels: Sequence[int] = (128, 256, 512)) -> None:
        super().__init__()
        if len(shape) != 3 or not channels or min(channels) < 1 or min(shape[1:]) >> len(channels) < 1:
            raise ConfigError(
                f"{len(channels)} blocks, of 1 channel or more each, must leave something of pictures (C, H, W) of "
                f"shape {tuple(shape)}: channels {tuple(channels)}"
            )
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.AvgPool2d(2))
                for before, after in pairwise((shape[0], *channels))
            )
        )
        height, width = (side >> len(channels) for side in shape[1:])
        self.width = channels[-1] * height * width
        self.stages = tuple(f"blocks.{place}" for place in range(len(channels)))

    @classmethod
    def example(cls) -> Self:
        return cls((3, 8, 8), (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(x).flatten(1)
        return features
