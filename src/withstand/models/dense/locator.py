"""A network that tells points and a mask: a U-Net with a convolution of one pixel for each.

Sizes: B pictures, J points, H x W pixels.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.losses.agreement.heatmaps import highest
from withstand.models.dense.unet import UNet, UNetDecoder, UNetEncoder


class Located(NamedTuple):
    """What a network tells of pictures.

    Attributes:
        maps: heatmaps of the points, `(B, J, H, W)`.
        logits: of the mask, `(B, H, W)`.
    """

    maps: Tensor
    logits: Tensor


class Locator(Part, nn.Module):
    """Tells heatmaps of points, and the logits of a mask, at the pictures' own size.

    Args:
        network: gives maps.
        points: J.
    """

    def __init__(self, network: UNet, points: int) -> None:
        super().__init__()
        if points < 1:
            raise ConfigError(f"points must be at least 1, not {points!r}")
        self.network, self.points = network, points
        self.maps = nn.Conv2d(network.width, points, 1)
        self.mask = nn.Conv2d(network.width, 1, 1)

    @classmethod
    def example(cls) -> Self:
        channels = (4, 6, 8)
        return cls(UNet(UNetEncoder(channels, 3), UNetDecoder(channels)), 2)

    def forward(self, x: Tensor) -> Located:
        """Return what is told of pictures in bytes or in [0, 1]."""
        features = self.network(x)
        return Located(self.maps(features), self.mask(features)[:, 0])


class Keypoints(Part, nn.Module):
    """A locator's points: x and y in pixels and the height of the bump, about 1 where it is sure, `(B, J, 3)`."""

    def __init__(self, locator: Locator) -> None:
        super().__init__()
        self.locator = locator

    @classmethod
    def example(cls) -> Self:
        return cls(Locator.example())

    def forward(self, x: Tensor) -> Tensor:
        return highest(self.locator(x).maps)


class MaskSegmenter(Part, nn.Module):
    """A locator's mask as logits of the ground and of what stands before it, `(B, 2, H, W)`."""

    def __init__(self, locator: Locator) -> None:
        super().__init__()
        self.locator = locator

    @classmethod
    def example(cls) -> Self:
        return cls(Locator.example())

    def forward(self, x: Tensor) -> Tensor:
        logits = self.locator(x).logits
        return torch.stack((torch.zeros_like(logits), logits), 1)
