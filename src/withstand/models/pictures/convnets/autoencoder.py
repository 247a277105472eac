"""A small convolutional autoencoder of pictures: cheap features without labels or views.

G-SimCLR (2020): three levels for small pictures, with `width` 32 and 3 channels 335,747 numbers, running statistics
among them. A picture's features are its code, averaged over places.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model


class ConvCode(Model):
    """Convolutions of 3 x 3, each with batch normalisation, ReLU and max-pooling by 2, widths doubling.

    Args:
        channels: of the pictures.
        width: channels of the first level.
        levels: how many; a picture's side must be at least 2 to this power.
    """

    def __init__(self, channels: int = 3, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        if min(channels, width, levels) < 1:
            raise ConfigError(f"channels, width and levels must be at least 1: {channels!r}, {width!r}, {levels!r}")
        self.channels, self.widths = channels, [width * 2**level for level in range(levels)]
        self.width = self.widths[-1]
        narrow = [channels, *self.widths[:-1]]
        self.steps = nn.ModuleList(_block(*pair) for pair in zip(narrow, self.widths, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of pictures `(B, C, H, W)`, uint8 or floating in [0, 1]."""
        return self.code(x).mean((2, 3))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def code(self, x: Tensor) -> Tensor:
        """Return the code `(B, width, H / 2^levels, W / 2^levels)`."""
        if x.dim() != 4 or x.shape[1] != self.channels or min(x.shape[2:]) < 2 ** len(self.widths):
            raise DataError(
                f"pictures must be (B, {self.channels}, H, W) of at least {2 ** len(self.widths)} pixels a side, not "
                f"{tuple(x.shape)}"
            )
        x = unit_range(x, self.dtype).to(self.dtype)
        for step in self.steps:
            x = max_pool2d(relu(step(x)), 2)
        return x


class ConvDecoder(nn.Module):
    """Pictures of codes: at each level nearest-neighbour enlargement, a convolution, batch normalisation, ReLU.

    Args:
        code: what it undoes.
    """

    def __init__(self, code: ConvCode) -> None:
        super().__init__()
        wide = [code.widths[-1], *reversed(code.widths)]
        self.steps = nn.ModuleList(_block(*some) for some in pairwise(wide))
        self.last = nn.Conv2d(code.widths[0], code.channels, 3, padding=1)

    def forward(self, code: Tensor, size: tuple[int, int]) -> Tensor:
        """Return pictures `(B, C, *size)` in (0, 1)."""
        for left, step in zip(range(len(self.steps) - 1, -1, -1), self.steps, strict=True):
            sides = [side >> left for side in size]  # those of the level's input: pooling rounds down
            code = relu(step(interpolate(code, sides, mode="nearest")))
        return torch.sigmoid(self.last(code))


def _block(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), nn.BatchNorm2d(wide))
