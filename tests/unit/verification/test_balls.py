"""Balls: a network may use an input many times, and the ball is still one of the inputs and of nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unit.verification.dense_oracle import Oracle
from unit.verification.random_networks import Maker
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.margins import METHODS, bound, margin_weights
from withstand.verification.certify import certify
from withstand.verification.network.activation import ReLU
from withstand.verification.network.capture_graph import Place
from withstand.verification.network.network import Network, sequential
from withstand.verification.network.operation import Add, AvgPool2d, Concat, Linear, Rearrange, Scale
from withstand.verification.prover import Prover, certified_radius
from withstand.verification.specification.box import Region

ORDER = {"linf": 1, "l2": 2, "l1": torch.inf}
RADIUS: dict[Norm, float] = {"linf": 0.05, "l2": 0.11, "l1": 0.17}


def mixed(maker: Maker, place: Place) -> Place:
    """Append something linear that may use an entry twice, none at all, or several together."""
    add, shape = maker.builder.add, maker.builder.shape(place)
    channels, height, width = shape

    def pick(most: int) -> int:
        return int(torch.randint(most, (), generator=maker.draws))

    match pick(6):
        case 0:  # channels repeated, as `repeat` and `expand` do
            places = torch.arange(channels * height * width).view(shape).repeat(2, 1, 1)
            return add(Rearrange(shape=(2 * channels, height, width), places=places), place)
        case 1:  # any entries, some many times, zeros among them
            places = torch.randint(-1, channels * height * width, (2, 3, 4), generator=maker.draws)
            return add(Rearrange(shape=(2, 3, 4), places=places), place)
        case 2:
            return add(Concat(dim=0), place, maker.scale(place), place)
        case 3:  # the means of three channels from a picture of one
            if channels == 1:
                return add(Scale(weight=maker.normal(3, 1, 1), bias=maker.normal(3, 1, 1)), place)
            return add(Scale(bias=maker.normal(channels, 1, 1)), place)
        case 4:
            return add(Add(signs=(1, -1)), maker.conv(place, channels), place)
        case _:
            return add(AvgPool2d(kernel=(2, 2), stride=(1, 1), padding=(1, 1)), place)


def linear_network(seed: int) -> Network:
    maker = Maker(seed, (1 + seed % 2, 2, 3))
    place = Place(0)
    for _ in range(1 + seed % 3):
        place = mixed(maker, place)
    if seed % 4 == 0:
        place = maker.conv(place, 2, size=2)
    return maker.builder.network(maker.linear(maker.flat(place), 4), ())


def rows_of(net: Network) -> tuple[Tensor, Tensor]:
    """Return the network's one matrix and shift."""
    size = int(torch.Size(net.shape).numel())
    origin = net(torch.zeros(1, *net.shape, dtype=torch.float64))
    return (net(torch.eye(size, dtype=torch.float64).view(size, *net.shape)) - origin).T, origin[0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(["linf", "l2", "l1"]))
def test_copies_of_inputs_are_bounded_by_the_inputs_dual_norm(seed: int, norm: Norm) -> None:
    net = linear_network(seed)
    matrix, shift = rows_of(net)
    x = 0.5 + 0.2 * torch.rand(2, *net.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    region = Region.around(x, Ball(norm, RADIUS[norm]))
    weight = margin_weights(torch.tensor([0, 3]), 4)
    rows = weight @ matrix
    dual = torch.linalg.vector_norm(rows, ord=ORDER[norm], dim=2)
    exact = (rows @ x.flatten(1)[..., None]).squeeze(-1) + weight @ shift - RADIUS[norm] * dual
    for method in METHODS:
        found = bound(net, region, weight, method)
        assert (found <= exact).all(), method
        assert (bound(net.to(torch.float32), region, weight, method) <= exact).all(), method
        if method != "ibp":
            torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(["l2", "l1"]), intermediate=st.sampled_from(["ibp", "crown"]))
def test_the_first_layer_is_bounded_exactly_whatever_was_repeated(seed: int, norm: Norm, intermediate: str) -> None:
    net = linear_network(seed)
    maker = Maker(seed, net.shape)
    maker.builder.nodes = list(net.nodes)
    last = maker.relu(Place(len(net.nodes) - 1))
    bent = maker.builder.network(maker.linear(last, 3), ())
    matrix, shift = rows_of(net)
    x = torch.full((1, *net.shape), 0.5, dtype=torch.float64)
    relaxed = relax_network(bent, Region.around(x, Ball(norm, RADIUS[norm])), intermediate=intermediate)  # type: ignore[arg-type]
    around = matrix @ x.flatten() + shift
    reach = RADIUS[norm] * torch.linalg.vector_norm(matrix, ord=ORDER[norm], dim=1)
    box = relaxed.boxes[len(net.nodes) - 1]
    assert (box.low[0] <= around - reach).all()
    assert (box.high[0] >= around + reach).all()
    open_ = (around - reach < 0) & (around + reach > 0)  # CROWN leaves alone what has a sign
    wanted = open_ if intermediate == "crown" else torch.ones_like(open_)
    torch.testing.assert_close(box.low[0][wanted], (around - reach)[wanted], rtol=0, atol=1e-9)
    torch.testing.assert_close(box.high[0][wanted], (around + reach)[wanted], rtol=0, atol=1e-9)


def test_the_oracle_agrees_that_the_networks_repeat() -> None:
    repeats = 0
    for seed in range(30):
        net = linear_network(seed)
        oracle = Oracle(net, torch.zeros(net.shape).double(), torch.ones(net.shape).double())
        first, _ = oracle.matrices[1]
        repeats += any(int((matrix != 0).sum(0).max()) > 1 for matrix in first)
    assert repeats > 10


class Repeated(nn.Module):
    """Three equal channels in front of one unit: its reach is that of 3 sum(x), not of nine inputs."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.last = nn.Linear(9, 1), nn.Linear(1, 2)
        with torch.no_grad():
            self.first.weight.fill_(1.0)
            self.first.bias.fill_(-5.1)
            self.last.weight.copy_(torch.tensor([[0.0], [100.0]]))
            self.last.bias.copy_(torch.tensor([1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "repeat":
            wide = x.repeat(1, 3)
        elif self.how == "expand":
            wide = x.unsqueeze(1).expand(-1, 3, -1).reshape(len(x), 9)
        elif self.how == "cat":
            wide = torch.cat([x, x, x], 1)
        elif self.how == "index":
            wide = x.index_select(1, torch.arange(9) % 3)
        else:
            wide = ((x.unsqueeze(1) - torch.zeros(3, 1)) / torch.ones(3, 1)).flatten(1)
        return self.last(torch.relu(self.first(wide)))


@pytest.mark.parametrize("how", ["repeat", "expand", "cat", "index", "normalise"])
@pytest.mark.parametrize(("norm", "true"), [("l2", 0.61 / 27**0.5), ("l1", 0.61 / 3)])
def test_no_method_proves_more_than_the_true_radius_of_a_repeated_input(how: str, norm: Norm, true: float) -> None:
    net, x = Repeated(how).eval(), torch.full((1, 3), 0.5)
    beyond = Ball(norm, true * 1.05)
    for method in (*METHODS, "auto", "bab"):
        assert certify(net, x, None, beyond, method=method, timeout=5)[0].status != "safe"  # type: ignore[arg-type]
    assert not Prover()(Victim(net), x, torch.tensor([0]), beyond).any()
    for method in METHODS:
        radius = float(certified_radius(net, x, None, Ball(norm, 1.0), method=method))  # type: ignore[arg-type]
        assert 0.97 * true <= radius <= true


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_digits_that_cancel_in_a_normalisation_are_paid_for(norm: Norm) -> None:
    for seed in range(40):
        draws = torch.Generator().manual_seed(seed)
        x = torch.rand(1, 4, generator=draws, dtype=torch.float64)
        weight = 10 ** (6 * torch.rand(4, generator=draws, dtype=torch.float64))
        matrix = torch.randn(5, 4, generator=draws, dtype=torch.float64)
        net = sequential((4,), [Scale(weight=weight, bias=-weight * x[0]), Linear(weight=matrix), ReLU()])
        region = Region.around(x, Ball(norm, 1e-6))
        values = net.values(region.sample(torch.rand(200, 1, 4, generator=draws, dtype=torch.float64))[:, 0])
        for dtype in (torch.float32, torch.float64):
            relaxed = relax_network(net.to(dtype), region.to(dtype), intermediate="ibp")
            for box, value in zip(relaxed.boxes, values, strict=True):
                assert (box.low <= value).all()
                assert (value <= box.high).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1,), (3, 1, 1), (1, 4, 1), (4, 4), ()])
def test_constants_of_any_shape_that_broadcasts_are_bounded(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    constant = torch.rand(shape)
    for channels in (1, 3) if shape == (3, 1, 1) else (3,):
        x = torch.rand(2, channels, 4, 4)
        for change in (lambda x: net(x - constant), lambda x: net(x / (1 + constant)), lambda x: net(constant - x)):
            for method in ("ibp", "crown", "bab"):
                found = certify(change, x, None, Ball("linf", 1e-3), method=method, timeout=5)  # type: ignore[arg-type]
                assert method != "bab" or all(verdict.status != "unknown" for verdict in found)
