"""Morlet wavelets and the Gaussian low-pass filter of scattering, in the Fourier domain, in float64.

Invariant Scattering Convolution Networks (2013); widths, frequencies and orientations are kymatio's.
sizes: J scales, L orientations, `sides` rows and columns of the periodic domain
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SIGMA, FREQUENCY = 0.8, 0.75 * math.pi
"""The finest wavelet's envelope in pixels, and its frequency in radians a pixel; both go by 2^j."""

REPEATS = 2
"""How often the domain is repeated on each side when a filter is made periodic."""


def morlet(sides: Sequence[int], *, sigma: float, angle: float, frequency: float, slant: float) -> Tensor:
    """Return a Morlet wavelet, real, and 0 at frequency 0.

    Args:
        sides: rows and columns of the domain.
        sigma: of the envelope along the wave, pixels.
        angle: of the wave, from the first axis.
        frequency: of the wave, radians a pixel.
        slant: sigma over the envelope's width across the wave.
    """
    envelope, wave = (_gabor(sides, sigma, angle, some, slant) for some in (0.0, frequency))
    return wave - wave[0, 0] / envelope[0, 0] * envelope


def morlet_bank(sides: Sequence[int], scale: int, orientations: int) -> Tensor:
    """Return the wavelets of scale j in all orientations, `(L, rows, columns)`."""
    first = max(0, (orientations - 2) // 2)
    places = range(first, first - orientations, -1)
    settings = {"sigma": SIGMA * 2**scale, "frequency": FREQUENCY / 2**scale, "slant": 4 / orientations}
    return torch.stack([morlet(sides, angle=place * math.pi / orientations, **settings) for place in places])


def low_pass(sides: Sequence[int], scales: int) -> Tensor:
    """Return the low-pass filter of J scales, 1 at frequency 0 but for rounding, `(rows, columns)`."""
    return _gabor(sides, SIGMA * 2 ** (scales - 1), 0.0, 0.0, 1.0)


def cropped(filters: Tensor, factor: int) -> Tensor:
    """Return filters for maps that were subsampled by `factor`: the low frequencies alone, `(..., rows, columns)`."""
    for axis in (-2, -1):
        side = filters.shape[axis]
        kept = torch.arange(side // factor)
        kept[side // (2 * factor) :] += side - side // factor
        filters = filters.index_select(axis, kept)
    return filters


def smoothing(line: Tensor, factor: int) -> Tensor:
    """Return the matrix that filters by `line`, subsamples, and leaves both ends out, `(n / factor - 2, n)`."""
    side = len(line)
    spread: Tensor = torch.fft.ifft(line)
    kernel = spread.real
    places = torch.arange(1, side // factor - 1) * factor
    return kernel[(places[:, None] - torch.arange(side)) % side]


def _gabor(sides: Sequence[int], sigma: float, angle: float, frequency: float, slant: float) -> Tensor:
    rows, columns = (torch.arange(-REPEATS * n, (REPEATS + 1) * n, dtype=torch.float64) for n in sides)
    along = rows[:, None] * math.cos(angle) + columns * math.sin(angle)
    across = columns * math.cos(angle) - rows[:, None] * math.sin(angle)
    envelope = torch.exp(-(along.square() + (slant * across).square()) / (2 * sigma**2))
    waves = envelope * torch.exp(1j * frequency * along) * (slant / (2 * math.pi * sigma**2))
    times = 2 * REPEATS + 1
    folded: Tensor = torch.fft.fft2(waves.view(times, sides[0], times, sides[1]).sum((0, 2)))
    return folded.real
