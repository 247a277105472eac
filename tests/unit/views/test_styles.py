"""Low-frequency amplitudes swapped: closed forms, and the plain formula with full, shifted spectra in NumPy."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.views.styles import amplitudes, low_frequencies, with_style

SIZES = [(8, 8), (9, 9), (8, 9), (9, 8), (12, 7), (1, 1), (2, 2)]
SHARES = [0.0, 1e-6, 0.02, 0.1, 0.31, 0.5, 0.99, 1.0]


def pictures(height: int = 9, width: int = 8, count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.rand(count, 3, height, width, dtype=torch.float64, generator=generator)


def by_formula(picture: NDArray[np.float64], style: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Swap one channel's amplitudes in a window round the center of the shifted spectrum."""
    height, width = picture.shape
    spectrum, other = np.fft.fft2(picture), np.fft.fft2(style)
    size, phase = np.abs(spectrum), np.angle(spectrum)
    if share:
        rows = np.abs(np.fft.fftfreq(height, 1 / height)) <= math.floor(math.sqrt(share) * height / 2)
        columns = np.abs(np.fft.fftfreq(width, 1 / width)) <= math.floor(math.sqrt(share) * width / 2)
        window = rows[:, None] & columns[None]
        size = np.where(window, np.abs(other), size)
    back = np.fft.ifft2(size * np.exp(1j * phase))
    assert np.abs(back.imag).max() < 1e-12, "a symmetric window keeps pictures real"
    return back.real


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_formula(size: tuple[int, int], share: float) -> None:
    x = pictures(*size)
    found = with_style(x, amplitudes(x[2]), share)
    for row, channel in np.ndindex(len(x), 3):
        wanted = by_formula(x[row, channel].numpy(), x[2, channel].numpy(), share)
        np.testing.assert_allclose(found[row, channel].numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_closed_forms(size: tuple[int, int]) -> None:
    x = pictures(*size)
    style = amplitudes(x[1])
    assert torch.equal(with_style(x, style, 0.0), x)
    for share in SHARES[1:]:
        found = with_style(x, style, share)
        torch.testing.assert_close(found[1], x[1])
        torch.testing.assert_close(found.mean((2, 3)), x[1].mean((1, 2)).expand(len(x), 3))
        torch.testing.assert_close(with_style(found, style, share), found)
        flat = torch.full_like(x, 0.3)
        torch.testing.assert_close(with_style(flat, amplitudes(torch.full_like(x[1], 0.8)), share), flat + 0.5)
        torch.testing.assert_close(with_style(x.flip(3), amplitudes(x[1].flip(2)), share), found.flip(3))
        rows, columns = low_frequencies(*size, share)
        outside = torch.ones_like(style, dtype=torch.bool)
        outside[:, list(rows), :columns] = False
        torch.testing.assert_close(amplitudes(found)[:, outside], amplitudes(x)[:, outside])
    torch.testing.assert_close(amplitudes(with_style(x, style, 1.0)), style.expand(len(x), *style.shape))


def test_what_was_given_stays_and_a_picture_hangs_on_no_other() -> None:
    x = pictures()
    before, style = x.clone(), amplitudes(x[0])
    found = with_style(x, style, 0.3)
    assert torch.equal(x, before)
    assert torch.equal(with_style(x[3:], style, 0.3), found[3:])


def test_a_channel_without_any_light_takes_the_amplitudes_at_phase_zero() -> None:
    x = pictures()
    x[0] = 0
    found = with_style(x, amplitudes(x[1]), 1.0)
    assert found.isfinite().all()
    torch.testing.assert_close(amplitudes(found[0]), amplitudes(x[1]))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\]"):
        with_style(pictures(), amplitudes(pictures()[0]), share)
