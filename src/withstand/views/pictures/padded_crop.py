"""A shift by a few pixels and a flip: what supervised training on small pictures uses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView, check_probability


@dataclass(frozen=True)
class PaddedCrop(PictureView):
    """Cut a picture of the same size out of one with a black border, and mirror it with a probability.

    Args:
        pad: the border's width, pixels.
        flip: probability of mirroring left to right.
    """

    pad: int = 4
    flip: float = 0.5

    moves = True

    def __post_init__(self) -> None:
        check_probability("flip", self.flip)
        if self.pad < 0:
            raise ConfigError(f"pad must be at least 0 pixels, not {self.pad!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        count, channels, height, width = x.shape
        top, left = draws.integers(0, 2 * self.pad + 1, 2).unbind(1)
        columns = torch.arange(width, device=x.device).expand(count, -1)
        columns = torch.where(draws.chance(self.flip, 1), columns.flip(1), columns) + left[:, None]
        rows = torch.arange(height, device=x.device) + top[:, None]
        wide = torch.nn.functional.pad(x, [self.pad] * 4)
        sample = torch.arange(count, device=x.device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
        return wide[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
