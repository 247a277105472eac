"""No number in a proof is of another precision than the proof: literals without a type are of torch's default."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unit.verification.random_networks import KINDS, network
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.curved import curved, retouched
from withstand.verification.bounds.forward import relax_forward
from withstand.verification.bounds.margins import METHODS, bound, least_margin, margin_weights
from withstand.verification.bounds.relaxation import relu
from withstand.verification.bounds.rounding import gamma
from withstand.verification.network.activation import Curve, ReLU, Sigmoid, Tanh
from withstand.verification.network.curves import ELU, GELU, Erf, GELUTanh, SiLU, Softplus
from withstand.verification.network.network import sequential
from withstand.verification.network.operation import Linear
from withstand.verification.network.powers import Exp, Square
from withstand.verification.prover import certified_radius
from withstand.verification.search.input_split import search_inputs
from withstand.verification.search.relu_split import search_relus
from withstand.verification.solvers import certify_by
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(kept)


def same_in_every_default(run: Callable[[], list[Tensor]]) -> None:
    with default_dtype(torch.float64):
        wanted = run()
    for dtype in (torch.float32, torch.float16):
        with default_dtype(dtype):
            found = run()
        for value, other in zip(found, wanted, strict=True):
            assert torch.equal(value, other), dtype


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_hang_on_no_default_type(kind: str, dtype: torch.dtype) -> None:
    net = network(kind, 3).to(dtype)
    x = torch.rand(2, *net.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = margin_weights(torch.tensor([0, 2]), 4)

    def run() -> list[Tensor]:
        found = []
        for norm in ("linf", "l2", "l1"):
            region = Region.around(x, Ball(norm, 0.2))  # type: ignore[arg-type]
            found += [bound(net, region, weight, method) for method in METHODS]
            relaxed = relax_forward(net, region.to(dtype))
            found += [value for box in relaxed.boxes for value in (box.low, box.high)]
        return found

    same_in_every_default(run)


@pytest.mark.parametrize("kind", ["dense", "leaky", "deep"])
def test_searches_hang_on_no_default_type(kind: str) -> None:
    net = network(kind, 4)
    x = torch.rand(1, *net.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    region = Region.box((x - 0.1).clamp_min(0), (x + 0.1).clamp_max(1))
    wanted = Property.margins(int(net(x).argmax()), net.classes)

    def run() -> list[Tensor]:
        found = [search(net, region, wanted, timeout=60) for search in (search_inputs, search_relus)]
        assert all(verdict.status != "unknown" for verdict in found)
        return [
            torch.tensor([verdict.margin, verdict.steps], dtype=torch.float64)
            if verdict.counterexample is None
            else verdict.counterexample
            for verdict in found
        ]

    same_in_every_default(run)


@pytest.mark.parametrize("method", ["auto", "bab", "milp", "grid", "smt"])
def test_verdicts_and_radii_hang_on_no_default_type(method: str) -> None:
    if method == "smt" and not find_spec("z3"):
        pytest.skip("z3 is not installed")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.3), nn.Linear(6, 3)).double().eval()
    x = torch.rand(6, 3, dtype=torch.float64)
    with torch.no_grad():
        net[2].bias.sub_(net(x).mean(0))
    victim = Victim(net, normalize=((0.3,), (0.7,)))

    def run() -> list[Tensor]:
        verdicts = certify_by(victim, x, None, Ball("linf", 0.07), method=method, timeout=30)  # type: ignore[arg-type]
        said = torch.tensor([["safe", "unsafe", "unknown"].index(verdict.status) for verdict in verdicts])
        margins = torch.tensor([verdict.margin for verdict in verdicts], dtype=torch.float64)
        points = [verdict.counterexample for verdict in verdicts if verdict.counterexample is not None]
        return [said, margins, *points, certified_radius(victim, x, None, Ball("l2", 0.5))]

    same_in_every_default(run)


CURVES = (Sigmoid(), Tanh(), Erf(), Softplus(), ELU(), SiLU(), GELU(), GELUTanh(), Square(), Exp())


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: type(curve).__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lines_of_curves_hang_on_no_default_type(curve: Curve, dtype: torch.dtype) -> None:
    ends = 30 * torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = ends.amin(0).to(dtype), ends.amax(0).to(dtype)

    def run() -> list[Tensor]:
        lines = curved(curve, low, high)
        again = retouched(curve, low, high, lines, (low.double() + 0.1, high.double() - 0.3))
        found = [*curve.span((low, high))]
        for one in (lines, again):
            assert one.low_shift is not None
            found += [one.low_slope, one.low_shift, one.high_slope, one.high_shift]
        return found

    same_in_every_default(run)


def test_numbers_beyond_float32_prove_nothing_there() -> None:
    layers = [(1e20, -0.5e20), (1e20, 0.0), (1e-20, 0.0)]
    steep, wide, narrow = (
        Linear(weight=torch.tensor([[w]], dtype=torch.float64), bias=torch.tensor([b], dtype=torch.float64))
        for w, b in layers
    )
    last = Linear(
        weight=torch.tensor([[0.0], [1e-19]], dtype=torch.float64), bias=torch.tensor([1.0, 0.0], dtype=torch.float64)
    )
    net = sequential((1,), [steep, wide, ReLU(), narrow, last])  # class 1 wins above .6
    x = torch.tensor([[0.45]], dtype=torch.float64)
    assert net(x).argmax() == 0
    assert net(x + 0.2).argmax() == 1
    weight = margin_weights(torch.tensor([0]), 2)
    for method in METHODS:
        region = Region.around(x, Ball("linf", 0.2))
        assert not bool(bound(net.to(torch.float32), region, weight, method) > 0)
        assert not bool(least_margin(net, region, weight, method) > 0)
        # Where float64 has the numbers, so does a proof.
        assert bool(bound(net, Region.around(x, Ball("linf", 0.01)), weight, method) > 0)


@settings(max_examples=300, deadline=None)
@given(
    ends=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    slope=st.floats(0, 1),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_lines_of_leaky_units_hold_in_exact_arithmetic(
    ends: tuple[float, float], slope: float, dtype: torch.dtype
) -> None:
    low, high = (torch.tensor([[value]], dtype=torch.float64).to(dtype) for value in sorted(ends))
    lines = relu(low, high, slope)
    unit = Fraction(gamma(1, dtype)) / 2  # what is paid for coefficients times slopes, halved
    for end in {low.item(), high.item(), min(max(0.0, low.item()), high.item())}:
        x = Fraction(end)
        value = max(x, Fraction(slope) * x)
        room = unit * (abs(x) + abs(value))
        below = Fraction(lines.low_slope.item()) * x
        above = Fraction(lines.high_slope.item()) * x + Fraction(lines.high_shift.item())
        assert below <= value + room
        assert above >= value - room
