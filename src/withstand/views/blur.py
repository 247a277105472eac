"""Gaussian blur with a width of each sample's own, as two banded matrices a sample."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.views.picture import PictureView, change_some, check_probability, check_range, rows_where


def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Blur each picture, with reflected borders.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        sigma: standard deviation in pixels, `(N,)`.
        kernel_size: taps of the filter along each axis; odd.

    Raises:
        DataError: the pictures are too small to be reflected by half a kernel.
    """
    count, channels, height, width = x.shape
    half = kernel_size // 2
    if half >= min(height, width):
        raise DataError(f"a kernel of {kernel_size} taps does not fit {height}x{width} pixels: lower kernel_size")
    taps = torch.arange(-half, half + 1, device=x.device, dtype=torch.float32)
    kernel = (taps / sigma[:, None]).square_().mul_(-0.5).softmax(dim=1)
    rows = kernel @ _reflected_shifts(height, half, x.device)
    columns = rows if height == width else kernel @ _reflected_shifts(width, half, x.device)
    wide = torch.bmm(x.reshape(count, channels * height, width), columns.view(count, width, width).mT)
    return torch.matmul(rows.view(count, 1, height, height), wide.view_as(x)).clamp_(0, 1)


def _reflected_shifts(length: int, half: int, device: torch.device) -> Tensor:
    """Return `(2 half + 1, length * length)`: tap t's matrix moves pixel i + t, reflected at the ends, to i."""
    places = torch.arange(length, device=device) + torch.arange(-half, half + 1, device=device)[:, None]
    places = (length - 1) - (places.abs() - (length - 1)).abs()
    return torch.nn.functional.one_hot(places, length).to(torch.float32).flatten(1)


@dataclass(frozen=True)
class GaussianBlur(PictureView):
    """Blur by a random width with a probability.

    Args:
        sigma: range of the standard deviation, pixels, uniform.
        kernel_size: odd number of taps; None takes a tenth of the picture's side, as SimCLR does.
        probability: chance that a picture is changed.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    kernel_size: int | None = None
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("sigma", self.sigma, 1e-3, 1e3)
        if self.kernel_size is not None and (self.kernel_size < 1 or self.kernel_size % 2 == 0):
            raise ConfigError(f"kernel_size must be odd and positive, not {self.kernel_size!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        kernel_size = self.kernel_size or min(x.shape[2:]) // 10 | 1
        chance, width = draws.uniform(2).unbind(1)
        sigma = width * (self.sigma[1] - self.sigma[0]) + self.sigma[0]
        rows = rows_where(chance < self.probability)
        return change_some(x, rows, lambda part: gaussian_blur(part, sigma[rows], kernel_size))
