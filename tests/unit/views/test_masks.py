"""Masks hide exactly as many patches as they should, each picture's by itself."""

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.masks import block_masks, guided_masks, hidden_count, random_masks


def draws(count: int = 6, first: int = 0) -> Draws:
    return Draws(7, torch.arange(first, first + count), epoch=2)


def together(keep: Tensor, hidden: Tensor) -> Tensor:
    return torch.cat([keep, hidden], 1).sort(1).values


@pytest.mark.parametrize("patches", [2, 4, 10, 49, 64, 196])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.6, 0.75])
def test_counts_are_those_of_the_official_code(patches: int, ratio: float) -> None:
    expected = patches - int(patches * (1 - ratio))
    if expected == patches:
        with pytest.raises(ConfigError, match="would leave 0 of"):
            hidden_count(patches, ratio)
        return
    keep, hidden = random_masks(draws(), patches, ratio)
    assert hidden.shape == (6, expected)
    assert torch.equal(together(keep, hidden), torch.arange(patches).expand(6, -1))
    for hard in (0, 1, expected):
        keep, hidden = guided_masks(draws(), draws().uniform(patches), ratio, hard)
        assert hidden.shape == (6, expected)
        assert torch.equal(together(keep, hidden), torch.arange(patches).expand(6, -1))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_ratios_that_are_no_share_are_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="ratio"):
        hidden_count(16, ratio)


def test_masks_do_not_hang_on_the_company_in_the_batch() -> None:
    scores = draws(8).uniform(16)
    for hard in (0, 5):
        whole = guided_masks(draws(8), scores, 0.75, hard)
        half = guided_masks(draws(4, first=4), scores[4:], 0.75, hard)
        assert all(torch.equal(one[4:], other) for one, other in zip(whole, half, strict=True))


def test_pictures_have_masks_of_their_own_and_steps_too() -> None:
    keep, hidden = random_masks(draws(64), 16, 0.75)
    assert len(hidden.sort(1).values.unique(dim=0)) > 50
    other = random_masks(Draws(7, torch.arange(64), epoch=3), 16, 0.75)[0]
    assert not torch.equal(keep, other)


def test_every_patch_is_hidden_as_often_as_any_other() -> None:
    hidden = random_masks(draws(4000), 16, 0.75)[1]
    assert chisquare(hidden.flatten().bincount(minlength=16).numpy()).pvalue > 1e-4


def test_the_highest_scores_are_hidden_and_the_rest_by_chance() -> None:
    scores = torch.arange(16.0).flip(0).expand(4000, -1)  # patches 0, 1 and 2 are the hardest
    hidden = guided_masks(draws(4000), scores, 0.75, 3)[1]
    counts = hidden.flatten().bincount(minlength=16)
    assert counts[:3].tolist() == [4000] * 3
    assert counts[3:].sum() == 4000 * 9
    assert chisquare(counts[3:].numpy()).pvalue > 1e-4


def test_nothing_hard_is_random() -> None:
    scores = draws().uniform(16)
    for one, other in zip(guided_masks(draws(), scores, 0.75, 0), random_masks(draws(), 16, 0.75), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("hard", [-1, 13])
def test_more_hard_patches_than_hidden_ones_are_refused(hard: int) -> None:
    with pytest.raises(ConfigError, match=r"hard must lie in \[0, 12\]"):
        guided_masks(draws(), draws().uniform(16), 0.75, hard)


@pytest.mark.parametrize(("size", "align"), [((32, 32), 1), ((32, 32), 4), ((28, 56), 2), ((32, 32), 8)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_blocks_cover_what_is_asked_and_at_most_one_block_more(size: tuple[int, int], align: int, share: float) -> None:
    hidden = block_masks(draws(64), size, share, align=align)
    assert hidden.shape == (64, *size)
    covered = hidden.double().mean((1, 2))
    sides = [round((int(0.3 * side) - 1) / align) * align for side in size]
    assert (covered >= share).all()
    assert (covered <= share + sides[0] * sides[1] / (size[0] * size[1])).all()
    squares = hidden.view(64, size[0] // align, align, size[1] // align, align)
    assert torch.equal(squares.any(4).any(2), squares.all(4).all(2)), "whole squares"


def test_blocks_do_not_hang_on_the_company_in_the_batch_and_differ() -> None:
    whole = block_masks(draws(8), (32, 32), 0.5)
    assert torch.equal(block_masks(draws(4, first=4), (32, 32), 0.5), whole[4:])
    assert len(whole.flatten(1).unique(dim=0)) == 8
    shares = torch.linspace(0.1, 0.8, 8)
    mixed = block_masks(draws(8), (32, 32), shares)
    assert (mixed.float().mean((1, 2)) >= shares).all()
    assert torch.equal(block_masks(draws(4, first=4), (32, 32), shares[4:]), mixed[4:])


def test_first_blocks_have_the_laws_of_the_official_code() -> None:
    """A share of next to nothing is one block: its corner, and its sides where the border does not cut it."""
    hidden = block_masks(draws(20_000), (40, 40), 1e-6, align=4)
    rows = hidden.any(2).view(20_000, 10, 4).any(2)
    top, height = rows.int().argmax(1), rows.sum(1)
    assert chisquare(top.bincount(minlength=10)[:9].numpy()).pvalue > 1e-4
    assert top.max() == 8, "no corner lies in the last row"
    inner = height[top < 7]
    # sides of 4 to 11 pixels: 4 and 5 round to 1; 6, by halves to even, to 2, as 7 to 10 do; 11 to 3
    expected = torch.tensor([2, 5, 1]) / 8 * len(inner)
    assert chisquare(inner.bincount(minlength=4)[1:].numpy(), expected.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("align", [0, 3, 16])
def test_squares_that_do_not_fit_the_picture_are_refused(align: int) -> None:
    with pytest.raises(ConfigError, match=f"align must be at least 1, divide .* and be below 9, .* not {align}"):
        block_masks(draws(), (32, 32), 0.5, align=align)


def test_shares_that_no_blocks_cover_are_refused() -> None:
    """With squares of 8 in 32 pixels a block is one square, and none starts in the last row or column."""
    assert block_masks(draws(), (32, 32), 0.5625, align=8).float().mean() == 0.5625
    for share in (0.6, -0.1, float("nan")):
        with pytest.raises(ConfigError, match=r"share must lie in \[0, 0\.5625\]"):
            block_masks(draws(), (32, 32), share, align=8)
