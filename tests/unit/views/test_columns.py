"""Column subsets: sizes by their law, contexts and targets apart, every column as often as any other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.columns import AsIs, column_subsets, draw_sizes, subset_sizes


@given(st.integers(4, 40), st.integers(0, 10), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_subsets_are_apart_and_of_one_size(columns: int, extra: int, sets: int, seed: int) -> None:
    context = 1 + extra % (columns - 2)
    target = columns - context
    seen, wanted = column_subsets(Draws(seed, torch.arange(6)), columns, context, target, sets)
    assert seen.shape == (6, context)
    assert wanted.shape == (6, sets, target)
    for row in range(6):
        inside = set(seen[row].tolist())
        assert len(inside) == context
        for one in wanted[row].tolist():
            assert len(set(one)) == target
            assert not inside & set(one)


def test_the_sets_of_a_row_differ() -> None:
    _, wanted = column_subsets(Draws(0, torch.arange(64)), 20, 4, 6, 4)
    ordered = wanted.sort(2).values
    same = [(ordered[:, one] == ordered[:, two]).all(1).float().mean() for one in range(4) for two in range(one)]
    assert max(same) < 0.1


def test_every_column_is_context_and_target_as_often_as_any_other() -> None:
    rows, columns, context, target = 20_000, 10, 3, 4
    seen, wanted = column_subsets(Draws(1, torch.arange(rows)), columns, context, target, 1)
    for chosen, size in ((seen, context), (wanted[:, 0], target)):
        share = torch.bincount(chosen.flatten(), minlength=columns) / rows
        sigma = math.sqrt(size / columns * (1 - size / columns) / rows)
        assert (share - size / columns).abs().max() < 4 * sigma


def test_a_row_draws_alone() -> None:
    whole = column_subsets(Draws(3, torch.arange(8)), 9, 2, 3, 2)
    part = column_subsets(Draws(3, torch.tensor([5, 1])), 9, 2, 3, 2)
    for one, all_of_them in zip(part, whole, strict=True):
        assert torch.equal(one, all_of_them[[5, 1]])


@given(st.integers(3, 60))
@settings(max_examples=40, deadline=None)
def test_sizes_follow_their_law(columns: int) -> None:
    context, target = (0.2, 0.5), (0.2, 0.8)
    law = subset_sizes(columns, context, target)
    assert sum(law.values()) == pytest.approx(1)
    for seen, wanted in law:
        assert round(columns * 0.2) <= seen <= round(columns * 0.5)
        assert round(columns * 0.2) <= wanted <= round(columns * 0.8)
        assert seen + wanted <= columns


def test_the_law_is_that_of_drawing_again_until_it_fits() -> None:
    draws = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0))
    seen, wanted = (2 + 3 * draws[:, 0]).round(), (2 + 7 * draws[:, 1]).round()
    fits = seen + wanted <= 10
    law = subset_sizes(10, (0.2, 0.5), (0.2, 0.9))
    for (first, second), chance in law.items():
        share = ((seen == first) & (wanted == second) & fits).sum() / fits.sum()
        assert share == pytest.approx(chance, abs=0.005)
    counts = dict.fromkeys(law, 0)
    for step in range(3000):
        counts[draw_sizes(law, Draws(0, torch.zeros(1, dtype=torch.int64), epoch=step))] += 1
    for pair, chance in law.items():
        assert abs(counts[pair] / 3000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 3000)


@pytest.mark.parametrize(
    ("columns", "context", "target", "expected"),
    [
        (3, (0.1, 0.5), (0.5, 0.9), "rounds to none"),
        (4, (0.7, 0.9), (0.7, 0.9), "too few"),
        (9, (0.5, 0.2), (0.1, 0.2), "must rise"),
        (9, (0.0, 0.2), (0.1, 0.2), "must rise"),
    ],
)
def test_sizes_that_never_fit_are_refused_at_once(
    columns: int, context: tuple[float, float], target: tuple[float, float], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        subset_sizes(columns, context, target)


def test_samples_as_they_are() -> None:
    x = torch.rand(3, 4)
    assert AsIs()(Batch(x, torch.arange(3)), Draws(0, torch.arange(3))).views[0] is x
