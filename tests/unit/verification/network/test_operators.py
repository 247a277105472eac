"""Each operator's bounds against thousands of samples: over points, tiny boxes, wide ones, and over kinks and dips."""

import math

import pytest
import torch
from torch import Tensor

from unit.verification.operator_models import KINKS, OPERATORS, SHAPED, WIDE, Between, Function, shaped
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.alpha import Ascent
from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.forward import relax_forward
from withstand.verification.bounds.margins import METHODS, bound
from withstand.verification.network.capture import capture
from withstand.verification.network.network import Network, sequential
from withstand.verification.network.operation import Linear, Mean
from withstand.verification.search.input_split import search_inputs
from withstand.verification.search.relu_split import search_relus
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property

WIDTHS = (0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 6.0)
_FEW = Ascent(steps=2)


def boxes(centers: Tensor, draws: torch.Generator) -> Region:
    """Return boxes of all widths round points `(N, D)`, some with sides of width 0."""
    center = centers.repeat_interleave(len(WIDTHS), 0)
    width = torch.tensor(WIDTHS, dtype=torch.float64).repeat(len(centers))[:, None]
    shares = torch.rand(2, *center.shape, generator=draws, dtype=torch.float64)
    shares = torch.where(torch.rand(center.shape, generator=draws) < 0.15, 0.0, shares)
    return Region.box(center - width * shares[0], center + width * shares[1])


def samples(region: Region, count: int, draws: torch.Generator) -> Tensor:
    """Return points of all boxes, `(count, N, D)`: corners, faces, insides, and points close to the ends."""
    unit = torch.rand(count, *region.low.shape, generator=draws, dtype=torch.float64)
    unit[::3] = unit[::3].round()
    unit[1::3] = torch.where(torch.rand(unit[1::3].shape, generator=draws) < 0.5, unit[1::3].round(), unit[1::3])
    unit[0], unit[3], unit[-1] = 0.0, 1.0, 0.5
    return region.sample(unit)


def held(network: Network, region: Region, *, count: int = 240, seed: int = 0, exact: bool = True) -> None:
    """Hold every node's boxes, and all methods' bounds of the outputs, against samples, in both precisions.

    Where `exact`, also hold that bounds of single points are what the network gives there.
    """
    draws = torch.Generator().manual_seed(seed)
    points = samples(region, count, draws)
    values = network.values(points.flatten(0, 1))
    classes = network.nodes[-1].shape[0]
    rows = torch.cat([torch.eye(classes), -torch.eye(classes), torch.randn(2, classes, generator=draws)]).double()
    weight = rows.expand(len(region), *rows.shape)
    found = values[-1].view(*points.shape[:2], classes) @ rows.T
    least, rounding = found.amin(0), 1e-13 * (1 + (found.abs()).amax(0))
    point = (region.low == region.high).flatten(1).all(1)
    for dtype in (torch.float64, torch.float32):
        typed, fitting = network.to(dtype), region.to(dtype)
        crown = relax_network(typed, fitting)
        for relaxed in (relax_network(typed, fitting, intermediate="ibp"), crown, relax_forward(typed, fitting)):
            for node, box, value in zip(network.nodes, relaxed.boxes, values, strict=True):
                there = value.view(*points.shape[:2], *node.shape)
                room = 1e-13 * (1 + there.abs().amax(0))
                assert not (box.low.double() > there.amin(0) + room).any(), (node.name, dtype)
                assert not (box.high.double() < there.amax(0) - room).any(), (node.name, dtype)
        for method in METHODS if dtype == torch.float64 else METHODS[:3]:
            lower = bound(typed, region, weight, method, ascent=_FEW)
            assert not (lower > least + rounding).any(), (method, dtype, (lower - least).max())
            if exact and dtype == torch.float64:
                off = (least - lower)[point] / (1 + least[point].abs())
                assert (off <= 1e-6).all(), (method, off.max())


def same(network: Network, model: Victim, region: Region) -> None:
    """Hold a captured network against its model, which is in float64, at points of all boxes."""
    points = samples(region, 8, torch.Generator().manual_seed(9)).flatten(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(network(points), model.output(points.clone()), rtol=1e-10, atol=1e-8)


def bare(operator: Function) -> Function:
    """Return an operator of the input itself, flat."""
    return lambda x: operator(x).flatten(1)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operators_bounds_hold_at_its_kinks(name: str) -> None:
    draws = torch.Generator().manual_seed(1)
    kinks = torch.tensor(KINKS, dtype=torch.float64)
    centers = torch.cat([kinks[torch.randint(len(kinks), (5, WIDE), generator=draws)], kinks[:WIDE][None]])
    model = Victim(bare(OPERATORS[name]), low=-30, high=30)
    network = capture(model, torch.zeros(1, WIDE, dtype=torch.float64))
    region = boxes(centers, draws)
    same(network, model, region)
    held(network, region)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operators_bounds_hold_between_layers(name: str) -> None:
    draws = torch.Generator().manual_seed(0)
    model = Between(OPERATORS[name], 0, 2.0).double().eval()
    centers = 2 * torch.randn(2, 5, generator=draws, dtype=torch.float64)
    network = capture(Victim(model, low=-4, high=4), torch.zeros(1, 5, dtype=torch.float64))
    held(network, boxes(centers, draws))


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.5, 3.0, 12.0])
@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_bounds_hold_where_a_softplus_jumps(beta: float, threshold: float) -> None:
    draws = torch.Generator().manual_seed(0)
    model = Between(torch.nn.Softplus(beta, threshold), 0, 2.0).double().eval()
    # Points whose first value lies at the jump.
    centers = torch.randn(6, 5, generator=draws, dtype=torch.float64)
    row = model.first.weight[0].detach()
    centers -= ((centers @ row + model.first.bias[0].detach() - threshold / beta) / row.square().sum())[:, None] * row
    network = capture(Victim(model, low=-4, high=4), torch.zeros(1, 5, dtype=torch.float64))
    region = boxes(centers, draws)
    held(network, region, exact=False)
    # At the jump itself, rounding decides which side a point is on.
    aside = Region.box(centers + 0.3, centers + 0.4)
    same(network, Victim(model, low=-1e3, high=1e3), aside)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("scale", [1e-4, 1e4, 1e25])
def test_huge_and_tiny_values_are_bounded_or_left_open(name: str, scale: float) -> None:
    draws = torch.Generator().manual_seed(3)
    operator = OPERATORS[name]
    model = Victim(lambda x: operator(scale * x).flatten(1), low=-3, high=3)
    network = capture(model, torch.zeros(1, WIDE, dtype=torch.float64), check=scale < 1)
    region = boxes(torch.randn(2, WIDE, generator=draws, dtype=torch.float64), draws)
    points = samples(region, 90, draws)
    values = network(points.flatten(0, 1)).view(*points.shape[:2], -1)
    rows = torch.cat([torch.eye(values.shape[2]), -torch.eye(values.shape[2])]).double()
    found = values @ rows.T
    for dtype in (torch.float64, torch.float32):
        for method in METHODS[::2]:
            lower = bound(network.to(dtype), region, rows.expand(len(region), *rows.shape), method, ascent=_FEW)
            # What is no number, or not finite, proves nothing.
            room = 1e-12 * (1 + found.abs().amax(0))
            assert not (torch.isfinite(found).all(0) & (lower > found.amin(0) + room)).any(), (method, dtype)


@pytest.mark.parametrize("name", OPERATORS)
def test_searches_decide_nets_of_an_operator_soundly(name: str) -> None:
    model = Between(OPERATORS[name], 5).double().eval()
    network = capture(Victim(model, low=-4, high=4), torch.zeros(1, 5, dtype=torch.float64))
    draws = torch.Generator().manual_seed(5)
    x = torch.randn(1, 5, generator=draws, dtype=torch.float64)
    region = Region.box(x - 0.2, x + 0.2)
    wanted = Property.margins(int(network(x).argmax()), 3)
    tried = samples(region, 900, draws)[:, 0]
    least = wanted.least(wanted.values(network(tried))).min()
    for search in (search_inputs, search_relus):
        verdict = search(network, region, wanted, timeout=0.3)
        assert not (verdict.status == "safe" and least <= 0), search
        if verdict.counterexample is not None:
            assert wanted.least(wanted.values(network(verdict.counterexample[None]))) <= 0


@pytest.mark.parametrize("scale", [1e10, 1e20, 1e30])
def test_what_float32_cannot_hold_is_never_safe(scale: float) -> None:
    # (s x - s / 2) (-s x - s / 2): below 0 beyond s / 2 to either side; products overflow to +inf and -inf in float32.
    def model(x: Tensor) -> Tensor:
        x = x * scale
        return torch.cat([(x - scale / 2) * (-x - scale / 2), x[:, :1] * 0], 1)

    network = capture(Victim(model, low=-3, high=3), torch.zeros(1, 2, dtype=torch.float64), check=False)
    for x in (-1.0, 0.2, 1.0):
        low, high = torch.full((1, 2), x - 0.6, dtype=torch.float64), torch.full((1, 2), x + 0.6, dtype=torch.float64)
        region = Region.box(low, high)
        for sign in (1.0, -1.0):
            weight = sign * torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
            wanted = Property(weight, torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.long))
            values = network(region.sample(torch.rand(400, 1, 2, dtype=torch.float64))[:, 0])
            least = wanted.least(wanted.values(values)).min()
            for search in (search_inputs, search_relus):
                verdict = search(network, region, wanted, timeout=0.2)
                assert not (verdict.status == "safe" and least <= 0), (search, x, sign, verdict)
                assert verdict.margin < float("inf") or verdict.status != "safe"


def test_lines_that_leave_no_choice_are_optimised_without_a_word() -> None:
    network = capture(Victim(lambda x: (x + 2).sqrt() + 1 / (x + 3)), torch.zeros(1, 3, dtype=torch.float64))
    x = torch.full((1, 3), 0.5, dtype=torch.float64)
    wanted = Property.margins(0, 3)
    assert search_relus(network, Region.box(x - 0.1, x + 0.1), wanted, timeout=0.5).status != "safe"
    weight = torch.eye(3, dtype=torch.float64)[None]
    assert (bound(network, Region.box(x - 0.1, x + 0.1), weight, "alpha-crown") > 0).all()


@pytest.mark.parametrize("entries", [3, 1000, 1024, 100_000])
@pytest.mark.parametrize("mean", [True, False])
def test_a_sum_of_any_length_is_bounded_closely_in_float32(entries: int, mean: bool) -> None:
    draws = torch.Generator().manual_seed(entries)
    x = torch.randn(4, entries, generator=draws) * torch.tensor([1e-3, 1.0, 1e4, 1.0])[:, None]
    x[3, 1::2] = -x[3, : entries - 1 : 2]  # where digits cancel
    operation = Mean(dims=(0,), keep=True, count=entries if mean else 1, entries=entries)
    network = sequential((entries,), [operation, Linear(weight=torch.ones(1, 1).double())], dtype=torch.float32)
    region = Region.box(x, x)
    wanted = x.double().sum(1) / operation.count
    room = 1e-5 * x.double().abs().sum(1) / operation.count
    weight = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64).expand(4, 2, 1)
    for box in relax_network(network, region).boxes[1:]:
        assert (box.low[:, 0].double() <= wanted).all()
        assert (box.high[:, 0].double() >= wanted).all()
        assert (box.high[:, 0].double() - box.low[:, 0].double() <= room).all()
    for method in METHODS[:3]:
        lower = bound(network, region, weight, method)
        assert (lower <= torch.stack([wanted, -wanted], 1)).all()
        assert (lower >= torch.stack([wanted, -wanted], 1) - room[:, None]).all()


@pytest.mark.parametrize("name", SHAPED)
def test_an_operators_bounds_hold_whatever_its_shape(name: str) -> None:
    operator, shape = shaped(name, 0)
    draws = torch.Generator().manual_seed(2)
    model = Victim(lambda x: operator(x).flatten(1), low=-10, high=10)
    network = capture(model, torch.zeros(1, *shape, dtype=torch.float64))
    centers = 1.5 * torch.randn(2, math.prod(shape), generator=draws, dtype=torch.float64)
    flat = boxes(centers, draws)
    region = Region.box(*(side.view(-1, *shape) for side in (flat.low, flat.high)))
    same(network, model, region)
    held(network, region, count=120)
