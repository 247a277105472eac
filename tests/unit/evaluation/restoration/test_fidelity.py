"""Closed forms of PSNR, SSIM and luma, the protocol's border, and torchmetrics as an oracle where it is there."""

import math

import pytest
import torch

from withstand.core.errors import DataError
from withstand.evaluation.restoration.fidelity import (
    gradient_energy,
    gradient_energy_ratio,
    luma,
    psnr,
    shaved,
    ssim,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_luma_runs_from_16_to_235_in_studio_range() -> None:
    for channels in (1, 3):
        assert luma(torch.zeros(1, channels, 2, 2)).unique().tolist() == [16.0]
        assert float(luma(torch.ones(1, channels, 2, 2))[0, 0, 0, 0]) == pytest.approx(235)
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    assert float(luma(green)) == pytest.approx(16 + 128.553)
    assert float(luma(green * 0.6 / 255)) == pytest.approx(16 + 128.553 / 255), "pictures are rounded to 8 bits first"
    with pytest.raises(DataError, match="1 or 3 channels, not 2"):
        luma(torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize("error", [0.25, 3.0, 100.0])
def test_psnr_of_a_constant_error(error: float) -> None:
    x = 100 * noise(2, 1, 5, 4)
    assert psnr(x + error, x).tolist() == pytest.approx([-20 * math.log10(error / 255)] * 2)


def test_psnr_of_one_step_and_of_equal_pictures() -> None:
    x = 200 * noise(1, 1, 4, 4)
    assert float(psnr(x + 1, x)) == pytest.approx(48.1308, abs=1e-4)
    assert math.isinf(float(psnr(x, x)))


def test_ssim_of_constants_has_a_closed_form() -> None:
    """Without any variance the second factor is 1."""
    one, other = torch.full((1, 1, 11, 11), 80.0), torch.full((1, 1, 11, 11), 120.0)
    c1 = (0.01 * 255) ** 2
    assert float(ssim(one, other)) == pytest.approx((2 * 80 * 120 + c1) / (80**2 + 120**2 + c1))
    x = 255 * noise(2, 3, 13, 16)
    assert ssim(x, x).tolist() == pytest.approx([1.0, 1.0])


def test_ssim_by_its_definition_at_one_place() -> None:
    x, true = 255 * noise(1, 1, 11, 11), 255 * noise(1, 1, 11, 11, seed=1)
    steps = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    mean, wanted = (window * x).sum(), (window * true).sum()
    spread, other = (window * (x - mean) ** 2).sum(), (window * (true - wanted) ** 2).sum()
    together = (window * (x - mean) * (true - wanted)).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mean * wanted + c1) * (2 * together + c2) / ((mean**2 + wanted**2 + c1) * (spread + other + c2))
    assert float(ssim(x, true)) == pytest.approx(float(expected), rel=1e-9)


def test_pictures_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(DataError, match="11 x 11 at least, not 10 x 30"):
        ssim(torch.zeros(1, 1, 10, 30), torch.zeros(1, 1, 10, 30))


def test_against_torchmetrics() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.image")
    x, true = 255 * noise(3, 1, 20, 17), 255 * noise(3, 1, 20, 17, seed=1)
    x = (x + 4 * true) / 5
    # Its mean is over reflected borders too: the window fits where its map is cut by half of it.
    _, places = metrics.structural_similarity_index_measure(
        x, true, data_range=255.0, reduction="none", return_full_image=True
    )
    theirs = places[..., 5:-5, 5:-5].flatten(1).mean(1)
    torch.testing.assert_close(ssim(x, true), theirs, rtol=1e-6, atol=1e-7)
    for one, other, found in zip(x, true, psnr(x, true), strict=True):
        decibels = metrics.peak_signal_noise_ratio(one, other, data_range=255.0)
        assert float(found) == pytest.approx(float(decibels), rel=1e-6)


def test_a_border_is_left_out_on_four_sides() -> None:
    x = torch.arange(48.0).view(1, 1, 6, 8)
    assert torch.equal(shaved(x, 2), x[:, :, 2:4, 2:6])
    assert torch.equal(shaved(x, 0), x)
    with pytest.raises(DataError, match="6 x 8 nothing is left without 3"):
        shaved(x, 3)


def test_gradient_energy_of_stripes_and_what_scaling_makes_of_it() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(4).expand(1, 1, 6, 8)
    assert float(gradient_energy(stripes)) == 1.0
    x = noise(2, 1, 6, 8)
    assert gradient_energy_ratio(3 * x, x).tolist() == pytest.approx([9.0, 9.0])
    assert bool(gradient_energy_ratio(x, torch.ones_like(x)).isnan().all()), "a flat picture has no ratio"
