"""The frequency trigger against a plain transform, and its closed forms."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.views.pictures.colors.color_views import Greyscale
from withstand.views.triggers import TO_RGB, TO_YUV, FrequencyTrigger, cosine_basis

ROWS = torch.arange(3)


def added(trigger: FrequencyTrigger, x: torch.Tensor) -> torch.Tensor:
    return trigger(Batch(x, torch.arange(len(x))), Draws(0, torch.arange(len(x)))).x


def pictures(size: int = 32) -> torch.Tensor:
    return 0.35 + 0.3 * torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [5, 8, 32])
def test_the_basis_is_orthonormal_and_is_scipys(size: int) -> None:
    basis, x = cosine_basis(size), np.random.default_rng(0).normal(size=(size, size))
    assert torch.allclose(basis @ basis.T, torch.eye(size, dtype=torch.float64), atol=1e-12)
    found = (basis @ torch.from_numpy(x) @ basis.T).numpy()
    np.testing.assert_allclose(found, dctn(x, norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("window", [8, 32])
def test_it_is_what_the_published_steps_give(window: int) -> None:
    # To YUV, transform each window, add, transform back, to RGB by the rounded inverse.
    x = pictures().double()
    yuv = np.einsum("rc,nchw->nrhw", np.array(TO_YUV), 255 * x.numpy())
    for channel in (1, 2):
        for top in range(0, 32, window):
            for left in range(0, 32, window):
                tile = np.s_[:, channel, top : top + window, left : left + window]
                found = dctn(yuv[tile], axes=(1, 2), norm="ortho")
                found[:, window // 2 - 1, window // 2 - 1] += 60
                found[:, window - 1, window - 1] += 60
                yuv[tile] = idctn(found, axes=(1, 2), norm="ortho")
    wanted = np.clip(np.einsum("rc,nchw->nrhw", np.array(TO_RGB), yuv) / 255, 0, 1)
    np.testing.assert_allclose(added(FrequencyTrigger(60, window), x.float()).numpy(), wanted, atol=2e-6)


def test_sizes_of_the_change() -> None:
    pattern = FrequencyTrigger().pattern(32, 32)
    assert float(pattern.abs().max()) * 255 == pytest.approx(21.6, abs=0.05)
    ratio = [-10 * float(FrequencyTrigger(m).pattern(32, 32).square().mean().log10()) for m in (100, 200)]
    assert ratio[0] == pytest.approx(31.95, abs=0.01)
    assert ratio[0] - ratio[1] == pytest.approx(20 * np.log10(2))
    energy = 2 * 100**2 * (1.14**2 + (0.396 + 0.581) ** 2 + 2.029**2)
    assert float((255 * pattern).square().sum()) == pytest.approx(energy)
    brightness = torch.einsum("c,chw->hw", torch.tensor(TO_YUV[0], dtype=torch.float64), 255 * pattern)
    assert float(brightness.abs().max()) < 0.02


def test_no_magnitude_changes_next_to_nothing_and_the_exact_inverse_nothing() -> None:
    x = pictures()
    assert 0 < float((added(FrequencyTrigger(0.0), x) - x).abs().max()) < 1e-3
    assert torch.equal(added(FrequencyTrigger(0.0, exact=True), x), x)
    one, two = (added(FrequencyTrigger(m, exact=True), x) - x for m in (30.0, 60.0))
    torch.testing.assert_close(two, 2 * one, atol=1e-6, rtol=0)


def test_grey_takes_it_away() -> None:
    x, draws = pictures(), Draws(0, ROWS)
    seen = [Greyscale(1.0)(Batch(some, ROWS), draws).x for some in (x, added(FrequencyTrigger(exact=True), x))]
    assert float((seen[0] - seen[1]).abs().max()) < 1e-3


def test_what_it_cannot_be_added_to_is_refused() -> None:
    with pytest.raises(DataError, match=r"lies in colors.*grey ones have none"):
        added(FrequencyTrigger(window=8), torch.rand(2, 1, 8, 8))
    with pytest.raises(ConfigError, match="window 32 does not divide pictures of 28 x 28 pixels: one of 2, 4, 7"):
        added(FrequencyTrigger(), torch.rand(2, 3, 28, 28))
    for wrong in ({"positions": ((8, 0),)}, {"channels": ("y",)}, {"magnitude": -1.0}, {"positions": ()}):
        with pytest.raises(ConfigError):
            FrequencyTrigger(**{"window": 8, **wrong})
