"""A claim's verdict: by the paired interval of its effect, and nothing else."""

import pytest
from scipy.stats import ttest_rel

from withstand.core.finding import Finding, Table
from withstand.recipes.claim import Claim, judge, judged_again, paired_interval

OURS, THEIRS = (0.53, 0.61, 0.55, 0.58), (0.50, 0.55, 0.54, 0.52)


def claim(ours: tuple[float, ...] = OURS, theirs: tuple[float, ...] = THEIRS, **settings: float) -> Claim:
    return Claim("toy", "ours is better", "accuracy", ours, theirs, ("ours", "theirs"), **settings)


def test_the_interval_is_students_on_the_pairs() -> None:
    low, high = claim().interval
    theirs = ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high))
    same = claim((0.5, 0.5), (0.25, 0.25))
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
    found = claim((0.502, 0.508, 0.514), (0.5, 0.5, 0.5))
    assert found.effect == pytest.approx(0.008)
    assert found.verdict == "undecided"


def test_a_stored_claim_is_judged_by_its_seeds() -> None:
    rows = tuple((seed, *pair) for seed, pair in enumerate(zip((0.502, 0.508, 0.514), (0.5,) * 3, strict=True)))
    old = Finding(
        "claim-toy",
        {"accuracy, ours": 0.508, "effect": 0.008, "effect ±": 0.006},
        {"seeds": Table(("seed", "ours", "theirs"), rows)},
        protocol={"statement": "ours is better", "verdict": "reproduced"},
    )
    new = judged_again(old)
    assert new.protocol["verdict"] == "undecided"
    assert new.protocol["verdict by the spread over seeds"] == "reproduced"
    assert "effect ±" not in new.numbers
    assert (new.numbers["effect, 95 % low"], new.numbers["effect, 95 % high"]) == pytest.approx(
        paired_interval([0.002, 0.008, 0.014])
    )
    assert judged_again(new) == new
