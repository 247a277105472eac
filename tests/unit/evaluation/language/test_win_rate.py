"""Win rates: ties, intervals, what length alone wins, and a judge that leans to a place."""

import math

import pytest
import torch

from withstand.core.errors import DataError
from withstand.evaluation.language.win_rate import WinRate, length_controlled, preferred_by, preferred_by_judge
from withstand.evaluation.statistics.intervals import wilson


def test_ties_are_half_a_win_and_intervals_wilsons() -> None:
    rate = WinRate.of(torch.tensor([1, 1, 0, 0.5, 0.5]))
    assert (rate.wins, rate.ties, rate.count, rate.value) == (2, 2, 5, 0.6)
    assert WinRate(30, 0, 50).interval == pytest.approx(wilson(30, 50))
    assert WinRate(0, 0, 50).interval == pytest.approx(wilson(0, 50))
    for wrong in (torch.tensor([]), torch.tensor([0.3])):
        with pytest.raises(DataError):
            WinRate.of(wrong)


def test_scores_prefer() -> None:
    assert preferred_by(torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 2, 2])).tolist() == [0, 0.5, 1]


def test_a_judge_that_takes_the_first_prefers_neither() -> None:
    prompts, ours, theirs = ["p"] * 3, ["long answer", "a", "b"], ["no", "a", "longer"]
    first = preferred_by_judge(lambda prompt, one, two: 1.0, prompts, ours, theirs)
    assert first.tolist() == [0.5] * 3
    longest = preferred_by_judge(
        lambda prompt, one, two: 0.5 + (len(one) > len(two)) / 2 - (len(one) < len(two)) / 2, prompts, ours, theirs
    )
    assert longest.tolist() == [1, 0.5, 0]


def test_what_length_alone_wins_is_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    longer = torch.randn(4000, generator=generator) * 10 + 8
    deviation = float(longer.square().mean().sqrt())
    for intercept in (0.0, 0.7):
        chance = (intercept + 3 * (longer / deviation).tanh()).sigmoid()
        preferred = (torch.rand(4000, generator=generator) < chance).float()
        plain = WinRate.of(preferred).value
        found = length_controlled(preferred, longer)
        assert found == pytest.approx(1 / (1 + math.exp(-intercept)), abs=0.04)
        assert plain > found + 0.08


def test_where_lengths_say_nothing_the_plain_rate_stands() -> None:
    preferred = torch.tensor([1, 1, 1, 0.5, 0])
    assert length_controlled(preferred, torch.zeros(5)) == WinRate.of(preferred).value
    assert length_controlled(torch.ones(5), torch.arange(5)) == 1
    # Longer and shorter ones win alike.
    twice = torch.cat([preferred, preferred])
    assert length_controlled(twice, torch.tensor([3.0] * 5 + [-3.0] * 5)) == pytest.approx(0.7, abs=1e-6)


def test_preferences_that_length_alone_tells_give_a_finite_rate() -> None:
    longer = torch.tensor([1.0, 2, 3, -1, -2, -3])
    assert length_controlled((longer > 0).float(), longer) == pytest.approx(0.5, abs=1e-6)
    assert 0 <= length_controlled((longer > 0).float(), longer.abs()) <= 1
