"""U-Net with levels that can be read and trained one by one (Ronneberger et al., 2015).

As in Contrastive learning of global and local features for medical image segmentation with limited annotations (2020):
two convolutions with batch normalisation a level, halving between, and a decoder that doubles by repeating pixels.
Sizes: B pictures, C channels of them, H x W pixels, L levels, `channels` of each from the finest to the coarsest.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.roles import Model

PUBLISHED = (16, 32, 64, 128, 128, 128)
"""Channels of the published network."""


class UNetEncoder(Model):
    """The way down: L levels of two convolutions each, their maps halved between.

    Features are the coarsest map's means.

    Args:
        channels: of each level, two or more.
        channels_in: C.
    """

    def __init__(self, channels: Sequence[int] = PUBLISHED, channels_in: int = 1) -> None:
        super().__init__()
        if len(channels) < 2 or min(channels) < 1 or channels_in < 1:
            raise ConfigError(f"a U-Net needs two levels of channels or more, not {tuple(channels)} of {channels_in}")
        self.channels, self.width = tuple(channels), channels[-1]
        before = (channels_in, *channels[:-1])
        self.levels = nn.ModuleList(_block(one, other) for one, other in zip(before, channels, strict=True))
        self.stages = tuple(f"levels.{place}" for place in range(len(channels)))

    @classmethod
    def example(cls) -> Self:
        return cls((2, 3, 4))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return each level's map, the finest first, of pictures in bytes or in [0, 1].

        Raises:
            DataError: sides that cannot be halved so often.
        """
        unit = 2 ** (len(self.levels) - 1)
        if x.dim() != 4 or x.shape[2] % unit or x.shape[3] % unit:
            raise DataError(
                f"{len(self.levels)} levels take pictures whose sides are multiples of {unit}: {(*x.shape,)}"
            )
        dtype = next(self.parameters()).dtype
        x = unit_range(x, dtype).to(dtype)
        found: list[Tensor] = []
        for level in self.levels:
            found.append(level(torch.max_pool2d(found[-1], 2) if found else x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)[-1].mean((2, 3))


class UNetDecoder(Part, nn.Module):
    """The way up: L - 1 blocks, each of which doubles the side and takes in the map of its level.

    Args:
        channels: of each level, as the encoder's.
    """

    def __init__(self, channels: Sequence[int] = PUBLISHED) -> None:
        super().__init__()
        self.channels = tuple(channels)
        up = list(reversed(self.channels))
        self.narrow = nn.ModuleList(_Narrow(one, other) for one, other in pairwise(up))
        self.joined = nn.ModuleList(_block(2 * width, width) for width in up[1:])

    @classmethod
    def example(cls) -> Self:
        return cls((2, 3, 4))

    def forward(self, maps: Sequence[Tensor], blocks: int | None = None) -> Tensor:
        """Return the map behind so many blocks, all if None: `(B, channels of its level, h, w)`.

        Args:
            maps: of the encoder.
            blocks: from 1 to L - 1.
        """
        count = len(self.joined) if blocks is None else blocks
        x = maps[-1]
        for place in range(count):
            x = self.narrow[place](interpolate(x, scale_factor=2, mode="nearest"))
            x = self.joined[place](torch.cat([maps[-2 - place], x], 1))
        return x


class UNet(Part, nn.Module):
    """Encoder and decoder as one: a map of `width` channels at the picture's own size.

    Args:
        encoder: the way down.
        decoder: the way up, of the same channels.
    """

    def __init__(self, encoder: UNetEncoder, decoder: UNetDecoder) -> None:
        super().__init__()
        if encoder.channels != decoder.channels:
            raise ConfigError(f"encoder and decoder have other channels: {encoder.channels} and {decoder.channels}")
        self.encoder, self.decoder, self.width = encoder, decoder, encoder.channels[0]

    @classmethod
    def example(cls) -> Self:
        return cls(UNetEncoder.example(), UNetDecoder.example())

    def forward(self, x: Tensor) -> Tensor:
        """Return maps `(B, width, H, W)` of pictures in [0, 1]."""
        found: Tensor = self.decoder(self.encoder.maps(x))
        return found


@runtime_checkable
class Dense(Protocol):
    """A method that trains a U-Net."""

    def dense(self) -> UNet:
        """Return the network, whose maps have the picture's own size."""
        ...


class Segmenter(Part, nn.Module):
    """Tells structures pixel by pixel: a U-Net, and a convolution of one pixel.

    Args:
        network: gives maps.
        classes: K, the background among them.
    """

    def __init__(self, network: UNet, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"classes must be at least 2, the background among them, not {classes!r}")
        self.network, self.classes = network, classes
        self.last = nn.Conv2d(network.width, classes, 1)

    @classmethod
    def example(cls) -> Self:
        return cls(UNet.example(), 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, K, H, W)` of pictures in [0, 1]."""
        logits: Tensor = self.last(self.network(x))
        return logits


def pixel_head(channels: int) -> nn.Sequential:
    """Return the published g_2: two convolutions of one pixel that keep the channels, without biases."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


def _block(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*_layers(channels_in, channels), *_layers(channels, channels))


def _layers(channels_in: int, channels: int) -> tuple[nn.Module, ...]:
    # The normalisation behind it takes a bias away.
    convolution = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


class _Narrow(nn.Module):
    """A convolution of 2 x 2 pixels; what lies beyond the right and lower edge is 0, as TensorFlow pads."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels, 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.convolution(pad(x, (0, 1, 0, 1)))))
