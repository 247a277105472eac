"""Colors as CIE Lab: lightness, and two axes of color that the eye holds to be about evenly spaced.

sRGB by IEC 61966-2-1, white of D65; bins of colors as in Colorful Image Colorization (Zhang, Isola, Efros, 2016).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from withstand.losses.precision import full_precision

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


@full_precision
def lab(x: Tensor) -> Tensor:
    """Return L in [0, 100] and a, b, about -110 to 110, `(B, 3, H, W)`, of sRGB pictures in [0, 1]."""
    linear = torch.where(x > 0.04045, ((x.clamp_min(0) + 0.055) / 1.055) ** 2.4, x / 12.92)
    matrix = x.new_tensor(_TO_XYZ) / x.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    edge = 6 / 29
    root = torch.where(xyz > edge**3, xyz.clamp_min(edge**3) ** (1 / 3), xyz / (3 * edge**2) + 4 / 29)
    first, second, third = root.unbind(1)
    return torch.stack([116 * second - 16, 500 * (first - second), 200 * (second - third)], 1)


@cache
def color_bins(width: int = 10) -> Tensor:
    """Return the centres (a, b) of the squares of a grid that some sRGB color lies in, `(Q, 2)`."""
    steps = torch.linspace(0, 1, 52, dtype=torch.float64)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 1, -1)
    squares = np.unique((lab(cube)[0, 1:, 0].T / width).round().to(torch.int64).numpy(), axis=0)
    return torch.from_numpy(squares * width).to(torch.float32)
