"""AugMix: a picture mixed with several of its own light changes, drawn for each picture alone.

AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty (Hendrycks et al., 2020).
Sizes: `N` pictures, `H` x `W` pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.views.pictures.colors.color import solarize
from withstand.views.pictures.picture import PictureView, per_sample, rows_where


def moved(x: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures in which each pixel shows another place, bilinearly; what lies outside is black.

    Args:
        x: `(N, C, H, W)`, float.
        matrices: `(N, 2, 3)`: of a pixel's middle (column, row, 1), in pixels from the upper left, where to look.
    """
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) + 0.5
    columns = torch.arange(width, device=x.device) + 0.5
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack((across, down, torch.ones_like(down)), 2) @ matrices[:, None].mT
    grid = 2 * places / places.new_tensor([width, height]) - 1
    return torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _whole(level: Tensor, most: float) -> Tensor:
    """Return a tenth of `most` times the level, towards zero, as the official code rounds."""
    return (level * most / 10).floor()


def _identity(x: Tensor) -> Tensor:
    return torch.eye(2, 3, device=x.device).repeat(len(x), 1, 1)


def _rotate(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    angle = (_whole(level, 30) * sign).deg2rad()
    height, width = x.shape[2:]
    middle = x.new_tensor([width / 2, height / 2])
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2)
    return moved(x, torch.cat((turn, (middle - turn @ middle)[:, :, None]), 2))


def _sheared(axis: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def shear(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
        matrices = _identity(x)
        matrices[:, axis, 1 - axis] = level * 0.03 * sign
        return moved(x, matrices)

    return shear


def _shifted(axis: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def shift(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
        matrices = _identity(x)
        matrices[:, axis, 2] = _whole(level, x.shape[3 - axis] / 3) * sign
        return moved(x, matrices)

    return shift


def _in_bytes(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def changed(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
        from torchvision.transforms.v2 import functional  # here, for its import takes seconds that few views need

        change: Callable[[Tensor], Tensor] = getattr(functional, name)
        return change((x * 255).round().to(torch.uint8)).to(x.dtype) / 255

    return changed


def _posterize(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    step = 2 ** (4 + _whole(level, 4))  # bits that go: 8 - (4 - level)
    return (torch.div((x * 255).round(), per_sample(step), rounding_mode="floor") * per_sample(step)) / 255


def _solarize(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return solarize(x, (256 - _whole(level, 256)) / 255)


OPERATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "autocontrast": _in_bytes("autocontrast"),
    "equalize": _in_bytes("equalize"),
    "posterize": _posterize,
    "rotate": _rotate,
    "solarize": _solarize,
    "shear-x": _sheared(0),
    "shear-y": _sheared(1),
    "translate-x": _shifted(0),
    "translate-y": _shifted(1),
}
"""The changes by name, of pictures, levels up to 10 and signs `(N,)`; none of them is a corruption that is tested."""


@dataclass(frozen=True)
class AugMix(PictureView):
    """A mean of a picture and of chains of changes of it, with weights at random.

    Each of the chains has one change or more; their weights are uniform among those that sum to 1, and what the picture
    itself weighs is uniform in [0, 1].

    Args:
        severity: 0.1 to 10, the largest level of a change; levels are uniform from 0.1.
        chains: how many.
        depth: fewest and most changes of a chain.
        operations: names of changes, each as likely.

    Raises:
        ConfigError: a setting out of range, or an unknown change.
    """

    severity: float = 1.0
    chains: int = 3
    depth: tuple[int, int] = (1, 3)
    operations: tuple[str, ...] = tuple(OPERATIONS)

    moves = True

    def __post_init__(self) -> None:
        if not 0.1 <= self.severity <= 10:
            raise ConfigError(f"severity must lie in [0.1, 10], not {self.severity!r}")
        if self.chains < 1 or not 1 <= self.depth[0] <= self.depth[1]:
            raise ConfigError(f"chains and depth must be at least 1, depth rising, not {self.chains!r}, {self.depth!r}")
        for name in self.operations:
            if name not in OPERATIONS:
                raise ConfigError(f"change {name!r} is unknown: {nearest(name, OPERATIONS)}")
        if not self.operations:
            raise ConfigError("AugMix needs one change or more")

    @classmethod
    def example(cls) -> Self:
        return cls(3.0)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        numbers = draws.uniform(self.chains + 1)
        shares = -torch.log1p(-numbers[:, 1:])  # exponential: its shares of the sum are Dirichlet's of ones
        shares = shares / shares.sum(1, keepdim=True).clamp_min(1e-12) * (1 - numbers[:, :1])
        mixed = x * per_sample(1 - shares.sum(1))
        # All chains side by side, so that each kind of change is run once a turn.
        chained = self._chained(x, [draws.child(place) for place in range(self.chains)])
        return (mixed + (chained * shares.T[:, :, None, None, None]).sum(0)).clamp_(0, 1)

    def _chained(self, x: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Return pictures after each of several chains of changes, `(chains, N, C, H, W)`, drawn for each picture."""
        most = self.depth[1]
        count = torch.cat([own.integers(self.depth[0], most + 1, 1) for own in draws])
        chosen = torch.cat([own.integers(0, len(self.operations), most) for own in draws])
        level = torch.cat([own.uniform(most) for own in draws]) * (self.severity - 0.1) + 0.1
        sign = torch.cat([own.chance(0.5, most) for own in draws]).to(x.dtype) * 2 - 1
        active = torch.arange(most, device=x.device) < count
        whole = x.repeat(len(draws), 1, 1, 1)
        for turn in range(most):
            for number, name in enumerate(self.operations):
                rows = rows_where(active[:, turn] & (chosen[:, turn] == number))
                if len(rows):
                    change = OPERATIONS[name]
                    whole.index_copy_(0, rows, change(whole[rows], level[rows, turn], sign[rows, turn]))
        return whole.view(len(draws), *x.shape)
