"""Structural similarity as a loss: equal pictures, the measure of one scale, and pictures of any size."""

import pytest
import torch
from torch import Tensor

from withstand.evaluation.restoration.fidelity import ssim
from withstand.losses.restoration.structure import multi_scale_similarity


def pictures(side: int, seed: int) -> Tensor:
    return torch.rand(2, 3, side, side + 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [4, 8, 16, 48])
def test_equal_pictures_are_wholly_similar_and_others_less(side: int) -> None:
    one, other = pictures(side, 0), pictures(side, 1)
    assert torch.allclose(multi_scale_similarity(one, one), torch.ones((), dtype=torch.float64))
    assert multi_scale_similarity(one, other) < 0.9
    moved = one.clone().requires_grad_()
    (slope,) = torch.autograd.grad(multi_scale_similarity(moved, other), moved)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0


def test_one_scale_is_plain_similarity() -> None:
    one = pictures(24, 0)
    other = (one + 0.1 * pictures(24, 1)).clamp(0, 1)
    assert torch.allclose(multi_scale_similarity(other, one, 1), ssim(other * 255, one * 255).mean(), atol=1e-6)


@pytest.mark.parametrize(("side", "fit"), [(11, 1), (21, 1), (22, 2), (43, 2), (44, 3)])
def test_scales_end_where_the_window_of_11_fits_no_longer(side: int, fit: int) -> None:
    one, other = pictures(side, 0), pictures(side, 1)
    found = [multi_scale_similarity(one, other, scales) for scales in range(1, 6)]
    assert all(torch.equal(value, found[fit - 1]) for value in found[fit:])
    assert len({float(value) for value in found[:fit]}) == fit


def test_it_is_that_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.functional.image")
    one = pictures(192, 0)
    other = (one + 0.2 * pictures(192, 1)).clamp(0, 1)
    wanted = image.multiscale_structural_similarity_index_measure(
        other, one, data_range=1.0, reduction="elementwise_mean", normalize=None
    )
    assert torch.allclose(multi_scale_similarity(other, one), wanted, atol=1e-2)
