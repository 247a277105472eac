"""A counterexample is an input of the ball that the model itself gets wrong, in its own precision; a tie is none."""

from dataclasses import replace
from importlib.util import find_spec
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.verification.certify import certify
from withstand.verification.dlv.families import Brightness
from withstand.verification.dlv.semantic import search_family
from withstand.verification.exact.question import Question
from withstand.verification.network.capture import capture
from withstand.verification.search.branch_and_bound import search
from withstand.verification.solvers import Certifier, certify_by
from withstand.verification.specification.property import TIE
from withstand.verification.specification.subject import Subject

METHODS = [method for method in get_args(Certifier) if method != "smt" or find_spec("z3")]


def tied(seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a classifier whose two logits are equal everywhere: its answer is class 0."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).to(dtype).eval()
    with torch.no_grad():
        net[2].weight[1] = net[2].weight[0]
        net[2].bias[1] = net[2].bias[0]
    return net


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tie_that_the_model_ranks_rightly_is_neither_broken_nor_proven(method: Certifier, dtype: torch.dtype) -> None:
    net, x = tied(0, dtype), torch.tensor([[0.3, 0.6]], dtype=dtype)
    found = certify_by(net, x, None, Ball("linf", 0.05), method=method, timeout=5)[0]
    assert found.status == "unknown"
    assert found.reason


@pytest.mark.parametrize("method", METHODS)
def test_a_tie_that_the_model_ranks_wrongly_is_broken_before_any_change(method: Certifier) -> None:
    net, x = tied(0), torch.tensor([[0.3, 0.6]])
    found = certify_by(net, x, torch.tensor([1]), Ball("linf", 0.05), method=method, timeout=5)[0]
    assert found.status == "unsafe"
    assert found.reason == "wrong before any change"


class Stepped(nn.Module):
    """Its logits are far apart in float64 on one side of a half, and a tie in float32 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([[1e-3, -1e-3]]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        # 1e5 swallows all of x in float32.
        return (x - 0.5) @ self.scale + 1e5


@pytest.mark.parametrize("method", METHODS)
def test_what_is_wrong_in_float64_alone_is_no_counterexample(method: Certifier) -> None:
    net, x = Stepped().eval(), torch.tensor([[0.52]])
    assert int(net(x).argmax()) == 0
    assert torch.equal(net(torch.zeros(1, 1)), torch.full((1, 2), 1e5))
    found = certify_by(net, x, None, Ball("linf", 0.1), method=method, timeout=3)[0]
    # At .42 class 1 wins in exact arithmetic: not safe. The model itself answers 0 all over: not unsafe.
    assert found.status == "unknown"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_shown_point_lies_in_the_ball_however_it_was_rounded(norm: Norm) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.rand(1, 20)
    for eps in (1e-7, 1e-3, 0.2):
        ball = Ball(norm, eps)
        subject = Subject.of(net, x, None, ball)
        points = x.double() + 3 * eps * torch.randn(50, 20, dtype=torch.float64)
        shown = subject.shown(points, ball, 0)
        assert shown.dtype == torch.float32
        away = (shown.double() - x.double()).abs()
        size = {"linf": away.amax(1), "l2": away.norm(dim=1), "l1": away.sum(1)}[norm]
        assert (size <= eps * (1 + 1e-12)).all()
        assert ((shown >= 0) & (shown <= 1)).all()
        if eps == 0.2:
            assert (size > 0.8 * eps).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_counterexample_replays_alone_and_lies_in_the_ball(norm: Norm) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    with torch.no_grad():
        net[2].bias.sub_(net(torch.rand(200, 6)).mean(0))  # all classes are met
    x = torch.rand(16, 6)
    y = net(x).argmax(1)
    ball = Ball(norm, {"linf": 0.15, "l2": 0.3, "l1": 0.5}[norm])
    subject, broken = Subject.of(net, x, y, ball), 0
    for row in range(len(x)):
        found = search(subject, ball, row, timeout=5)
        assert found.status in ("safe", "unsafe"), found
        if found.counterexample is None:
            continue
        broken += 1
        point = found.counterexample
        assert point.dtype == torch.float32
        assert int(net(point[None]).argmax()) != int(y[row])
        away = (point.double() - x[row].double()).abs()
        size = {"linf": away.max(), "l2": away.norm(), "l1": away.sum()}[norm]
        assert size <= ball.eps * (1 + 1e-12)
    assert 0 < broken < len(x)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_an_attacker_may_not_change_stays_as_it_is(norm: Norm) -> None:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        net[0].weight[:, :2] *= 20  # the entries that are fixed decide
        net[2].bias.sub_(net(torch.rand(200, 5)).mean(0))
    free = torch.tensor([False, False, True, True, True])
    x = torch.rand(12, 5)
    y = net(x).argmax(1)
    ball, statuses = Ball(norm, 0.3), set()
    for method in ("auto", "bab", *(["milp", "grid"] if norm == "linf" else [])):
        open_, held = (
            certify_by(Victim(net, changeable=mask), x, y, ball, method=method, timeout=3)  # type: ignore[arg-type]
            for mask in (None, free)
        )
        for row, (wide, narrow) in enumerate(zip(open_, held, strict=True)):
            assert narrow.status != "unsafe" or wide.status != "safe"
            if narrow.counterexample is not None:
                assert torch.equal(narrow.counterexample[:2], x[row, :2])
            statuses |= {(method, wide.status, narrow.status)}
    assert ("bab", "unsafe", "safe") in statuses


class WrongInBatches(nn.Module):
    """What libraries of linear algebra do by a rounding, in the large: a batch is answered otherwise than a sample."""

    def forward(self, x: Tensor) -> Tensor:
        tilt = 1e-3 if len(x) > 1 else 0.0
        return torch.stack([x[:, 0], x[:, 1] + tilt], 1)


def test_what_the_model_gets_wrong_in_a_batch_alone_is_not_wrong() -> None:
    net, x = WrongInBatches().eval(), torch.tensor([[0.5, 0.4999], [0.6, 0.2]])
    subject = Subject(Victim(net), None, x, torch.zeros(2, dtype=torch.long), torch.tensor([False, True]))  # type: ignore[arg-type]
    assert subject.answers(x).tolist() == [0, 0]
    assert not subject.breaks(x[:1], Ball("linf", 0.01), 0).any()
    verdicts = certify(nn.Flatten().eval(), x, torch.zeros(2, dtype=torch.long), Ball("linf", 1e-5))
    assert [verdict.status for verdict in verdicts] == ["safe", "safe"]


def test_a_proof_exceeds_what_the_models_own_rounding_was_seen_to_do() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    with torch.no_grad():
        net[0].weight.mul_(1e3)
        net[2].weight.mul_(1e2)
    x = torch.rand(5, 4)
    small = Subject.of(nn.Linear(4, 2).double().eval(), x.double(), None, Ball("linf", 0.01))
    large = Subject.of(net, x, None, Ball("linf", 0.01))
    assert small.tie == TIE
    assert large.tie > 1e-3
    point = x[:1].double()
    logits = large.network(point)[0]
    # A margin below the tie, exact as it is, proves nothing.
    bias = (logits[0] - logits[1]).item() - large.tie / 2
    with torch.no_grad():
        net[2].bias[1] += bias
    found = certify(net, x[:1], torch.tensor([0]), Ball("linf", 0.0), method="crown", attack=False)[0]
    assert found.status == "unknown"


def test_grids_of_changes_judge_by_the_models_ranking() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).mean(1, keepdim=True).expand(-1, 2)

    x = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    question = Question.wins(capture(Two().eval(), x[None]), 0 * x, 0 * x + 1, 0, model=Two().eval())
    assert search_family(question, x, Brightness(0.1), timeout=2, budget=50).status == "no_counterexample_on_grid"
    other = replace(question, label=1)
    assert search_family(other, x, Brightness(0.1), timeout=2, budget=50).status == "unsafe"
