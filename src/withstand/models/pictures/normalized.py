"""The border between pictures and networks: outside, pictures are bytes or lie in [0, 1]; inside, normalised."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.transformers.patches import TokenEncoder, with_patches


class Normalized(TokenEncoder):
    """An encoder that takes pictures as they are.

    Where it reads patches, so does this: its patches are those of normalised pictures.

    Args:
        encoder: takes normalised pictures `(B, C, H, W)`.
        mean: each channel's mean in [0, 1].
        std: each channel's standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Model, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean) or min(std) <= 0:
            raise ConfigError(f"mean and std must be equally long, std above 0, not {mean!r} and {std!r}")
        self.encoder = encoder
        self.width, self.channels = encoder.width, len(mean)
        self.stages = tuple(f"encoder.{name}" for name in encoder.stages)
        self.patch, self.prefix = (encoder.patch, encoder.prefix) if isinstance(encoder, TokenEncoder) else (0, 0)
        # Part of the configuration, so not of the state.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    @classmethod
    def example(cls) -> Self:
        return cls(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of pictures `(B, C, H, W)`, uint8 or floating in [0, 1]."""
        features: Tensor = self.encoder(self.normalized(x))
        return features

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        return with_patches(self.encoder).tokens(self.normalized(x), keep)

    def filled(self, x: Tensor, hidden: Tensor, filler: Tensor) -> Tensor:
        return with_patches(self.encoder).filled(self.normalized(x), hidden, filler)

    def last_blocks(self, x: Tensor, count: int) -> list[Tensor]:
        return with_patches(self.encoder).last_blocks(self.normalized(x), count)

    def patches(self, x: Tensor) -> Tensor:
        return with_patches(self.encoder).patches(self.normalized(x))

    def pixels(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        return with_patches(self.encoder).pixels(patches, grid) * self.std + self.mean

    def grid(self, x: Tensor) -> tuple[int, int]:
        return with_patches(self.encoder).grid(x)

    def normalized(self, x: Tensor) -> Tensor:
        """Return what the encoder is given of pictures `(B, C, H, W)`, uint8 or floating in [0, 1]."""
        if x.dim() != 4 or x.shape[1] != len(self.mean):
            raise DataError(f"pictures must be (B, {len(self.mean)}, H, W), not {tuple(x.shape)}")
        if x.dtype == torch.uint8:
            x = x.to(self.mean.dtype) / 255
        elif not x.is_floating_point():
            raise DataError(f"pictures must be uint8, or floating in [0, 1], not {x.dtype}")
        return (x.to(self.mean.dtype) - self.mean) / self.std
