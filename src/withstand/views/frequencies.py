"""Pictures without their low frequencies, and how large each frequency is.

Sizes: H x W pixels, any number of axes before them. A frequency (u, v) is a whole number of waves over a picture's
height and width, at most half of either, and its radius is the length of (u, v).
"""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError


def radii(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the radius of each frequency of `rfft2`, `(H, W // 2 + 1)`."""
    down = torch.fft.fftfreq(height, 1 / height, device=device)
    across = torch.fft.rfftfreq(width, 1 / width, device=device)
    return torch.hypot(down[:, None], across[None])


def high_pass(x: Tensor, radius: float) -> Tensor:
    """Return what is left of `x` `(..., H, W)` without frequencies of a smaller radius; at 0 everything.

    It is linear and a projection: what is taken away is orthogonal to what is left.

    Raises:
        ConfigError: a negative radius.
    """
    if not radius >= 0:
        raise ConfigError(f"radius must be at least 0, not {radius!r}")
    height, width = x.shape[-2:]
    kept = radii(height, width, x.device) >= radius
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * kept, s=(height, width))
    return found


def power(x: Tensor) -> Tensor:
    """Return the power of each frequency, centred on frequency 0: `(..., H, W)` of `(..., H, W)`."""
    found: Tensor = torch.fft.fftshift(torch.fft.fft2(x).abs().square(), dim=(-2, -1))
    return found
