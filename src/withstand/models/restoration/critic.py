"""The critic of SRGAN (Ledig et al., 2017): whether a picture is a true one or was made."""

from typing import Self

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from withstand.core.errors import ConfigError
from withstand.core.part import Part

SLOPE = 0.2


class Critic(Part, nn.Module):
    """Convolutions of 3 x 3, every second one halving the sides, and two dense layers, with LeakyReLU of slope 0.2.

    The paper's is of pictures of 96 x 96, whose last maps have 6 x 6 places; those of other pictures are brought to
    that by averaging.

    Args:
        channels: of the pictures.
        width: channels of the first maps; each of `levels` - 1 levels doubles them.
        levels: how often the sides are halved.
        grid: places a side of the last maps.
        dense: numbers between the dense layers.

    Raises:
        ConfigError: a count below 1.
    """

    def __init__(
        self, channels: int = 3, *, width: int = 64, levels: int = 4, grid: int = 6, dense: int = 1024
    ) -> None:
        super().__init__()
        if min(channels, width, levels, grid, dense) < 1:
            raise ConfigError(
                "channels, width, levels, grid and dense must be at least 1, not "
                f"{(channels, width, levels, grid, dense)!r}"
            )
        self.grid = grid
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        before = width
        for level in range(levels):
            now = width * 2**level
            if level:
                layers += _convolution(before, now, 1)
            layers += _convolution(now, now, 2)
            before = now
        self.maps = nn.Sequential(*layers)
        self.judge = nn.Sequential(nn.Linear(before * grid**2, dense), nn.LeakyReLU(SLOPE), nn.Linear(dense, 1))

    @classmethod
    def example(cls) -> Self:
        return cls(width=2, levels=2, grid=2, dense=4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B,)` that pictures `(B, C, H, W)` in [-1, 1] are true ones."""
        maps = self.maps(x)
        if maps.shape[2:] != (self.grid, self.grid):
            maps = adaptive_avg_pool2d(maps, self.grid)
        logits: Tensor = self.judge(maps.flatten(1))[:, 0]
        return logits


def _convolution(before: int, now: int, stride: int) -> list[nn.Module]:
    layer = nn.Conv2d(before, now, 3, stride, 1, bias=False)
    return [layer, nn.BatchNorm2d(now), nn.LeakyReLU(SLOPE)]
