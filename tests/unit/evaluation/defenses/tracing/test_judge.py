"""The judge of tracing: planted tracers are found, attackers who pool or strip are told apart, dead tracers named."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.defenses.tracing.adversaries import Evading, MeanCopy, Smoothed
from withstand.evaluation.defenses.tracing.attempts import BACK, BARE, ERRORS, ONE, POOLED, Attempt, attempt
from withstand.evaluation.defenses.tracing.cases import Made, attacks, made_on
from withstand.evaluation.defenses.tracing.evidence import Reference, every_copy
from withstand.evaluation.defenses.tracing.judge import AROUND, TRACED, TRANSFER, OriginTracing
from withstand.losses.robust.noise_sensitivity import noise_sensitive, sensitivity
from withstand.models.pictures.tracers import TracedCopies, Tracers, common_scale

COUNT, SIDE = 3, 12


@cache
def learnt() -> Tracers:
    """Tracers that learnt to react to noise, in float64, where rounding does not decide what they learn."""
    with isolated("c"):
        tracers = Tracers((1, SIDE, SIDE), 4, COUNT + 1, width=6).double()
        optimizer = torch.optim.Adam(tracers.parameters(), lr=0.02)
        for _ in range(100):
            x = torch.rand(32, 1, SIDE, SIDE, dtype=torch.float64)
            clean, noisy = tracers(torch.cat([x, x + 0.05 * torch.randn_like(x)])).chunk(2, 1)
            optimizer.zero_grad()
            torch.autograd.backward(noise_sensitive(sensitivity(clean, noisy), "difference").mean(1).sum())
            optimizer.step()
    return tracers.float()


def copies(alpha: float = 0.5) -> TracedCopies:
    """A linear classifier of four classes, three copies, and one that is kept back."""
    with isolated("judge"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 4))
    return TracedCopies(network, copy.deepcopy(learnt()), alpha, reserve=1).eval()


def source(count: int = 90) -> ArraySource:
    x = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    label = every_copy(copies(), x)[0]
    label[::10] = (label[::10] + 1) % 4  # errors
    return ArraySource(x.numpy(), label.numpy(), layout="NCHW")


JUDGE = OriginTracing(samples=20, calibrated=10, steps=3, adaptive=1, pooled=(4,), alphas=(0.2,), shown=2)
QUICK = OriginTracing(samples=6, calibrated=6, steps=2, adaptive=1, pooled=(), alphas=(), shown=2)


@pytest.mark.thorough
def test_what_is_found_is_told_with_its_controls() -> None:
    found = JUDGE.evaluate(copies(), source(), test=source())
    figure = found.figures[TRACED]
    assert found.headline == TRACED
    assert figure.chance == pytest.approx(1 / COUNT)
    assert figure.value > found.numbers[f"{TRACED}, untrained tracers"]
    assert figure.interval is not None
    assert figure.value > 0.45, "they point at the copy"
    assert found.figures["traced from 4 examples"].value >= figure.value - 0.1
    assert 0 <= found.numbers[AROUND] <= 1
    told = dict(zip(found.tables["attackers"].column("examples made on"), found.tables["attackers"].rows, strict=True))
    assert {ONE, POOLED, BARE, BACK, ERRORS} <= told.keys()
    assert told[BARE][2] is None, "no copy had a part in it"
    assert found.tables["candidates"].column("candidates") == (2, 3)
    assert found.tables["alpha"].column("alpha") == (0.2, 0.5)
    assert "attackers who know" in {check.name for check in found.checks}
    assert {"original", "made on copy 0", "change on copy 1, 8 times"} <= set(found.pictures)
    assert "no proof" in str(found.protocol["what it means"])


def test_copies_without_weight_trace_nothing_and_name_nobody() -> None:
    found = QUICK.evaluate(copies(alpha=0.0), source())
    assert found.figures[TRANSFER].value == 1
    table = found.tables["attackers"]
    assert set(table.column("named rightly")) <= {0.0, None}
    assert set(table.column("source unknown")) == {1.0}


def test_a_dead_tracer_is_named() -> None:
    dead = copies()
    with torch.no_grad():
        dead.tracers.head_weight[1] = 0
    checks = {check.name: check for check in QUICK.evaluate(dead, source()).checks}
    assert checks["tracers react"].passed is False
    assert "tracers 1 say" in checks["tracers react"].detail


def test_other_shapes_are_refused() -> None:
    other = ArraySource(torch.rand(9, 1, 5, 5).numpy(), layout="NCHW")
    with pytest.raises(ConfigError, match=r"\(1, 12, 12\)"):
        JUDGE.evaluate(copies(), other)
    for settings, name in (
        ({"samples": 1}, "samples"), ({"pooled": (1,)}, "pooled"), ({"alphas": (0.0,)}, "alphas"),
        ({"level": 1.0}, "level"), ({"noise": -1.0}, "noise"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=name):
            OriginTracing(**settings)


def pictures(count: int = 12) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


def test_adaptive_attackers_say_what_the_copy_says_and_go_by_other_slopes() -> None:
    all_of_them, x = copies(), pictures().requires_grad_()
    own = all_of_them.copy(0)
    pairs: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
        (Evading(own, 0.5), lambda x: common_scale(own.classifier(x)) - 0.5 * own.tracer(x)[0]),
        (Smoothed(own, 2, 1e-9), own),
    ]
    for network, guide in pairs:
        torch.testing.assert_close(network(x), own(x))
        slope, wanted = (torch.autograd.grad(one(x)[:, 1].sum(), x)[0] for one in (network, guide))
        torch.testing.assert_close(slope, wanted, atol=1e-4, rtol=1e-3)
    pooled = MeanCopy([own, all_of_them.copy(2)])
    torch.testing.assert_close(pooled(x), all_of_them(x)[[0, 2]].mean(0))


def test_examples_are_those_that_fool_the_network_attacked() -> None:
    all_of_them, x = copies(), pictures()
    right = every_copy(all_of_them, x)[0]
    own = all_of_them.copy(1)
    made = made_on(own, x, right, attacks(steps=4), 0)
    with torch.no_grad():
        assert (own(made.x).argmax(1) != made.right).all()
        assert made.tried == int((own(x).argmax(1) == right).sum())
    assert torch.equal(made.right, right[made.rows])
    assert float((made.x - x[made.rows]).abs().max()) <= 32 / 255 + 1e-6
    assert not len(made_on(own, x, own(x).argmin(1), attacks(steps=1), 0).x), "what it misreads anyway is left out"


def test_parts_and_transfers_are_counted_by_hand() -> None:
    made = Made(torch.zeros(2, 1, SIDE, SIDE), torch.zeros(2), torch.arange(2), 2)
    found = Attempt(
        (made, made),
        ((0, 1), ()),
        score=torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [1.0, 0.0, 0.0]]),
        source=torch.tensor([0, 0, 1]),
        fooled=torch.tensor([[True, True, False], [True, False, True], [False, True, True]]),
    )
    assert found.right.tolist() == [True, False, False]
    assert found.parts.tolist() == [[True, True, False], [True, True, False], [False, False, False]]
    assert found.transferred.tolist() == [False, True, False, True, True]
    assert found.tried == 4


def test_colluders_are_a_pair_and_reserves_are_nobody() -> None:
    all_of_them, x = copies(), pictures()
    label, _, told = every_copy(all_of_them, x)
    reference = Reference.of(told, label)
    assert attempt(all_of_them, reference, x, POOLED, steps=2).members == ((0, 1), (1, 2), (2, 0))
    assert attempt(all_of_them, reference, x, POOLED, most=1, steps=2).members == ((0, 1),)
    assert attempt(all_of_them, reference, x, BACK, steps=2).members == ((),)
    assert attempt(all_of_them, reference, x, BARE, steps=2).members == ((),)
