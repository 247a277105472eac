"""Schedules: their endpoints, their course, and that they are functions of the step alone."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.errors import ConfigError
from withstand.engine.schedules import WSD, Constant, Infinite, WarmupCosine

BARLOW = WarmupCosine(warmup=10, final=0.001)


def test_barlow_twins_course() -> None:
    """As published: from 0 to the base rate over ten epochs, then half a cosine to a thousandth of it."""
    factors = [BARLOW.factor(step, 7, 100) for step in range(700)]
    assert factors[0] == 0.0
    assert factors[70] == 1.0
    assert factors[699] == pytest.approx(0.001, abs=1e-5)
    assert factors[35] == pytest.approx(0.5)
    for step in (100, 385, 650):  # q = (1 + cos(pi t / T)) / 2, lr = base q + 0.001 base (1 - q)
        q = 0.5 * (1 + math.cos(math.pi * (step - 70) / 630))
        assert factors[step] == pytest.approx(q + 0.001 * (1 - q), rel=1e-12)


@given(st.floats(0, 12), st.floats(0, 1), st.floats(0, 1), st.integers(1, 40), st.integers(1, 10))
def test_rises_and_then_falls(warmup: float, start: float, final: float, per_epoch: int, epochs: int) -> None:
    schedule = WarmupCosine(warmup=warmup, start=start, final=final)
    factors = [schedule.factor(step, per_epoch, epochs) for step in range(per_epoch * epochs + 3)]
    top = math.ceil(warmup * per_epoch)
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(a <= b + 1e-12 for a, b in pairwise(factors[:top]))
    assert all(a >= b - 1e-12 for a, b in pairwise(factors[top:]))
    if warmup * per_epoch < per_epoch * epochs - 1:
        assert factors[per_epoch * epochs] == pytest.approx(final)  # beyond the end it stays there


def test_without_warmup_it_begins_at_the_base_rate() -> None:
    assert WarmupCosine().factor(0, 10, 3) == 1.0
    assert Constant().factor(17, 10, 3) == 1.0


def test_warmup_longer_than_the_run_only_rises() -> None:
    factors = [WarmupCosine(warmup=10).factor(step, 4, 5) for step in range(20)]
    assert factors == [step / 40 for step in range(20)]


def test_the_rise_takes_a_share_of_the_run_at_most() -> None:
    bounded, plain = WarmupCosine(10, share=0.1), WarmupCosine(0.5)
    assert [bounded.factor(step, 4, 5) for step in range(20)] == [plain.factor(step, 4, 5) for step in range(20)]
    assert bounded.factor(400, 4, 1000) == WarmupCosine(10).factor(400, 4, 1000)
    with pytest.raises(ConfigError, match=r"share must lie in \[0, 1\]"):
        WarmupCosine(share=1.5)


@pytest.mark.parametrize("name", ["warmup", "start", "final"])
def test_negative_settings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        WarmupCosine(**{name: -1.0})


LONG = Infinite(warmup=2, cooldown=3, plateau=0.6, anneal=4, final=0.05)


@pytest.mark.parametrize("shape", ["cosine", "inverse-sqrt", "linear"])
def test_infinite_goes_from_phase_to_phase_without_a_jump(shape: Literal["cosine", "inverse-sqrt", "linear"]) -> None:
    schedule = replace(LONG, shape=shape)
    factors = [schedule.factor(step, 100, 20) for step in range(2001)]
    assert factors[0] == 0.0
    assert factors[200] == 1.0
    assert factors[500:1601] == [0.6] * 1101
    assert factors[2000] == pytest.approx(0.05, rel=1e-12)
    assert max(abs(b - a) for a, b in pairwise(factors)) < 0.05
    assert all(a >= b for a, b in pairwise(factors[200:]))
    fall = [math.log(b) - math.log(a) for a, b in pairwise(factors[1600:])]
    assert fall == pytest.approx([math.log(0.05 / 0.6) / 400] * 400, rel=1e-9), "log-linear"


def test_infinite_cools_down_as_the_papers_formulas_say() -> None:
    for shape, left in (
        ("cosine", lambda p: (1 + math.cos(math.pi * p)) / 2),
        ("linear", lambda p: 1 - p),
        ("inverse-sqrt", lambda p: 1 - (1 / math.sqrt(1 + 10 * p) - 1) / (1 / math.sqrt(11) - 1)),
    ):
        for step in (200, 260, 499):
            expected = 0.6 + 0.4 * left((step - 200) / 300)
            assert replace(LONG, shape=shape).factor(step, 100, 20) == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 1600), st.integers(20, 60))
def test_before_the_fall_infinite_does_not_hang_on_the_runs_length(step: int, epochs: int) -> None:
    assert LONG.factor(step, 100, epochs) == LONG.factor(step, 100, 20)
    assert replace(LONG, anneal=0.0).factor(step, 100, epochs) == LONG.factor(step, 100, 20)


@given(st.floats(0, 4), st.floats(0, 6), st.floats(0.1, 30), st.integers(1, 12), st.integers(1, 8))
def test_infinite_in_a_run_too_short_for_its_phases(
    warmup: float, cooldown: float, anneal: float, per_epoch: int, epochs: int
) -> None:
    schedule = Infinite(warmup, cooldown, 0.6, anneal, 0.05)
    total = per_epoch * epochs
    factors = [schedule.factor(step, per_epoch, epochs) for step in range(total + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    if total - max(warmup, epochs - anneal) * per_epoch >= 1:
        assert factors[-1] == pytest.approx(0.05)


def test_a_later_stage_stays_at_the_plateau() -> None:
    later = replace(LONG, warmup=0.0, cooldown=0.0)
    assert max(later.factor(step, 100, 20) for step in range(2001)) == 0.6


def test_wsd_rises_stays_and_falls() -> None:
    schedule = WSD(warmup=1, decay=2, final=0.1)
    factors = [schedule.factor(step, 50, 10) for step in range(501)]
    assert factors[0] == 0.0
    assert factors[50:401] == [1.0] * 351
    assert factors[450] == pytest.approx(0.55)
    assert factors[500] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"final": 0.0}, "never gets to 0"), ({"plateau": 0.01}, "final <= plateau"), ({"cooldown": -1.0}, "at least 0"),
     ({"shape": "cosin"}, "did you mean 'cosine'")],
)  # fmt: skip
def test_infinite_refuses_what_cannot_be(settings: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        replace(LONG, **settings)
