"""Heatmaps, and the losses of points and masks."""

import pytest
import torch

from withstand.core.errors import DataError
from withstand.losses.agreement.heatmaps import (
    confidence,
    expected,
    heatmap_loss,
    heatmaps,
    highest,
    mask_distance,
    mask_loss,
)


def test_points_come_back_within_half_a_pixel() -> None:
    points = torch.rand(50, 4, 2) * torch.tensor([29.0, 19.0])
    found = highest(heatmaps(points, 20, 30, 2.0))
    assert (found[:, :, :2] - points).abs().max() <= 0.5
    assert torch.equal(found[:, :, 2], torch.ones(50, 4))


def test_a_bump_is_the_gaussian_and_ends() -> None:
    (bump,) = heatmaps(torch.tensor([[[10.2, 7.0]]]), 16, 24, 1.5)[0]
    assert bump[7, 10] == 1
    assert bump[9, 11].item() == pytest.approx(torch.tensor(-(1 + 4) / (2 * 1.5**2)).exp().item())
    assert bump[7, 15] > 0
    assert bump[7, 16] == 0, "beyond 3 sigma and a pixel"


def test_points_outside_have_empty_maps() -> None:
    maps = heatmaps(torch.tensor([[[-0.6, 3.0], [3.0, 8.6], [7.4, 7.4]]]), 8, 8, 1.0)
    assert not maps[0, :2].any()
    assert maps[0, 2].max() == 1


def test_a_flat_map_tells_its_height() -> None:
    assert highest(torch.full((1, 1, 4, 5), 0.25)).tolist() == [[[0.0, 0.0, 0.25]]]


def test_the_soft_place_nears_the_highest_pixel() -> None:
    points = torch.tensor([[[11.0, 5.0], [2.0, 9.0]]])
    torch.testing.assert_close(expected(heatmaps(points, 12, 16, 1.0)), points, atol=0.05, rtol=0)


def test_soft_places_equal_kornias() -> None:
    kornia = pytest.importorskip("kornia.geometry.subpix")
    maps = torch.rand(2, 3, 7, 9)
    weights = kornia.spatial_softmax2d(maps, torch.tensor(0.2))
    other = kornia.spatial_expectation2d(weights, normalized_coordinates=False)
    torch.testing.assert_close(expected(maps, 5.0), other, atol=1e-4, rtol=0)


def test_huber_is_the_published_formula() -> None:
    z = torch.randn(4, 3, 5, 6) * 0.02
    formula = torch.where(z.abs() < 0.01, 0.5 * z**2, 0.01 * (z.abs() - 0.005)).mean((1, 2, 3))
    torch.testing.assert_close(heatmap_loss(z, torch.zeros_like(z)), formula)


def test_unknown_points_count_as_met() -> None:
    maps, wanted = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    known = torch.tensor([[True, False, True], [False, False, False]])
    loss = heatmap_loss(maps, wanted, known)
    assert loss[1] == 0
    each = torch.nn.functional.huber_loss(maps, wanted, reduction="none", delta=0.01).mean((2, 3))
    torch.testing.assert_close(loss[0], (each[0, 0] + each[0, 2]) / 3)


def test_masks_take_soft_truth_and_leave_out_what_is_not_known() -> None:
    logits, wanted = torch.randn(2, 4, 4), torch.rand(2, 4, 4)
    each = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), wanted, reduction="none")
    torch.testing.assert_close(mask_loss(logits, wanted), each.mean((1, 2)))
    wanted[:, :2] = -1
    torch.testing.assert_close(mask_loss(logits, wanted), each[:, 2:].sum((1, 2)) / 16)
    with pytest.raises(DataError, match="mask"):
        mask_loss(logits, wanted[:, 1:])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="heatmaps"):
        heatmap_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))


def test_confidence_is_1_at_agreement_and_falls_to_0() -> None:
    apart = torch.tensor([0.0, 0.5, 1.0, 200.0])
    sure = confidence(apart, 1.0)
    torch.testing.assert_close(sure, 2 * (1 - torch.sigmoid(apart)))
    assert sure[0] == 1
    assert (sure.diff() < 0).all()
    assert sure[-1] < 1e-6
    assert torch.equal(confidence(apart, 0.0), torch.ones(4))


def test_mask_distance_is_symmetric_and_0_for_the_same() -> None:
    one, two = torch.randn(3, 4, 4), torch.randn(3, 4, 4)
    assert torch.equal(mask_distance(one, two), mask_distance(two, one))
    assert not mask_distance(one, one).any()
