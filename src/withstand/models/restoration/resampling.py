"""Pictures made smaller and larger by one kernel, the antialiased bicubic one (a = -0.5) of Pillow and of MATLAB.

A network is compared with bicubic enlargement, and another kernel than the one that made the small picture would move
that by up to a decibel.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

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
