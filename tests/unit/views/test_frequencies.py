"""High-pass filters: linear projections with a known centre, on even and odd sides."""

import pytest
import torch

from withstand.core.errors import ConfigError
from withstand.views.frequencies import high_pass, power, radii

SIDES = [(8, 8), (7, 9), (6, 5)]


def some(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_it_is_a_linear_projection_orthogonal_to_what_it_takes_away(height: int, width: int) -> None:
    x = some(height, width)
    high = high_pass(x, 2)
    torch.testing.assert_close(high_pass(high, 2), high)
    torch.testing.assert_close(high_pass(3 * x + x.flip(0), 2), 3 * high + high.flip(0))
    torch.testing.assert_close(x.square().sum(), high.square().sum() + (x - high).square().sum())


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_radius_0_keeps_all_1_takes_the_mean_and_a_large_one_takes_all(height: int, width: int) -> None:
    x = some(height, width)
    torch.testing.assert_close(high_pass(x, 0), x)
    torch.testing.assert_close(high_pass(x, 1), x - x.mean((-2, -1), keepdim=True))
    assert high_pass(x, (height**2 + width**2) ** 0.5).abs().max() < 1e-12


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_it_is_the_centred_mask_of_the_whole_spectrum(height: int, width: int) -> None:
    x, radius = some(height, width), 2.0
    rows, columns = (torch.arange(side) - side // 2 for side in (height, width))
    kept = torch.hypot(rows[:, None].double(), columns[None].double()) >= radius
    centred = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)) * kept
    wanted = torch.fft.ifft2(torch.fft.ifftshift(centred, dim=(-2, -1))).real
    torch.testing.assert_close(high_pass(x, radius), wanted)


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_power_is_centred(height: int, width: int) -> None:
    found = power(torch.ones(height, width))
    assert found.argmax() == height // 2 * width + width // 2
    assert radii(height, width)[0, 0] == 0


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(ConfigError, match="radius"):
        high_pass(torch.ones(4, 4), -1)
