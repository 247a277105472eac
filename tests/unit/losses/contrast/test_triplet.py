"""Triplets on the cosine: closed forms, and which negatives are taken."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.triplet import cosine_triplet


def rows(*angles: float) -> Tensor:
    radians = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], 1)


def mask(*places: int, of: int) -> Tensor:
    return torch.isin(torch.arange(of), torch.tensor(places))[None]


def test_it_is_0_where_negatives_are_far_and_the_margin_where_all_are_alike() -> None:
    keys = rows(0, 180)
    assert float(cosine_triplet(rows(0), keys, mask(0, of=2), mask(1, of=2))) == 0
    same = rows(0, 0)
    assert float(cosine_triplet(rows(0), same, mask(0, of=2), mask(1, of=2), margin=0.3)) == pytest.approx(0.3)
    assert float(cosine_triplet(rows(0), rows(180, 0), mask(0, of=2), mask(1, of=2))) == pytest.approx(2.5)


def test_lengths_do_not_matter_and_zeros_are_guarded() -> None:
    keys = rows(20, 60, 130)
    plain = cosine_triplet(rows(0), keys, mask(0, of=3), mask(1, 2, of=3))
    torch.testing.assert_close(cosine_triplet(9 * rows(0), 0.1 * keys, mask(0, of=3), mask(1, 2, of=3)), plain)
    zero = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    loss = cosine_triplet(zero, keys, mask(0, of=3), mask(1, 2, of=3))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5)
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())


def test_satisfied_triplets_have_no_gradient() -> None:
    anchor = rows(0).requires_grad_()
    cosine_triplet(anchor, rows(5, 180), mask(0, of=2), mask(1, of=2)).backward()
    assert anchor.grad is not None
    assert not anchor.grad.any()


def test_the_hardest_are_the_nearest_and_a_preference_chooses_others() -> None:
    keys = rows(30, 50, 40, 90)
    positive, negative = mask(0, of=4), mask(1, 2, 3, of=4)
    gap = {place: float(rows(0)[0] @ keys[place] - rows(0)[0] @ keys[0]) + 0.5 for place in (1, 2, 3)}
    hardest = cosine_triplet(rows(0), keys, positive, negative, count=1)
    assert float(hardest) == pytest.approx(gap[2])
    two = cosine_triplet(rows(0), keys, positive, negative, count=2)
    assert float(two) == pytest.approx((gap[1] + gap[2]) / 2)
    first = cosine_triplet(rows(0), keys, positive, negative, count=1, preference=torch.tensor([[9.0, 2.0, 1.0, 0.0]]))
    assert float(first) == pytest.approx(gap[1])
    every = cosine_triplet(rows(0), keys, positive, negative, count=9)
    assert float(every) == pytest.approx((gap[1] + gap[2] + max(0.0, gap[3])) / 3)


def test_anchors_without_pairs_or_negatives_are_left_out() -> None:
    keys = rows(30, 50)
    both = cosine_triplet(
        rows(0, 10), keys, torch.tensor([[True, False], [True, False]]), torch.tensor([[False, True], [False, False]])
    )
    torch.testing.assert_close(both, cosine_triplet(rows(0), keys, mask(0, of=2), mask(1, of=2)))
    none = torch.zeros(1, 2, dtype=torch.bool)
    assert float(cosine_triplet(rows(0), keys, none, none)) == 0


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="both positive and negative"):
        cosine_triplet(rows(0), rows(1, 2), mask(0, of=2), mask(0, of=2))
    with pytest.raises(ConfigError, match="margin"):
        cosine_triplet(rows(0), rows(1, 2), mask(0, of=2), mask(1, of=2), margin=0.0)
