"""Pictures made smaller and larger.

`reduced` and `enlarged` share one kernel, the antialiased bicubic one (a = -0.5) of Pillow and of MATLAB: a network is
compared with bicubic enlargement, and another kernel than the one that made the small picture would move that by up to
a decibel. `blurred` and `spread` share one alignment, that of super-resolution of video: a small pixel lies on a large
one.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from withstand.core.errors import DataError


def reduced(x: Tensor, factor: int) -> Tensor:
    """Return pictures `(B, C, H, W)` in [0, 1] at a `factor`-th of their sides, in steps of 1/255 as files hold them.

    Raises:
        DataError: sides that the factor does not divide.
    """
    height, width = x.shape[2:]
    if height % factor or width % factor:
        raise DataError(f"pictures of {height} x {width} cannot be made smaller by {factor}: it does not divide them")
    size = (height // factor, width // factor)
    small = interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
    return torch.round(small.clamp(0, 1) * 255) / 255


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Return pictures `(B, C, H, W)` with sides `factor` times as long; values may leave the range a little."""
    size = (x.shape[2] * factor, x.shape[3] * factor)
    return interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)


def divisible(x: Tensor, factor: int) -> Tensor:
    """Return pictures without the last rows and columns that a factor leaves over.

    Raises:
        DataError: a side shorter than the factor.
    """
    height, width = (side // factor * factor for side in x.shape[2:])
    if not height or not width:
        raise DataError(f"pictures of {x.shape[2]} x {x.shape[3]} are too small to be made smaller by {factor}")
    return x[..., :height, :width]


def blurred(x: Tensor, factor: int = 4, sigma: float = 1.5) -> Tensor:
    """Return every `factor`-th pixel of blurred pictures `(B, C, H, W)`, those where the kernel fits.

    The kernel is a Gaussian of 1 + 2 * int(3 sigma) taps whose sum is 1. Pixel i of the small picture lies on pixel
    `factor` i of the large one without a margin of int(3 sigma) pixels a side (TecoGAN's official code).
    """
    reach = int(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64, device=x.device)
    taps = torch.exp(-(steps**2) / (2 * sigma**2))
    taps = (taps / taps.sum()).to(x.dtype)
    flat = x.flatten(0, 1)[:, None]
    down = conv2d(flat, taps.view(1, 1, -1, 1), stride=(factor, 1))
    return conv2d(down, taps.view(1, 1, 1, -1), stride=(1, factor)).view(*x.shape[:2], down.shape[2], -1)


def spread(x: Tensor, factor: int, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """Return pictures `(B, C, H, W)` with sides `factor` times as long, whose pixel `factor` i is pixel i.

    What lies beyond the last row and column repeats them; the bicubic kernel has a = -0.75. This is the alignment of
    TensorFlow 1 without `align_corners`, which belongs to pictures that `blurred` made small.
    """
    more = pad(x, (0, 1, 0, 1), mode="replicate")
    size = (x.shape[2] * factor + 1, x.shape[3] * factor + 1)
    return interpolate(more, size, mode=mode, align_corners=True)[..., :-1, :-1]
