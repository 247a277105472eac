"""How near pictures are to the true ones: PSNR and SSIM of the luma, and how much detail they have.

The protocol of super-resolution: luma in studio range (ITU-R BT.601, 16 to 235), in 8-bit steps of 0 to 255, without a
strip at each border as wide as the scale. Sizes: `B` pictures, `C` channels, `H` x `W` pixels. All in float64.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from withstand.core.errors import DataError

PEAK = 255.0
_LUMA = (65.481, 128.553, 24.966)
_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def luma(x: Tensor) -> Tensor:
    """Return the luma `(B, 1, H, W)` of pictures in [0, 1], color or grey, after rounding these to 8 bits.

    Black is 16 and white 235; it is not rounded itself.

    Raises:
        DataError: neither 1 nor 3 channels.
    """
    if x.shape[1] not in (1, 3):
        raise DataError(f"luma is of pictures with 1 or 3 channels, not {x.shape[1]}")
    bytes_ = torch.round(x.double().clamp(0, 1) * 255) / 255
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=x.device).view(1, 3, 1, 1)
    return 16 + (bytes_.expand(-1, 3, -1, -1) * weights).sum(1, keepdim=True)


def shaved(x: Tensor, border: int) -> Tensor:
    """Return pictures without `border` pixels on each of the four sides.

    Raises:
        DataError: nothing is left.
    """
    if min(x.shape[2:]) <= 2 * border:
        raise DataError(f"of pictures of {x.shape[2]} x {x.shape[3]} nothing is left without {border} pixels a side")
    return x[..., border : x.shape[2] - border, border : x.shape[3] - border]


def psnr(x: Tensor, true: Tensor) -> Tensor:
    """Return each picture's peak signal-to-noise ratio in decibels, `(B,)`, for values of 0 to 255; inf where equal."""
    error = (x.double() - true.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(PEAK**2 / error)


def ssim(x: Tensor, true: Tensor) -> Tensor:
    """Return each picture's structural similarity, `(B,)`, for values of 0 to 255 (Wang et al., 2004).

    By a Gaussian window of 11 x 11 and sigma 1.5, over the places where it fits; K1 0.01 and K2 0.03; the mean over
    channels.

    Raises:
        DataError: pictures smaller than the window.
    """
    if min(x.shape[2:]) < _TAPS:
        raise DataError(f"SSIM needs pictures of {_TAPS} x {_TAPS} at least, not {x.shape[2]} x {x.shape[3]}")
    one, other = x.double().flatten(0, 1), true.double().flatten(0, 1)
    # Five means at once, along rows and then along columns: the window is a product.
    planes = torch.stack([one, other, one * one, other * other, one * other], 1)
    steps = torch.arange(_TAPS, dtype=torch.float64, device=x.device) - _TAPS // 2
    window = torch.exp(-(steps**2) / (2 * _SIGMA**2))
    window = window / window.sum()
    flat = planes.flatten(0, 1)[:, None]
    means = conv2d(conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    mean, wanted, square, squared, product = means.view(*planes.shape[:2], *means.shape[2:]).unbind(1)
    similar = (2 * mean * wanted + _C1) * (2 * (product - mean * wanted) + _C2)
    spread = (mean**2 + wanted**2 + _C1) * (square - mean**2 + squared - wanted**2 + _C2)
    found: Tensor = (similar / spread).flatten(1).mean(1).view(x.shape[:2]).mean(1)
    return found


def gradient_energy(x: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours, down and across, of each picture, `(B,)`."""
    x = x.double()
    down, across = x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]
    return down.square().flatten(1).mean(1) + across.square().flatten(1).mean(1)


def gradient_energy_ratio(x: Tensor, true: Tensor) -> Tensor:
    """Return each picture's gradient energy over that of the true one, `(B,)`: below 1 it is too smooth.

    NaN where the true picture is of one color. It stands in for human raters, whom nothing here replaces.
    """
    energy = gradient_energy(true)
    return torch.where(energy > 0, gradient_energy(x) / energy, torch.nan)
