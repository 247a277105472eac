"""InfoNCE over named pairs, and its weighted group form, against plain formulas in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.explicit import group_info_nce, masked_info_nce
from withstand.losses.contrast.momentum_contrast import info_nce_across

TAU = 0.3


def rows(count: int, seed: int = 0, width: int = 5) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_masked_pairs_by_a_plain_loop() -> None:
    queries, keys = rows(6), rows(9, 1)
    kinds = torch.randint(0, 3, (6, 9), generator=torch.Generator().manual_seed(2))
    kinds[3] = 1  # an anchor without a positive is left out
    kinds[4] = 2  # one without a negative has nothing to lose
    positive, negative = kinds == 2, kinds == 1
    cosines = cosine_similarity(queries[:, None], keys[None], dim=2)
    each, together = [], []
    for i in range(6):
        similar = [math.exp(cosines[i, j] / TAU) for j in range(9)]
        far = sum(similar[j] for j in range(9) if kinds[i, j] == 1)
        near = [similar[j] for j in range(9) if kinds[i, j] == 2]
        if near:
            each.append(sum(-math.log(one / (one + far)) for one in near) / len(near))
            together.append(-math.log(sum(near) / (sum(near) + far)))
    for pairs, found in (("each", each), ("together", together)):
        loss = masked_info_nce(queries, keys, positive, negative, TAU, pairs=pairs)
        assert loss.item() == pytest.approx(sum(found) / len(found), rel=1e-12)


def test_the_diagonal_against_all_others_is_info_nce_in_one_direction() -> None:
    one, two = rows(7), rows(7, 1)
    own = torch.eye(7, dtype=torch.bool)
    expected = cross_entropy(normalize(one) @ normalize(two).T / TAU, torch.arange(7))
    torch.testing.assert_close(masked_info_nce(one, two, own, ~own, TAU), expected)
    assert masked_info_nce(two, one, own, ~own, TAU) != expected, "it is not symmetric"
    torch.testing.assert_close(masked_info_nce(one, two, own, ~own, TAU), info_nce_across(one, two, TAU))


def test_a_constant_offset_changes_nothing_and_another_is_taken_off_the_logits() -> None:
    one, two, own = rows(7), rows(7, 1), torch.eye(7, dtype=torch.bool)
    plain = masked_info_nce(one, two, own, ~own, TAU)
    torch.testing.assert_close(masked_info_nce(one, two, own, ~own, TAU, offset=torch.full((7,), -3.2)), plain)
    chances = torch.rand(7, generator=torch.Generator().manual_seed(3), dtype=torch.float64).log()
    expected = cross_entropy(normalize(one) @ normalize(two).T / TAU - chances, torch.arange(7))
    torch.testing.assert_close(masked_info_nce(one, two, own, ~own, TAU, offset=chances), expected)


def test_rows_that_are_all_alike_give_the_logarithm_of_their_number() -> None:
    one = torch.ones(6, 4, dtype=torch.float64)
    own = torch.eye(6, dtype=torch.bool)
    assert masked_info_nce(one, one, own, ~own, TAU).item() == pytest.approx(math.log(6))


def test_gradients_are_finite_where_anchors_lack_positives_or_negatives() -> None:
    queries = rows(3).requires_grad_()
    none = torch.zeros(3, 4, dtype=torch.bool)
    first = none.clone()
    first[0] = True
    for positive, negative in ((none, none), (first, none), (none, first)):
        loss = masked_info_nce(queries, rows(4, 1), positive, negative, TAU)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        (gradient,) = torch.autograd.grad(loss, queries)
        assert bool(gradient.isfinite().all())


def test_masks_that_do_not_fit_are_refused() -> None:
    own = torch.eye(3, dtype=torch.bool)
    with pytest.raises(DataError, match=r"masks must be bool \(3, 4\)"):
        masked_info_nce(rows(3), rows(4), own, ~own)
    for positive, negative in ((own[:2], ~own), (own, ~own[:2]), (own.int(), ~own), (own, (~own).int())):
        with pytest.raises(DataError, match=r"masks must be bool \(3, 3\)"):
            masked_info_nce(rows(3), rows(3), positive, negative)
    with pytest.raises(DataError, match="positive and negative"):
        masked_info_nce(rows(3), rows(3), own, own)
    with pytest.raises(ConfigError, match="pairs 'all' is unknown"):
        masked_info_nce(rows(3), rows(3), own, ~own, pairs="all")  # type: ignore[arg-type]


def test_group_form_by_a_plain_formula() -> None:
    anchors, positives, negatives = rows(6), rows(12, 1).view(2, 6, 5), rows(18, 2).view(3, 6, 5)
    near, far = torch.tensor([0.5, 1.0], dtype=torch.float64), torch.tensor([1.0, 0.2, 0.0], dtype=torch.float64)
    values = []
    for i in range(6):
        top = sum(near[p] * math.exp(cosine_similarity(anchors[i], positives[p, i], 0) / TAU) for p in range(2))
        rest = sum(far[n] * math.exp(cosine_similarity(anchors[i], negatives[n, i], 0) / TAU) for n in range(3))
        values.append(-math.log(top / (top + rest)))
    weights = {"positive_weights": near, "negative_weights": far}
    loss = group_info_nce(anchors, positives, negatives, TAU, **weights)
    assert loss.item() == pytest.approx(sum(values) / 6, rel=1e-12)
    scaled = {name: 7 * weight for name, weight in weights.items()}
    torch.testing.assert_close(group_info_nce(anchors, positives, negatives, TAU, **scaled), loss)
    torch.testing.assert_close(group_info_nce(3 * anchors, positives, 0.1 * negatives, TAU, **weights), loss)


def test_group_form_of_one_pair_is_a_logistic_loss_of_the_right_sign() -> None:
    anchor = rows(1).requires_grad_()
    positive, negative = rows(1, 1)[None].requires_grad_(), rows(1, 2)[None].requires_grad_()
    loss = group_info_nce(anchor, positive, negative, TAU)
    s_p, s_n = (cosine_similarity(anchor, one[0])[0] for one in (positive, negative))
    assert loss.item() == pytest.approx(math.log1p(((s_n - s_p) / TAU).exp().item()))
    for_anchor, for_positive, for_negative = torch.autograd.grad(loss, (anchor, positive, negative))
    assert (for_anchor * anchor).sum().item() == pytest.approx(0, abs=1e-12)
    # A step down the slope brings the positive nearer and takes the negative away.
    nearer, farther = positive - 1e-3 * for_positive, negative - 1e-3 * for_negative
    assert cosine_similarity(anchor, nearer[0]) > s_p
    assert cosine_similarity(anchor, farther[0]) < s_n
    assert group_info_nce(anchor, positive, positive, TAU).item() == pytest.approx(math.log(2))
    nothing = torch.zeros(1, dtype=torch.float64)
    assert group_info_nce(anchor, positive, negative, TAU, negative_weights=nothing).item() == pytest.approx(0)
    assert group_info_nce(anchor, positive, negative[:0], TAU).item() == pytest.approx(0)


def test_group_form_over_all_other_windows_is_info_nce_in_one_direction() -> None:
    one, two = rows(5), rows(5, 1)
    others = torch.stack([two.roll(-shift, 0) for shift in range(1, 5)])
    own = torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(group_info_nce(one, two[None], others, TAU), masked_info_nce(one, two, own, ~own, TAU))


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="positives"):
        group_info_nce(rows(3), rows(3), rows(3)[None])
    with pytest.raises(DataError, match="a positive for each"):
        group_info_nce(rows(3), rows(3)[None][:0], rows(3)[None])
    with pytest.raises(DataError, match="at least 0"):
        group_info_nce(rows(3), rows(3)[None], rows(3)[None], negative_weights=torch.tensor([-1.0]))
