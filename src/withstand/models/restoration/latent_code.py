"""Pictures to a code of signs and back: the networks of LQ-VAE (2019).

Sizes: `B` pictures, `K` latent numbers.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.models.blocks.filter import Filter
from withstand.models.blocks.glorot import start_glorot


class LatentEncoder(Model):
    """Four convolutions, two of them with stride 2, and two dense layers: each latent number's mean and variance.

    Args:
        shape: of a picture, (C, H, W).
        latent: K.
        width: channels of the first two convolutions; the last two have twice as many.
        hidden: numbers between the two dense layers.
    """

    def __init__(self, shape: tuple[int, ...], *, latent: int = 64, width: int = 32, hidden: int = 256) -> None:
        super().__init__()
        if len(shape) != 3 or min(latent, width, hidden) < 1:
            raise ConfigError(f"an encoder needs a picture's shape (C, H, W) and counts of at least 1, not {shape!r}")
        self.shape, self.width = tuple(shape), latent
        channels, wide = shape[0], 2 * width
        self.maps = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU(),
            nn.Conv2d(width, wide, 3, 2, 1), nn.LeakyReLU(),
            nn.Conv2d(wide, wide, 3, padding=1), nn.LeakyReLU(),
        )  # fmt: skip
        small = [-(-side // 4) for side in shape[1:]]
        self.dense = nn.Sequential(nn.Linear(wide * small[0] * small[1], hidden), nn.LeakyReLU())
        self.both = nn.Linear(hidden, 2 * latent)
        start_glorot(self)

    @classmethod
    def example(cls) -> Self:
        return cls((3, 8, 8), latent=8, width=2, hidden=6)

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, `(B, K)` each, of pictures in [0, 1]."""
        dtype = self.both.weight.dtype
        maps = self.maps(2 * unit_range(x, dtype).to(dtype) - 1)
        mean, log_variance = self.both(self.dense(maps.flatten(1))).chunk(2, 1)
        return mean, log_variance

    def forward(self, x: Tensor) -> Tensor:
        """Return the means, as features."""
        return self.latent(x)[0]


class LatentDecoder(nn.Module):
    """Two dense layers and four convolutions, two of them transposed: pictures in [0, 1] of codes `(B, K)`.

    Args:
        shape: of a picture, (C, H, W).
        latent: K.
        width: channels of the last convolution but one; the first ones have twice as many.
        hidden: numbers between the two dense layers.
    """

    def __init__(self, shape: tuple[int, ...], *, latent: int = 64, width: int = 32, hidden: int = 256) -> None:
        super().__init__()
        self.shape, self.small = tuple(shape), [-(-side // 4) for side in shape[1:]]
        wide = 2 * width
        self.dense = nn.Sequential(
            nn.Linear(latent, hidden), nn.LeakyReLU(),
            nn.Linear(hidden, wide * self.small[0] * self.small[1]), nn.LeakyReLU(),
        )  # fmt: skip
        self.maps = nn.Sequential(
            nn.ConvTranspose2d(wide, wide, 3, 1, 1), nn.LeakyReLU(),
            nn.ConvTranspose2d(wide, wide, 3, 2, 1, 1), nn.LeakyReLU(),
            nn.ConvTranspose2d(wide, width, 3, 2, 1, 1), nn.LeakyReLU(),
            nn.ConvTranspose2d(width, shape[0], 3, 1, 1), nn.Tanh(),
        )  # fmt: skip
        start_glorot(self)

    def forward(self, code: Tensor) -> Tensor:
        """Return the pictures `(B, C, H, W)`."""
        made: Tensor = self.maps(self.dense(code).unflatten(1, (-1, *self.small)))
        return (made[..., : self.shape[1], : self.shape[2]] + 1) / 2


def inside(z: Tensor, threshold: float) -> Tensor:
    """Return how far latent numbers lie inside (-t, t): `t^2 - z^2`, above 0 there."""
    return threshold**2 - z.square()


def soft_code(z: Tensor, threshold: float, sharpness: float) -> Tensor:
    """Return the code in (-1, 1) that has slopes: softsign of `sharpness * (t^2 - z^2)`; 0 at |z| = t."""
    return F.softsign(sharpness * inside(z, threshold))


def hard_code(z: Tensor, threshold: float) -> Tensor:
    """Return the code of signs: 1 inside (-t, t), else -1."""
    return torch.where(inside(z, threshold) > 0, 1.0, -1.0).to(z.dtype)


class LatentFilter(Filter):
    """Cleans pictures by what a decoder makes of the signs of their codes.

    Signs have no slope. On the way back they have that of the soft code, which is how an attacker who knows the filter
    goes through it; how well it hides from one who does not is no measure of what it withstands.

    Args:
        encoder: gives the latent means.
        decoder: of codes.
        threshold: t.
        sharpness: of the soft code.
        quantised: decode the signs; else the latent means themselves, as a plain autoencoder.
    """

    def __init__(
        self, encoder: LatentEncoder, decoder: LatentDecoder, threshold: float, sharpness: float, quantised: bool
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.threshold, self.sharpness, self.quantised = threshold, sharpness, quantised

    def code(self, x: Tensor) -> Tensor:
        """Return the signs `(B, K)` of pictures, with the soft code's slopes."""
        z = self.encoder(x)
        soft = soft_code(z, self.threshold, self.sharpness)
        return hard_code(z, self.threshold) + soft - soft.detach()

    def forward(self, x: Tensor) -> Tensor:
        cleaned: Tensor = self.decoder(self.code(x) if self.quantised else self.encoder(x))
        return cleaned
