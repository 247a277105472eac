"""PCK and the area under it, errors, IoU."""

import numpy as np
import pytest
import torch

from withstand.core.batch import MASK
from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource
from withstand.evaluation.dense.keypoints.drawing import HAND, skeletons
from withstand.evaluation.dense.keypoints.judge import AUC, IOU, SCORE, KeypointJudge, worst
from withstand.evaluation.dense.keypoints.scores import auc, distances, mask_iou, mean_error, pck
from withstand.methods.dense.c_gac import CGAC

NAN = float("nan")


@pytest.mark.parametrize("error", [0.0, 4.0, 13.0, 19.9])
def test_the_area_is_linear_in_one_error(error: float) -> None:
    assert auc(torch.full((3, 2), error, dtype=torch.float64), 20.0) == pytest.approx(1 - error / 20, abs=0.5 / 99)


def test_the_area_of_no_error_is_1_and_of_large_ones_0() -> None:
    assert auc(torch.zeros(4, 5, dtype=torch.float64), 20.0) == 1
    assert auc(torch.full((4, 5), 20.1, dtype=torch.float64), 20.0) == 0


def test_unknown_points_do_not_count() -> None:
    found, true = torch.zeros(2, 2, 2), torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[6.0, 8.0], [99.0, 99.0]]])
    apart = distances(found, true, torch.tensor([[True, True], [True, False]]))
    assert apart[0].tolist() == [5.0, 0.0]
    assert apart[1, 0] == 10
    assert apart[1, 1].isnan()
    assert mean_error(apart) == (7.5 + 0) / 2, "over pictures of each point, then over points"
    assert pck(apart, torch.tensor([0.0, 5.0, 10.0])).tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    with pytest.raises(DataError, match="points"):
        distances(found, true[:, :1], torch.ones(2, 1, dtype=torch.bool))


def test_iou_counts_every_picture() -> None:
    found, true = torch.zeros(4, 2, 2, dtype=torch.bool), torch.zeros(4, 2, 2, dtype=torch.long)
    found[0, 0], true[0, :, 0] = True, 1  # one of three
    found[1, 0, 0], true[1, 1, 1] = True, 1  # apart: counted, where the official mean leaves it out
    true[3] = -1
    score = mask_iou(found, true)
    assert score[:3].tolist() == [pytest.approx(1 / 3), 0.0, 1.0]
    assert score[3].isnan()


def test_iou_equals_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(0)
    found, true = (torch.rand(1, 9, 9, generator=generator) > 0.5 for _ in range(2))
    assert float(mask_iou(found, true.long())) == pytest.approx(
        float(functional.binary_jaccard_index(found.int(), true.int()))
    )


def test_the_worst_come_first_and_unknown_ones_not_at_all() -> None:
    apart = torch.tensor([[1.0, 2.0], [NAN, NAN], [9.0, NAN], [3.0, 3.0]])
    assert worst(apart, 10).tolist() == [2, 3, 0]


def test_a_hand_has_twenty_bones_that_join_all_points() -> None:
    assert len(HAND) == 20
    assert {point for bone in HAND for point in bone} == set(range(21))
    assert [bone for bone in HAND if bone[0] == 0] == [(0, 1), (0, 5), (0, 9), (0, 13), (0, 17)]
    assert all(other == one + 1 for one, other in HAND if one)


def test_points_are_drawn_where_they_are() -> None:
    grey = np.zeros((1, 16, 16, 1), np.uint8)
    drawn = skeletons(grey, torch.tensor([[[3.0, 12.0], [9.0, 1.0]]]), torch.tensor([[True, False]]))
    assert drawn.shape == (1, 160, 160, 3)
    assert drawn[0, 125, 35].any()
    assert not drawn[0, 15, 95].any(), "what is not known is not drawn"


def pictures(mask: torch.Tensor | None) -> PairedSource:
    x = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    beside = {"keypoints": torch.full((6, 2, 2), 3.0)}
    return PairedSource(ArraySource(x), beside if mask is None else beside | {MASK: mask})


def test_without_masks_points_alone_are_judged() -> None:
    method = CGAC.example().eval()
    for source in (pictures(None), pictures(torch.full((6, 8, 8), -1))):
        found = KeypointJudge(shown=2).evaluate(method, source)
        assert found.headline == AUC
        assert {SCORE, IOU}.isdisjoint(found.figures)
    whole = KeypointJudge(shown=2).evaluate(method, pictures(torch.ones(6, 8, 8, dtype=torch.long)))
    assert whole.numbers[SCORE] == pytest.approx((whole.numbers[AUC] + whole.numbers[IOU]) / 2)
    assert {len(strip) for strip in whole.pictures.values()} == {2}


def test_teachers_with_the_same_weights_are_noticed() -> None:
    method = CGAC.example().eval()
    judge, source = KeypointJudge(shown=2), pictures(None)
    assert judge.evaluate(method, source).checks[0].passed
    method.teachers[1].load_state_dict(method.teachers[0].state_dict())
    (check,) = judge.evaluate(method, source).checks
    assert not check.passed
    assert "same weights" in check.detail


def test_what_cannot_be_judged_is_said() -> None:
    method = CGAC.example()
    with pytest.raises(ConfigError, match="tells no points"):
        KeypointJudge().evaluate(torch.nn.Flatten(), pictures(None))
    with pytest.raises(DataError, match="no points"):
        KeypointJudge().evaluate(method, ArraySource(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)))
    with pytest.raises(ConfigError, match="most"):
        KeypointJudge(most=0.0)
