"""Each operator's bounds against thousands of samples: over points, tiny boxes, wide ones, and over kinks and dips."""

import math

import pytest
import torch
from torch import Tensor

from unit.verification.operator_models import KINKS, OPERATORS, SHAPED, WIDE, Between, Function, shaped
from withstand.core.victim import Victim
from withstand.verification.bounds.alpha import Ascent
from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.forward import relax_forward
from withstand.verification.box import Region
from withstand.verification.margins import METHODS, bound
from withstand.verification.network.capture import capture
from withstand.verification.network.network import Network
from withstand.verification.property import Property
from withstand.verification.search.input_split import search_inputs
from withstand.verification.search.relu_split import search_relus

WIDTHS = (0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 6.0)
_FEW = Ascent(steps=4)


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


def held(network: Network, region: Region, *, count: int = 240, seed: int = 0) -> None:
    """Hold every node's boxes, and all methods' bounds of the outputs, against samples, in both precisions."""
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
        for method in METHODS:
            lower = bound(typed, region, weight, method, ascent=_FEW)
            assert not (lower > least + rounding).any(), (method, dtype, (lower - least).max())
            if dtype == torch.float64:
                off = (least - lower)[point] / (1 + least[point].abs())
                assert (off <= 1e-6).all(), (method, off.max())


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
    held(network, boxes(centers, draws))


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operators_bounds_hold_between_layers(name: str) -> None:
    for seed, scale in ((0, 1.0), (1, 4.0)):
        draws = torch.Generator().manual_seed(seed)
        model = Between(OPERATORS[name], seed, scale).double().eval()
        centers = 2 * torch.randn(2, 5, generator=draws, dtype=torch.float64)
        network = capture(Victim(model, low=-4, high=4), torch.zeros(1, 5, dtype=torch.float64))
        held(network, boxes(centers, draws), seed=seed)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
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
        for method in METHODS:
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
    for eps in (0.02, 0.3):
        region = Region.box(x - eps, x + eps)
        wanted = Property.margins(int(network(x).argmax()), 3)
        tried = samples(region, 900, draws)[:, 0]
        least = wanted.least(wanted.values(network(tried))).min()
        for search in (search_inputs, search_relus):
            verdict = search(network, region, wanted, timeout=0.4)
            assert not (verdict.status == "safe" and least <= 0), (search, eps)
            if verdict.counterexample is not None:
                assert wanted.least(wanted.values(network(verdict.counterexample[None]))) <= 0


@pytest.mark.parametrize("name", SHAPED)
def test_an_operators_bounds_hold_whatever_its_shape(name: str) -> None:
    operator, shape = shaped(name, 0)
    draws = torch.Generator().manual_seed(2)
    model = Victim(lambda x: operator(x).flatten(1), low=-10, high=10)
    network = capture(model, torch.zeros(1, *shape, dtype=torch.float64))
    centers = 1.5 * torch.randn(2, math.prod(shape), generator=draws, dtype=torch.float64)
    flat = boxes(centers, draws)
    held(network, Region.box(*(side.view(-1, *shape) for side in (flat.low, flat.high))), count=120)
