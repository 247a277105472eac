"""The judge of purifiers: one that only hides gradients is called so, one that helps is told apart, numbers add up."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from guards import Shaken, detector
from victims import digits
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.defenses.adapter import TENT
from withstand.defenses.filters import MedianSmoothing, NoisyInput
from withstand.defenses.purifier import Purifier
from withstand.defenses.small import small_pictures, small_victim
from withstand.evaluation.defenses.purification import PROTOCOL, Purification

JUDGE = Purification(Ball("linf", 0.3), samples=60, steps=10, queries=30)
WHITE, GREY, BARE = (
    "white-box accuracy, linf 76.5/255",
    "grey-box accuracy, linf 76.5/255",
    "accuracy without the guard",
)


class Quantiser(nn.Module):
    """Rounds to few levels, and so hides its slopes without saying it."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 7).round() / 7


class Middle(nn.Module):
    """Forgets the entries that an attacker of the victim below uses."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], torch.full_like(x[:, 1:], 0.5)], 1)


class Leaning(nn.Module):
    """Two classes by the first entry, which is told apart by far, and by nine others, each of which can be moved."""

    def forward(self, x: Tensor) -> Tensor:
        score = 2 * (x[:, 0] - 0.5) + (x[:, 1:] - 0.5).sum(1)
        return torch.stack([-score, score], 1)


class Blind(nn.Module):
    """Makes every input the same, so that nothing is told apart and nothing can be attacked."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 0.9)


def rows() -> ArraySource:
    draws = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 2
    x = 0.5 + 0.02 * torch.randn(80, 10, generator=draws)
    x[:, 0] = 0.1 + 0.8 * y
    return ArraySource(x.clamp(0, 1), y)


@cache
def quantised() -> Finding:
    victim, x, y = digits()
    return JUDGE.evaluate(Purifier(victim, Quantiser()), ArraySource(x, y))


def check(finding: Finding, words: str) -> bool | None:
    (found,) = [one.passed for one in finding.checks if words in one.name]
    return found


def accuracy(finding: Finding, *words: str) -> float:
    (row,) = [row for row in finding.tables["attacks"].rows if all(any(w in str(c) for c in row) for w in words)]
    return float(str(row[3]))


def test_a_quantiser_that_only_hides_gradients_is_called_so() -> None:
    finding = quantised()
    clean = finding.figures["clean accuracy"].value
    assert accuracy(finding, "cross-entropy", "its own slopes") > 0.8 * clean
    assert accuracy(finding, "cross-entropy", "straight through") < 0.4 * clean
    assert "only hides gradients" in str(finding.protocol["verdict"])
    assert check(finding, "more than hide gradients") is False
    assert finding.headline == WHITE


def test_a_filter_that_takes_away_what_can_be_attacked_is_of_use() -> None:
    finding = Purification(Ball("linf", 0.2), samples=60, steps=10, queries=30).evaluate(
        Purifier(Victim(Leaning()), Middle()), rows()
    )
    figures = finding.numbers
    assert figures["white-box accuracy, linf 51/255"] == 1
    assert figures["accuracy without the guard, linf 51/255"] == 0
    assert "withstands more than the bare victim" in str(finding.protocol["verdict"])
    assert finding.believable


def test_a_filter_that_makes_all_inputs_the_same_withstands_nothing() -> None:
    judge = Purification(Ball("linf", 0.2), samples=60, steps=2, queries=5)
    finding = judge.evaluate(Purifier(Victim(Leaning()), Blind()), rows())
    assert finding.numbers["white-box accuracy, linf 51/255"] == finding.numbers["clean accuracy"] > 0.4
    assert finding.numbers["accuracy without the guard, linf 51/255"] == 0
    assert "not clearly more than one answer for all" in str(finding.protocol["verdict"])
    assert check(finding, "more than the bare victim") is not True
    assert check(finding, "clean accuracy is plausible") is False
    assert not finding.believable


def test_the_white_box_number_is_the_least_and_leads_the_verdict() -> None:
    victim, x, y = digits()
    source = ArraySource(x, y)
    for guard in (Purifier(victim, Quantiser()), MedianSmoothing(victim, 3), NoisyInput(victim, 0.1, samples=2)):
        finding = quantised() if type(guard) is Purifier else JUDGE.evaluate(guard, source)
        share = finding.figures[WHITE]
        assert all(share.value <= one.value for name, one in finding.figures.items() if BARE not in name)
        assert share.interval is not None
        assert share.of == 60
        assert str(finding.protocol["verdict"]).startswith(f"White-box accuracy {share.value:.1%}")
        assert all(float(str(row[3])) >= share.value for row in finding.tables["attacks"].rows)


def test_a_filter_that_does_nothing_is_worth_nothing_and_hides_nothing() -> None:
    victim, x, y = digits()
    finding = JUDGE.evaluate(Purifier(victim, nn.Identity()), ArraySource(x, y))
    assert finding.numbers[WHITE] <= finding.numbers[f"{BARE}, linf 76.5/255"]
    assert check(finding, "more than hide gradients") is True
    assert check(finding, "more than the bare victim") is not True
    assert finding.protocol["ways back"] == ["its own slopes"]


def test_pictures_show_what_the_victim_sees() -> None:
    pictures = quantised().pictures
    seen = pictures["as the victim sees it"] / 255
    assert seen.shape == pictures["clean"].shape
    assert abs(seen * 7 - (seen * 7).round()).max() < 0.02


def test_an_adapter_is_judged_on_inputs_that_belong_together() -> None:
    x = small_pictures()
    victim = small_victim()
    with victim.held(), torch.no_grad():
        y = victim.output(x).argmax(1)
    judge = Purification(Ball("linf", 0.05), samples=40, steps=3, queries=5)
    finding = judge.evaluate(TENT(victim, batch=40), ArraySource(x, y))
    assert finding.numbers["clean accuracy without the guard"] == 1
    assert finding.protocol["ways back"] == ["its own slopes"]
    assert set(PROTOCOL) < set(finding.protocol)


def test_what_cannot_be_judged_is_refused() -> None:
    victim, x, y = digits()
    guard = Purifier(victim, Quantiser())
    with pytest.raises(DataError, match="labels"):
        JUDGE.evaluate(guard, ArraySource(x))
    with pytest.raises(DataError, match="right on none"):
        JUDGE.evaluate(guard, ArraySource(x, (victim.output(x).argmax(1) + 1) % 10))
    scored = detector(
        victim=victim, encoder=nn.Flatten(), projector=None, labeller=nn.Linear(64, 10), view=Shaken(), rank=1
    )
    with pytest.raises(DataError, match="Detection"):
        JUDGE.evaluate(scored, ArraySource(x, y))
    for changes in ({"ball": Ball(eps=0)}, {"ball": Ball(targeted=True)}, {"samples": 0}, {"queries": 0}):
        with pytest.raises(ConfigError):
            Purification(**changes)  # type: ignore[arg-type]
