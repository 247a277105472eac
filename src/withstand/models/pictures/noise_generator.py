"""A generator of one picture from noise that stays the same: the picture is a function of the weights alone."""

from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part


class NoiseGenerator(Part, nn.Module):
    """Transposed convolutions from fixed noise to several candidates, and a convolution that mixes them into one.

    Of AdvEncoder (Zhou et al., 2023), for pictures of any size: there are as many doublings as the side needs from 4
    on, and what is too large is cut off. Normalisations go by the candidates at hand and keep no statistics, for the
    noise never changes.

    Args:
        shape: of the picture, (C, H, W).
        candidates: pictures that are mixed.
        latent: numbers of noise for each.
        width: channels before the last doubling; each earlier one has twice as many, 8 times at most.
    """

    noise: Tensor

    def __init__(self, shape: tuple[int, ...], *, candidates: int = 16, latent: int = 100, width: int = 32) -> None:
        super().__init__()
        if len(shape) != 3 or min(candidates, latent, width) < 1:
            raise ConfigError(f"a generator needs a picture's shape (C, H, W) and counts of at least 1, not {shape!r}")
        if candidates < 2:
            raise ConfigError(f"candidates must be at least 2, not {candidates}: they are normalised over one another")
        self.shape = tuple(shape)
        side, doublings = 4, 1
        while side * 2**doublings < max(shape[1:]):
            doublings += 1
        widths = [width * 2 ** min(3, place) for place in range(doublings)][::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], side)]
        for before, after in pairwise(widths):
            layers += [_normal(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        layers += [_normal(widths[-1]), nn.ReLU(), nn.ConvTranspose2d(widths[-1], shape[0], 4, 2, 1), nn.Tanh()]
        self.candidates = nn.Sequential(*layers)
        self.mixed = nn.Conv2d(candidates, 1, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0, 0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.register_buffer("noise", torch.randn(candidates, latent, 1, 1))

    @classmethod
    def example(cls) -> Self:
        return cls((1, 6, 6), candidates=2, latent=3, width=2)

    def forward(self) -> Tensor:
        """Return the picture `(C, H, W)`, of numbers round 0."""
        made = self.candidates(self.noise)[..., : self.shape[1], : self.shape[2]]
        mixed: Tensor = self.mixed(made.transpose(0, 1))[:, 0]
        return mixed


def _normal(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)
