"""An audit without labels is judged with the care of one with labels, and no check contradicts its own text."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from victims import digits
from withstand.attacks.paired import at_least, little, outdone, stronger
from withstand.core.findings.finding import Check, Finding
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.representation.collapse import collapse_check
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.encoders.nearest_code import by_code
from withstand.evaluation.robustness.encoders.shifts import Shifts

COUNT = 24
HEAD = "linf 25.5/255"
SHARE = f"share nearer to another sample under attack, {HEAD}"


def encoder() -> nn.Module:
    return digits()[0].model[:5]


def audited(model: Callable[[Tensor], Tensor], *, aids: Aids | None = None, **changes: object) -> Finding:
    given = {"linf": (0.05,), "l2": (), "samples": COUNT, "steps": 5, "ensemble": "none"}
    audit = RobustnessAudit(Ball("linf", 0.1), **{**given, **changes})
    return audit.evaluate(Victim(model), ArraySource(digits()[1][:COUNT], layout="rows"), aids=aids)


def checks(found: Finding) -> dict[str, Check]:
    return {check.name: check for check in found.checks}


@cache
def honest() -> Finding:
    return audited(encoder(), ensemble="standard")


@pytest.mark.thorough
def test_a_quick_look_is_a_lower_bound_and_autoattack_finds_what_it_misses() -> None:
    quick = audited(encoder())
    assert quick.protocol["headline"]["standing"] == "a lower bound by PGD-5"
    assert not quick.believable
    assert honest().believable, honest().protocol["verdict"]
    assert honest().numbers[SHARE] > 2 * quick.numbers[SHARE]
    assert str(honest().protocol["verdict"]).startswith("Believable: all 13 checks passed. At least ")
    shift = f"mean cosine shift under attack, {HEAD}"
    assert honest().numbers[shift] > quick.numbers[shift] > quick.numbers[f"mean cosine shift under noise, {HEAD}"]
    assert "APGD-100 (5 restarts)" in honest().protocol["attacks"]["linf"]


def test_what_is_called_nearer_to_another_is_so() -> None:
    victim, x = Victim(encoder()), digits()[1][:COUNT]
    with torch.no_grad():
        clean = victim.output(x)
        asked, own = by_code(victim, clean)
        logits = asked.output(x)
    assert torch.equal(logits.argmax(1), own)
    near = nn.functional.cosine_similarity(clean[:, None], clean[None], dim=2)
    torch.testing.assert_close(logits / logits.gather(1, own[:, None]), near, atol=1e-5, rtol=1e-4)


def test_twins_confuse_nobody() -> None:
    x = digits()[1][:6].repeat(2, 1, 1, 1)
    victim = Victim(encoder())
    with torch.no_grad():
        clean = victim.output(x)
    own = by_code(victim, clean)[1]
    assert torch.equal(own[:6], own[6:])
    shifts = Shifts(victim.output, x, {"linf": (0.1,)})
    shifts.add(Ball("linf", 0.1), x)
    assert shifts.confused("linf", 0.1).hits == 0
    assert by_code(Victim(lambda x: torch.ones(len(x), 4)), torch.ones(6, 4)) is None


def collapsed(x: Tensor) -> Tensor:
    codes: Tensor = encoder()(x)
    return 0.2 * codes + 10


def constant(x: Tensor) -> Tensor:
    return torch.ones(len(x), 5) + 0 * x.sum()


def quantised(x: Tensor) -> Tensor:
    codes: Tensor = encoder()((x * 8).round() / 8 + 0 * x)
    return codes


def detached(x: Tensor) -> Tensor:
    codes: Tensor = encoder()(x.detach())
    return codes


def random(x: Tensor) -> Tensor:
    codes: Tensor = encoder()(x + 0.05 * torch.randn_like(x))
    return codes


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (collapsed, "spread 0.0"),
        (constant, "spread 0 "),
        (quantised, "the gradient is zero on 100%"),
        (detached, "the victim gives no gradient"),
        (random, "two forward passes on the same inputs differ"),
    ],
)
def test_encoders_that_only_look_steady_are_not_believed(model: Callable[[Tensor], Tensor], reason: str) -> None:
    found = audited(model)
    assert not found.believable
    assert str(found.protocol["verdict"]).startswith("Not believable because ")
    assert reason in str(found.protocol["verdict"]), found.protocol["verdict"]


def test_noise_that_moves_farther_than_the_attack_is_no_weaker() -> None:
    check = checks(audited(quantised))["noise of the same size is weaker"]
    assert check.passed is False
    first, second = (float(words.split("moved by ")[1].split()[0]) for words in check.detail.split(", "))
    assert first > second  # and the text says so


def test_an_encoder_without_gradients_is_put_to_black_box_attacks() -> None:
    found = audited(detached, ensemble="standard")
    name = f"share nearer to another sample under black-box attacks alone, {HEAD}"
    assert found.numbers[name] > 0
    assert found.protocol["headline"]["access"] == "with outputs alone"
    assert found.protocol["headline"]["standing"] == "not believable"


def test_a_surrogate_is_used_where_there_are_no_labels() -> None:
    found = audited(detached, aids=Aids(surrogate=Victim(encoder())))
    assert checks(found)["attacks on another model are weaker"].passed is False
    assert found.numbers[f"mean cosine shift under black-box attacks alone, {HEAD}"] > 0.01


@pytest.mark.parametrize(("spread", "passed"), [(0.0193, False), (0.07, None), (0.3, True)])
def test_narrow_clouds(spread: float, passed: bool | None) -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = torch.randn(200, 32, generator=generator, dtype=torch.float64)
    check = collapse_check(cloud * spread + nn.functional.normalize(torch.ones(32), dim=0) * 32**0.5)
    assert check.passed is passed, check.detail


@pytest.mark.parametrize(
    ("spread", "directions", "passed"), [(0.0193, 32, None), (0.0193, 12, False), (0.003, 32, False), (0.3, 12, True)]
)
def test_a_very_narrow_cloud_has_not_collapsed_where_it_kept_the_directions_of_the_untrained(
    spread: float, directions: int, passed: bool | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = torch.randn(200, 32, generator=generator, dtype=torch.float64)
    kept = torch.cat([cloud[:, :directions], cloud[:, directions:] * 1e-3], 1) * (32 / directions) ** 0.5
    check = collapse_check(kept * spread + nn.functional.normalize(torch.ones(32), dim=0) * 32**0.5, control=cloud)
    assert check.passed is passed, check.detail


NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(NORMS), st.sampled_from((0.3, 0.9, 3.0)), st.integers(0, 2**31)), max_size=6))
def test_a_shift_counts_in_every_ball_that_holds_it(points: list[tuple[Norm, float, int]]) -> None:
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    radii: dict[Norm, tuple[float, ...]] = {"linf": (0.2, 0.4), "l2": (0.5, 0.9), "l1": (1.0, 2.0)}
    turn = torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, tried = Shifts(lambda x: x @ turn, x, radii), []
    for norm, eps, seed in points:
        delta = (
            Ball(norm, eps).sample(x, None)
            if False
            else torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
        )
        delta = Ball(norm, eps * 0.99).project(delta.double())
        assume(all((Ball(kind).size(delta) - r).abs().min() > 1e-9 for kind in NORMS for r in radii[kind]))
        found.add(Ball(norm, eps), x + delta)
        tried.append(delta)
    clean = nn.functional.normalize(x @ turn)
    for norm, grid in radii.items():
        for eps in grid:
            shift, confused = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.bool)
            for delta in tried:
                inside = Ball(norm).size(delta) <= eps
                near = nn.functional.normalize((x + delta) @ turn) @ clean.T
                shift = torch.where(inside, torch.maximum(shift, 1 - near.diagonal()), shift)
                confused |= inside & (near.argmax(1) != torch.arange(5))
            assert found.mean(norm, eps) == pytest.approx(shift.mean().item(), abs=1e-6)
            assert torch.equal(found.who(norm, eps), confused)


BOOLS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(deadline=None)
@given(BOOLS)
def test_comparisons_of_breaks_never_contradict_themselves(pairs: list[tuple[bool, bool]]) -> None:
    strong, weak = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    more, less = int(strong.sum()), int(weak.sum())
    if more == less:
        assert stronger(strong, weak) is None  # "17 % against 17 %" is no evidence
    if stronger(strong, weak):
        assert more > less
    if stronger(strong, weak) is False or outdone(strong, weak):
        assert less > more
    if not more and not less:
        assert at_least(strong, weak) is None
    flipped = strong.clone()
    flipped[0] = ~flipped[0]  # one sample alone takes no verdict from yes to no
    assert {stronger(strong, weak), stronger(flipped, weak)} != {True, False}


@settings(deadline=None)
@given(st.integers(1, 100))
def test_one_sample_is_little(count: int) -> None:
    assert little(0, count)
    assert little(1, count) or count < 10
    assert not little(count, count) or count < 2


DISTANCES = st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=2, max_size=30)


@settings(deadline=None, max_examples=40)
@given(DISTANCES)
def test_comparisons_of_distances_never_contradict_themselves(pairs: list[tuple[float, float]]) -> None:
    strong, weak = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    if stronger(strong, weak):
        assert strong.mean() > weak.mean()
    if outdone(strong, weak):
        assert weak.mean() > strong.mean()
    if strong.mean() <= weak.mean() and float(torch.stack([strong, weak]).max()) > 1e-6:
        assert stronger(strong, weak) is False  # ".0003 by noise, .000298 by the attack"
