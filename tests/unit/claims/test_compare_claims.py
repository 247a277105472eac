"""A claim's verdict: by the paired interval of its effect, and nothing else; how seeds are added until it decides."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import ttest_rel

from withstand.claims.protocol.claim import Budget, Claim
from withstand.claims.protocol.compare import Comparison, Seed, compare, judge, judged_again, paired_interval
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Finding, Measure, Table

OURS, THEIRS = (0.53, 0.61, 0.55, 0.58), (0.50, 0.55, 0.54, 0.52)
Figures = dict[str, float]


def claim(ours: Sequence[float] = OURS, theirs: Sequence[float] = THEIRS, **settings: object) -> Claim[float, Figures]:
    """Return a claim whose arms are its figures."""
    return Claim(
        statement="ours is better",
        quantity="accuracy",
        names=("ours", "theirs"),
        arms={"ours": lambda seed: ours[seed], "theirs": lambda seed: theirs[seed]},
        measure=lambda figure: {"accuracy": figure},
        figures=lambda found: (found["ours"]["accuracy"], found["theirs"]["accuracy"]),
        protocol=lambda arms, found: {"last": dict(arms), "seeds": len(found)},
        **settings,  # type: ignore[arg-type]
    )


def of(ours: Sequence[float], theirs: Sequence[float]) -> Comparison[float, Figures]:
    return compare(claim(ours, theirs), Budget(least=len(ours), most=len(ours)))


def test_the_interval_is_students_on_the_pairs() -> None:
    low, high = of(OURS, THEIRS).interval
    theirs = ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high))
    same = of((0.5, 0.5), (0.25, 0.25))
    assert same.interval == (0.25, 0.25)
    assert same.verdict == "reproduced"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.001, 0.2), "reproduced"),
        ((0.0, 0.2), "undecided"),
        ((-0.2, -0.001), "not reproduced at this scale"),
        ((-0.004, 0.004), "not reproduced at this scale"),
        ((-0.004, 0.006), "undecided"),
        ((-0.006, 0.004), "undecided"),
        ((-0.2, 0.0), "undecided"),
    ],
)
def test_what_an_interval_decides(interval: tuple[float, float], verdict: str) -> None:
    assert judge(interval, 0.005) == verdict


def test_a_small_effect_within_its_seeds_noise_is_no_reproduction() -> None:
    """0.008 ± 0.006 over three seeds, which once passed for one."""
    found = of((0.502, 0.508, 0.514), (0.5, 0.5, 0.5))
    assert found.finding("toy").figures["effect"].value == pytest.approx(0.008)
    assert found.verdict == "undecided"


NOISY = (0.9, 0.1, 0.9, 0.6, 0.6, 0.6, 0.6, 0.6)
"""Undecided against 0.3 until the sixth seed."""


def test_seeds_are_added_until_the_interval_decides_and_no_further() -> None:
    decided = next(count for count in range(2, 9) if paired_interval([one - 0.3 for one in NOISY[:count]])[0] > 0)
    assert 3 < decided < 8, "what the test is about"
    heard: list[int] = []
    found = compare(claim(NOISY, (0.3,) * 8), Budget(least=2, most=8), after=lambda now: heard.append(len(now.seeds)))
    assert len(found.seeds) == decided
    assert found.verdict == "reproduced"
    assert heard == list(range(1, decided + 1))


@pytest.mark.parametrize(
    ("budget", "count"),
    [
        (Budget(least=2, most=3), 3),
        (Budget(least=6, most=6), 6),
        (Budget(least=3, most=8, seconds=0.0), 3),
    ],
)
def test_what_is_not_decided_within_the_budget_stays_undecided(budget: Budget, count: int) -> None:
    found = compare(claim((0.9, 0.1) * 4, (0.3,) * 8), budget)
    assert len(found.seeds) == count
    assert found.verdict == "undecided"


def test_known_seeds_are_not_measured_again() -> None:
    asked: list[tuple[int, str]] = []
    known = [Seed({"ours": {"accuracy": 0.9}, "theirs": {"accuracy": 0.1}}, 1.0, 1.0)] * 2
    found = compare(claim(), Budget(least=3, most=3), known=known, begin=lambda seed, name: asked.append((seed, name)))
    assert asked == [(2, "ours"), (2, "theirs")]
    assert found.pairs == [(0.9, 0.1), (0.9, 0.1), (OURS[2], THEIRS[2])]
    assert len(compare(claim(), Budget(least=2, most=2), known=list(found.seeds)).seeds) == 2


@pytest.mark.parametrize(("least", "most"), [(1, 3), (0, 0), (4, 3)])
def test_a_budget_that_cannot_decide_is_refused(least: int, most: int) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        Budget(least=least, most=most)


def test_a_finding_shows_every_seed_and_the_interval() -> None:
    found = of(OURS, THEIRS).finding("toy")
    assert found.tables["seeds"].rows == tuple(
        (seed, *pair) for seed, pair in enumerate(zip(OURS, THEIRS, strict=True))
    )
    effect = found.figures["effect"]
    assert effect.interval == pytest.approx(paired_interval([a - b for a, b in zip(OURS, THEIRS, strict=True)]))
    assert (effect.of, effect.better, found.headline) == (4, "higher", "effect")
    assert found.protocol["last"] == {"ours": OURS[3], "theirs": THEIRS[3]}


def test_kept_and_new_seeds_are_alike() -> None:
    """A tuple comes back from a file as a list; tables must not tell which seeds were kept."""

    def tables(found: Sequence[Mapping[str, object]]) -> dict[str, Table]:
        assert all(isinstance(value, list) for arms in found for value in arms.values())
        return {}

    measured: Claim[float, object] = Claim(
        statement="s",
        quantity="q",
        names=("a", "b"),
        arms={"a": float, "b": float},
        measure=lambda value: (value, value),
        figures=lambda found: (1.0, 0.5),
        protocol=lambda arms, found: {},
        tables=tables,
    )
    compare(measured, Budget(least=2, most=2)).finding("toy")


def test_a_stored_claim_is_judged_by_its_seeds() -> None:
    rows = tuple((seed, *pair) for seed, pair in enumerate(zip((0.502, 0.508, 0.514), (0.5,) * 3, strict=True)))
    old = Finding(
        "claim-toy",
        {
            "accuracy, ours": Measure(0.508, "share", "higher"),
            "effect": Measure(0.008, "share", "higher", spread=0.006),
        },
        {"seeds": Table(("seed", "ours", "theirs"), rows)},
        protocol={"statement": "ours is better", "verdict": "reproduced"},
    )
    new = judged_again(old)
    assert new.protocol["verdict"] == "undecided"
    assert new.protocol["verdict by the spread over seeds"] == "reproduced"
    effect = new.figures["effect"]
    assert effect.spread is None
    assert effect.interval == pytest.approx(paired_interval([0.002, 0.008, 0.014]))
    assert judged_again(new) == new


@pytest.mark.thorough
def test_what_looking_after_each_seed_costs_is_as_told() -> None:
    """One claim in twelve is called reproduced where there is no effect, and one in forty by a single look."""
    draws = np.random.default_rng(0).normal(size=(1000, 10))

    def reproduced(looks: range) -> float:
        return float(np.mean([_first(row, looks) == "reproduced" for row in draws]))

    def _first(row: np.ndarray, looks: range) -> str:
        verdicts = (judge(paired_interval(row[:count].tolist()), 0.0) for count in looks)
        return next((verdict for verdict in verdicts if verdict != "undecided"), "undecided")

    assert reproduced(range(3, 11)) == pytest.approx(1 / 12, abs=0.025)
    assert reproduced(range(3, 4)) == pytest.approx(1 / 40, abs=0.015)
