"""Gaussian blur with a width of each sample's own.

Along each axis, `span` neighbouring outputs are a small banded matrix times `span + taps - 1` inputs: products of
matrices, which every device does well, of little more work than the filter itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.views.pictures.picture import (
    PictureView,
    blocks,
    change_some,
    check_probability,
    check_range,
    rows_where,
    tracked,
)

_SPAN = 32


def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Blur each picture, with reflected borders.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        sigma: standard deviation in pixels, `(N,)`.
        kernel_size: taps of the filter along each axis; odd.

    Raises:
        DataError: the pictures are too small to be reflected by half a kernel.
    """
    half = kernel_size // 2
    if half >= min(x.shape[2:]):
        size = "x".join(map(str, x.shape[2:]))
        raise DataError(f"a kernel of {kernel_size} taps does not fit {size} pixels: lower kernel_size")
    taps = torch.arange(-half, half + 1, device=x.device, dtype=torch.float32)
    kernel = (taps / sigma[:, None]).square_().mul_(-0.5).softmax(dim=1)
    if tracked(x):
        return _along_width(_along_width(x, kernel).mT, kernel).mT.clamp(0, 1)
    out = torch.empty_like(x)
    for block in blocks(x):
        wide = _along_width(x[block], kernel[block])
        torch.clamp(_along_width(wide.mT, kernel[block]).mT, 0, 1, out=out[block])
    return out


def _along_width(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter each picture's rows with its own odd kernel, `(N, taps)`."""
    count, channels, height, width = x.shape
    taps = kernel.shape[1]
    reach = _SPAN + taps - 1
    padded = pad(pad(x, (taps // 2, taps // 2, 0, 0), mode="reflect"), (0, -width % _SPAN))
    windows = padded.unfold(3, reach, _SPAN).reshape(count, -1, reach)
    # Row i of the band is the kernel, shifted by i: in memory, one kernel every reach + 1 numbers.
    band = kernel.new_zeros(count, _SPAN, reach)
    band.as_strided((count, _SPAN, taps), (_SPAN * reach, reach + 1, 1)).copy_(kernel[:, None])
    return torch.bmm(windows, band.mT).view(count, channels, height, -1)[..., :width]


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
