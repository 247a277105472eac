"""Every loop keeps the time it is given. The clock here goes by passes through the network, not by seconds."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unit.verification.random_networks import network
from withstand.core.threat import Ball
from withstand.verification.bounds import backward
from withstand.verification.bounds.alpha import Ascent
from withstand.verification.bounds.backward import Relaxed
from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.margins import METHODS
from withstand.verification.certify import certify
from withstand.verification.network.network import Network
from withstand.verification.prover import certified_radius
from withstand.verification.radius import proven_radii
from withstand.verification.search.falsify import falsify
from withstand.verification.search.input_split import search_inputs
from withstand.verification.search.intermediate_bounds import refine_bounds
from withstand.verification.search.relu_split import search_relus
from withstand.verification.solvers import certify_by
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property
from withstand.verification.specification.verdict import passed

BEYOND = 8
"""Passes that may be made once time is up: what is under way is ended, and each loop outside it looks at the clock."""


class Work:
    """A clock that goes on by one with each pass, forward or backward."""

    def __init__(self) -> None:
        self.passes = 0

    def __call__(self) -> float:
        return float(self.passes)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    clock = Work()
    back, values = backward._linear_function, Network.values

    def counted(*arguments: object) -> object:
        clock.passes += 1
        return back(*arguments)  # type: ignore[arg-type]

    def forward(self: Network, x: Tensor) -> list[Tensor]:
        clock.passes += 1
        return values(self, x)

    monkeypatch.setattr(backward, "_linear_function", counted)
    monkeypatch.setattr(Network, "values", forward)
    return clock


def hard(kind: str = "deep") -> tuple[Network, Region, Property]:
    """Return a question that a search needs many passes for."""
    net = network(kind, 2, outputs=4)
    x = torch.rand(1, *net.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    region = Region.box(x - 0.45, x + 0.45)
    middle = net((region.low + region.high) / 2)
    wanted = Property.margins(int(middle.argmax()), net.classes)
    tried = net(region.low + torch.rand(2000, *net.shape, dtype=torch.float64) * (region.high - region.low))
    # Just above what can be reached: not broken, and proven late or never.
    least = wanted.least(wanted.values(tried)).min()
    return net, region, Property(wanted.weight, wanted.offset - least + 0.02, wanted.group)


def hopeless() -> tuple[Network, Region, Property]:
    """Return a question that has no counterexample."""
    net, region, wanted = hard()
    return net, region, Property(wanted.weight, wanted.offset + 1e3, wanted.group)


def whole() -> Relaxed:
    """Return the relaxation of a question in float32."""
    net, region, _ = hard()
    return relax_network(net.to(torch.float32), region.to(torch.float32))


def stubborn(x: Tensor) -> Tensor:
    """Return outputs that no property of the tests calls broken."""
    return torch.full((len(x), 4), torch.nan)


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(40, 5)).eval()


X = torch.rand(4, 20, generator=torch.Generator().manual_seed(0))
SEARCHES: dict[str, Callable[[Work, float], object]] = {
    "relu splits": lambda work, limit: search_relus(*hard(), replay=stubborn, timeout=limit, clock=work),
    "relu splits, little memory": lambda work, limit: search_relus(
        *hard("residual"), replay=stubborn, timeout=limit, clock=work, memory=1
    ),
    "input splits": lambda work, limit: search_inputs(*hard(), replay=stubborn, timeout=limit, clock=work, batch=1),
    "boxes": lambda work, limit: refine_bounds(
        whole(), ascent=Ascent(steps=1000, patience=1000), seconds=limit, clock=work
    ),
    "falsify": lambda work, limit: falsify(*hopeless(), steps=10**6, late=passed(work, work() + limit)),
    **{
        f"certify, {method}": lambda work, limit, method=method: certify(
            model(), X, ball=Ball("linf", 0.14), method=method, timeout=limit / len(X), attack=False, memory=1,
            clock=work,
        )
        for method in ("auto", "bab", *METHODS[2:])
    },
    **{
        f"radius, {method}": lambda work, limit, method=method: certified_radius(
            model(), X, ball=Ball("linf", 0.2), method=method, steps=60, timeout=limit / len(X), memory=1, clock=work
        )
        for method in ("auto", *METHODS[1:])
    },
    "settle": lambda work, limit: certify_by(
        model(), X, ball=Ball("linf", 0.14), method="bab", timeout=limit / len(X), clock=work
    ),
    "radii, bab": lambda work, limit: proven_radii(
        model(), X, model()(X).argmax(1), Ball("linf", 0.12),
        certify(model(), X, ball=Ball("linf", 0.12), method="ibp", attack=False),
        most=0.24, method="bab", steps=60, timeout=limit / len(X), clock=work,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHES)
def test_a_limit_is_kept(name: str, work: Work) -> None:
    for limit in (16.0, 50.0):
        began = work.passes
        SEARCHES[name](work, limit)
        spent = work.passes - began
        assert limit / 2 < spent, "the limit is not what ended it: this test shows nothing"
        assert spent <= limit + BEYOND


def test_a_search_that_did_nothing_says_so() -> None:
    ticks = iter(range(10**6))
    for search in (search_relus, search_inputs):
        net, region, wanted = hopeless()
        verdict = search(net, region, Property(wanted.weight, wanted.offset - 2e3, wanted.group), replay=stubborn,
                         timeout=0.5, clock=lambda: float(next(ticks)))  # fmt: skip
        assert verdict.status == "unknown"
        assert verdict.steps == 0
        assert " 0 " not in verdict.reason
