"""The headline is the smallest accuracy that anything in the audit found, on honest and on masked victims alike."""

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from victims import digits
from withstand.core.findings.finding import Finding
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.classifiers.breaks import Breaks

Mask: TypeAlias = Callable[[nn.Module], Callable[[Tensor], Tensor]]

EPS = 0.1
HEAD = "linf 25.5/255"
COUNT = 24


class Witness(nn.Module):
    """Remembers which samples it ever got wrong within the headline's ball, whoever asked."""

    def __init__(self, answer: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.answer, self.x, self.y = answer, x, y
        self.broken = torch.zeros(len(x), dtype=torch.bool)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.answer(x)
        with torch.no_grad():
            near = (x.detach()[:, None] - self.x[None]).abs().amax((2, 3, 4)) <= EPS * (1 - 1e-6)
            wrong = near & (logits.detach().argmax(1)[:, None] != self.y[None])
            self.broken |= wrong.any(0)
        return logits


def quantised(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net((x * 8).round() / 8)


def nearly_flat(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net((x * 4).round() / 4 + 0 * x)


def saturated(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x) * 1e4


def overflowing(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x) * 1e8


def randomised(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x + 0.1 * torch.randn_like(x))


def detached(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x.detach())


def partly_detached(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x.detach()) + 0 * x.sum((1, 2, 3))[:, None]


def outside_torch(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(torch.from_numpy((x.detach().numpy() * 31).round() / 31))


def one_hot(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: nn.functional.one_hot(net(x).argmax(1), 10).float()


def wrong_way(net: nn.Module) -> Callable[[Tensor], Tensor]:
    def answer(x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits.detach() - (logits - logits.detach())

    return answer


def watchful(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Answers as it did before, and as sure of it as can be, when a gradient is asked for."""

    def answer(x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits * 0 + torch.eye(10)[logits.argmax(1)] * 50 if x.requires_grad else logits

    return answer


def half_masked(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(torch.where((x.mean((1, 2, 3)) > 0.3).view(-1, 1, 1, 1), x, x.detach()))


def hashed(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Adds noise that hangs on the input: the same twice, and without a slope that means anything."""

    def answer(x: Tensor) -> Tensor:
        seeds = (x.detach().double().sum((1, 2, 3)) * 1e6).long() % 2**31
        noise = [torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        logits: Tensor = net(x + 0.2 * torch.stack(noise))
        return logits

    return answer


def brittle(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Is right on clean inputs, which lie on a grid, and wrong under any noise; its slopes are zero."""

    def answer(x: Tensor) -> Tensor:
        off = ((x.detach() * 16 - (x.detach() * 16).round()).abs() > 0.05).float().mean((1, 2, 3)) > 0.3
        logits: Tensor = net(x.detach()) + 0 * x.sum((1, 2, 3))[:, None]
        return torch.where(off[:, None], logits.roll(1, 1), logits)

    return answer


MASKS = (
    quantised, nearly_flat, saturated, overflowing, randomised, detached, partly_detached, outside_torch, one_hot,
    wrong_way, watchful, half_masked, hashed, brittle,
)  # fmt: skip


def audited(
    answer: Callable[[Tensor], Tensor], *, surrogate: bool = False, **changes: object
) -> tuple[Finding, Witness]:
    victim, x, y = digits()
    witness = Witness(answer, x[:COUNT], y[:COUNT])
    given = {"linf": (EPS / 2, 2 * EPS), "l2": (0.5,), "samples": COUNT, "steps": 5, "ensemble": "none", "prove": False}
    audit = RobustnessAudit(Ball("linf", EPS), **{**given, **changes})
    aids = Aids(surrogate=Victim(victim.model) if surrogate else None)
    return audit.evaluate(Victim(witness), ArraySource(x[:COUNT], y[:COUNT], layout="rows"), aids=aids), witness


def headline(found: Finding) -> float:
    names = [f"robust accuracy, {HEAD}", f"accuracy under black-box attacks alone, {HEAD}"]
    (value,) = (found.numbers[name] for name in names if name in found.numbers)
    return value


@pytest.mark.thorough
@pytest.mark.parametrize("mask", MASKS)
def test_no_masked_victim_is_believed_nor_better_than_what_broke_it(
    mask: Mask,
) -> None:
    found, witness = audited(mask(digits()[0].model), surrogate=True)
    assert not found.believable
    assert str(found.protocol["verdict"]).startswith("Not believable because "), found.protocol["verdict"]
    assert headline(found) <= found.numbers[f"accuracy under noise, {HEAD}"]
    assert headline(found) <= 1 - witness.broken.double().mean().item() + 1e-9


@pytest.mark.thorough
@pytest.mark.parametrize("mask", [quantised, wrong_way, None])
def test_with_autoattack_the_headline_is_what_was_found_too(
    mask: Mask | None,
) -> None:
    net = digits()[0].model
    found, witness = audited(net if mask is None else mask(net), ensemble="standard", search="plain", l2=())
    assert headline(found) <= 1 - witness.broken.double().mean().item() + 1e-9
    assert found.believable is (mask is None), found.protocol["verdict"]


NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
POINTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(NORMS), st.sampled_from((0.25, 0.5, 1.0, 4.0)), st.integers(0, 2**31)),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(POINTS)
def test_a_break_counts_in_every_ball_that_holds_it(points: list[tuple[int, Norm, float, int]]) -> None:
    x = torch.full((4, 6), 0.5, dtype=torch.float64)
    right = torch.tensor([True, True, True, False])
    radii: dict[Norm, tuple[float, ...]] = {"linf": (0.2, 0.4), "l2": (0.5, 0.9), "l1": (1.0, 2.0)}
    found, sizes = Breaks(x, right, radii), []
    for row, norm, eps, seed in points:
        generator = torch.Generator().manual_seed(seed)
        delta = Ball(norm, eps).project(torch.randn(1, 6, generator=generator, dtype=torch.float64))
        found.add(f"{norm} attack", Ball(norm, eps), torch.tensor([row]), x[[row]] + delta)
        size = {kind: float(Ball(kind).size(delta)) for kind in NORMS}
        for kind, grid in radii.items():  # a point on another ball's surface lies on either side by rounding
            assume(kind == norm or all(abs(size[kind] - radius) > 1e-9 for radius in grid))
        sizes.append((row, {**size, norm: min(size[norm], eps) if size[norm] < eps - 1e-9 else eps}))
    for norm, grid in radii.items():
        for eps in grid:
            expected = right.clone()
            for row, size in sizes:
                expected[row] &= size[norm] > eps
            assert torch.equal(found.holds(norm, eps), expected)
        newly = [found.newly(name, norm, eps) or 0.0 for name in found.names for eps in grid]
        lost = right.double().mean().item() - found.holds(norm, grid[-1]).double().mean().item()
        assert sum(newly) == pytest.approx(lost)


@cache
def honest() -> Finding:
    return audited(digits()[0].model, ensemble="standard")[0]


def newly(found: Finding, name: str, norm: str = "linf") -> dict[str, float | None]:
    """Return the shares that something newly broke, by the ball."""
    table = found.tables["which attack broke what"]
    shares = zip(table.column("ball"), table.column(f"newly broken by {name}"), strict=True)
    return {ball: share for ball, share in shares if ball.startswith(norm)}


def test_noise_and_a_surrogate_are_named_among_what_broke() -> None:
    net = digits()[0].model
    assert sum(share or 0 for share in newly(audited(brittle(net))[0], "noise").values()) > 0.5
    found, _ = audited(partly_detached(net), surrogate=True)
    carried = newly(found, "a surrogate's attack")
    assert set(carried) == {f"linf {eps * 255:.3g}/255" for eps in (EPS / 2, EPS, 2 * EPS)}
    assert all(share is not None for share in carried.values())
    assert sum(share or 0 for share in carried.values()) > 0.5
    assert newly(found, "a surrogate's attack", "l2") == {"l2 0.5": None}


def test_a_surrogates_attacks_count_at_every_radius_of_the_headlines_norm() -> None:
    found, _ = audited(partly_detached(digits()[0].model), surrogate=True)
    holds = [found.numbers[f"robust accuracy, linf {eps * 255:.3g}/255"] for eps in (EPS / 2, EPS, 2 * EPS)]
    assert found.numbers["clean accuracy"] > holds[0] > holds[1] > holds[2]


@pytest.mark.thorough
def test_the_headline_is_what_is_left_of_everything_that_was_found() -> None:
    net = digits()[0].model
    for mask in (brittle, partly_detached, half_masked, wrong_way):
        found, _ = audited(mask(net), surrogate=True)
        table = found.tables["which attack broke what"]
        lost = 0.0
        for row, ball in enumerate(table.column("ball")):
            if ball in (f"linf {EPS / 2 * 255:.3g}/255", HEAD):
                lost += sum(table.column(name)[row] or 0 for name in table.columns[2:])
        assert lost > 0
        assert headline(found) == pytest.approx(found.numbers["clean accuracy"] - lost)


def test_an_attack_in_another_norm_does_not_lower_this_norms_headline() -> None:
    net = digits()[0].model
    alone, beside = (audited(net, l2=radii)[0] for radii in ((), (3.0,)))
    assert beside.numbers["robust accuracy, l2 3"] == 0
    assert headline(alone) == headline(beside) > 0


@pytest.mark.thorough
def test_what_did_not_run_is_a_dash() -> None:
    found = honest()
    table = found.tables["which attack broke what"]
    for name in table.columns[2:]:
        for ball, share in zip(table.column("ball"), table.column(name), strict=True):
            if "APGD" in name and ball != HEAD:
                assert share is None
    assert all(0 <= share <= 1 for share in table.column("newly broken by noise") if share is not None)
    ran = found.protocol["attacks"]
    assert list(ran) == ["linf", "l2"]
    norms = {norm: ran[norm]["PGD, margin"]["init_args"]["ball"]["init_args"]["norm"] for norm in ran}
    assert norms == {"linf": "linf", "l2": "l2"}
    assert found.protocol["search"] == "plain"


@pytest.mark.parametrize(
    ("settings", "words"), [({"steps": 3}, "An upper bound by PGD-3, no more"), ({}, "Believable")]
)
def test_a_quick_look_is_a_bound_and_says_on_what_it_rests(settings: dict[str, object], words: str) -> None:
    ensemble = "none" if settings else "standard"
    found = audited(digits()[0].model, ensemble=ensemble, **settings)[0] if settings else honest()
    head = found.protocol["headline"]
    assert str(found.protocol["verdict"]).startswith(words)
    assert found.believable is (ensemble == "standard")
    assert head["samples"] == COUNT
    assert head["interval"][0] <= head["value"] <= head["interval"][1]
    assert head["access"] == "with gradients and outputs"
    assert head["standing"] == ("an upper bound by PGD-3" if settings else "believable")
    assert head["attack"] == ("PGD-3" if settings else "PGD-5 and AutoAttack (standard)")
    assert f"of {COUNT} samples hold within Linf 25.5/255 (95 % interval" in str(found.protocol["verdict"])


@pytest.mark.thorough
def test_the_fast_search_is_named() -> None:
    found, _ = audited(digits()[0].model, ensemble="standard", search="fast")
    assert "AutoAttack (standard, fast search)" in str(found.protocol["verdict"])
    assert found.protocol["search"] == "fast"
