"""Styles of pictures as their low-frequency amplitudes, swapped in the Fourier domain (Yang and Soatto, FDA, 2020).

A picture's amplitudes at low frequencies hold its colors and its light, its phases what is where. Sizes: B pictures of
C channels, H x W pixels.
"""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError


def low_frequencies(height: int, width: int, share: float) -> tuple[tuple[int, ...], int]:
    """Return the rows of `rfft2` that a window of low frequencies holds, and how many of its first columns.

    The window is a rectangle round frequency 0 with sides of sqrt(share) of the spectrum's: row frequencies up to
    floor(sqrt(share) H / 2) on both sides, column frequencies up to floor(sqrt(share) W / 2), both inclusive. It is
    symmetric, so that changed spectra stay those of real pictures.

    Args:
        height: H.
        width: W.
        share: of the spectrum's area, in [0, 1]; 0 gives an empty window, anything above holds frequency 0.

    Raises:
        ConfigError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of low frequencies must lie in [0, 1], not {share!r}")
    if share == 0:
        return (), 0
    tall, wide = (int(share**0.5 * side / 2) for side in (height, width))
    rows = {row % height for row in range(-tall, tall + 1)}
    return tuple(sorted(rows)), min(wide, width // 2) + 1


def with_style(x: Tensor, amplitude: Tensor, share: float) -> Tensor:
    """Return pictures with the low-frequency amplitudes of another one, and phases of their own.

    A channel's mean becomes that of the style. Values may leave [0, 1]: they are not clamped, for means would change.

    Args:
        x: pictures `(B, C, H, W)`, floating, before any normalisation.
        amplitude: the style's, as `amplitudes` gives them, `(C, H, W // 2 + 1)`.
        share: of the spectrum's area that is replaced, in [0, 1]; at 0 pictures stay as they are.
    """
    height, width = x.shape[-2:]
    rows, columns = low_frequencies(height, width, share)
    if not columns:
        return x
    spectrum = torch.fft.rfft2(x)
    chosen = slice(None) if len(rows) == height else torch.tensor(rows, device=x.device)
    window = spectrum[..., chosen, :columns]
    wanted = amplitude[..., chosen, :columns]
    size = window.abs()
    # A frequency that a picture lacks has no phase: 0 stands for it, as `atan2(0, 0)` is.
    turned = torch.where(size > 0, window / size.clamp_min(torch.finfo(size.dtype).tiny), torch.ones_like(window))
    spectrum[..., chosen, :columns] = turned * wanted
    found: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return found


def amplitudes(x: Tensor) -> Tensor:
    """Return the amplitudes of pictures' real Fourier transforms, `(..., H, W // 2 + 1)` of `(..., H, W)`."""
    found: Tensor = torch.fft.rfft2(x).abs()
    return found
