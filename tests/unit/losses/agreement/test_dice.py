"""Dice: closed forms of the loss and of the score."""

import pytest
import torch
from torch.nn.functional import one_hot

from withstand.core.errors import DataError
from withstand.losses.agreement.dice import dice_loss, dice_scores

MASK = torch.tensor([[[0, 1], [2, 1]], [[1, 1], [0, 2]]])


def test_a_perfect_saturated_guess_costs_nothing() -> None:
    logits = 200 * one_hot(MASK, 3).movedim(3, 1).double()
    assert float(dice_loss(logits, MASK)) == pytest.approx(0, abs=1e-9)


def test_a_uniform_guess_costs_what_the_formula_says() -> None:
    found = dice_loss(torch.zeros(2, 3, 2, 2, dtype=torch.float64), MASK)
    counts = one_hot(MASK, 3).sum((1, 2)).double()  # (2, 3)
    expected = 1 - (2 * counts / 3 / (4 / 3 + counts)).mean()
    assert float(found) == pytest.approx(float(expected))


def test_a_class_that_is_not_there_counts_as_0() -> None:
    empty = torch.zeros(1, 2, 2, dtype=torch.int64)
    logits = 500 * one_hot(empty, 2).movedim(3, 1).double()
    assert float(dice_loss(logits, empty)) == pytest.approx(0.5)
    assert float(dice_loss(logits, empty, background=False)) == pytest.approx(1)


def test_unknown_pixels_do_not_count() -> None:
    logits = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    masks = MASK.clone()
    masks[:, 1] = -1
    torch.testing.assert_close(dice_loss(logits, masks), dice_loss(logits[:, :, :1], MASK[:, :1]))


def test_scores_are_symmetric_and_a_class_that_neither_has_is_no_number() -> None:
    one, other = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 0, 1])
    found = dice_scores(one, other, 4)
    torch.testing.assert_close(found, dice_scores(other, one, 4), equal_nan=True)
    torch.testing.assert_close(found, torch.tensor([2 / 3, 0.5, 0, torch.nan], dtype=torch.float64), equal_nan=True)
    assert float(dice_scores(torch.tensor([1, 1]), torch.tensor([1, -1]), 2)[1]) == 1


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="must fit"):
        dice_loss(torch.zeros(2, 3, 4, 4), MASK)
    with pytest.raises(DataError, match="one shape"):
        dice_scores(MASK, MASK[:1], 3)
