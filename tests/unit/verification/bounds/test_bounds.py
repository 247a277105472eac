from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unit.verification.dense_oracle import Oracle
from unit.verification.random_networks import KINDS, network, points
from withstand.core.threat import Ball, Norm
from withstand.verification.bounds import crown
from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.margins import METHODS, bound, margin_weights
from withstand.verification.bounds.receptive_field import Window
from withstand.verification.bounds.rounding import backward_terms
from withstand.verification.network.activation import ReLU
from withstand.verification.network.network import Network, sequential
from withstand.verification.network.operation import Conv2d, Linear
from withstand.verification.specification.box import Region

EPS: dict[Norm, float] = {"linf": 0.06, "l2": 0.15, "l1": 0.3}


def regions(net: Network, seed: int, norm: Norm, count: int = 3) -> Region:
    draws = torch.Generator().manual_seed(seed + 999)
    x = torch.rand(count, *net.shape, generator=draws, dtype=torch.float64)
    eps = EPS[norm] * torch.tensor([1.0, 0.2, 3.0], dtype=torch.float64)
    return Region.around(x, Ball(norm, EPS[norm]), eps=eps[:count])


def attacked(net: Network, region: Region, weight: Tensor, start: Tensor) -> Tensor:
    """Go down each margin by sign steps inside the box, and pull back into the ball."""
    x = start.clone().requires_grad_()
    for _ in range(8):
        (slope,) = torch.autograd.grad((net(x) * weight).sum(), x)
        step = 0.3 * (region.high - region.low) * slope.sign()
        x = torch.minimum(torch.maximum(x.detach() - step, region.low), region.high)
        if region.center is not None and region.eps is not None:
            delta = x - region.center
            order = 2 if region.norm == "l2" else 1
            size = torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1).clamp_min(1e-30)
            factor = (region.eps / size).clamp_max(1).view(-1, *[1] * (x.dim() - 1))
            x = region.center + delta * factor
        x.requires_grad_()
    return x.detach()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_nothing_that_can_be_reached_lies_outside_the_bounds(kind: str, norm: Norm) -> None:
    for seed in range(3 if norm == "linf" else 1):
        net = network(kind, seed)
        region = regions(net, seed, norm)
        weight = margin_weights(torch.tensor([0, 1, 3]), 4)
        tried = region.sample(points(region.low, region.high, 60, seed))
        hit = [
            attacked(net, region, weight[:, j : j + 1].squeeze(1), region.sample(tried[0] * 0 + 0.5)) for j in range(3)
        ]
        tried = torch.cat([tried, torch.stack(hit)])
        values = torch.stack([torch.einsum("nkc,nc->nk", weight, net(x)) for x in tried])
        least = values.amin(0)
        for dtype in (torch.float64, torch.float32):
            typed = net.to(dtype)
            found = [bound(typed, region, weight, method) for method in METHODS]
            for method, lower in zip(METHODS, found, strict=True):
                assert (lower <= least).all(), (kind, seed, norm, method, dtype)
            # CROWN's slopes are a guess, which a tighter box can spoil: CROWN-IBP stands outside the chain.
            for looser, tighter in pairwise([found[0], *found[2:]]):
                assert (looser <= tighter).all(), (kind, seed)
            assert (found[0] <= found[1]).all()
        relaxed = relax_network(net, region)
        for x in tried[:20]:
            for box, value in zip(relaxed.boxes, net.values(x), strict=True):
                assert (box.low <= value).all()
                assert (value <= box.high).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_networks_stay_inside_their_bounds(kind: str) -> None:
    for seed in range(100, 140):
        net = network(kind, seed)
        region = regions(net, seed, ("linf", "l2", "l1")[seed % 3])  # type: ignore[arg-type]
        weight = margin_weights(torch.tensor([0, 1, 3]), 4)
        tried = region.sample(points(region.low, region.high, 40, seed))
        hit = [attacked(net, region, weight[:, j], region.sample(tried[0] * 0 + 0.5)) for j in range(3)]
        values = torch.stack([torch.einsum("nkc,nc->nk", weight, net(x)) for x in [*tried, *hit]])
        for dtype in (torch.float32, torch.float64):
            for method in METHODS[:3] if seed % 4 else METHODS:
                assert (bound(net.to(dtype), region, weight, method) <= values.amin(0)).all(), (seed, method, dtype)


@pytest.mark.parametrize("kind", ["dense", "leaky", "deep", "conv", "strided", "residual"])
def test_bounds_equal_the_dense_oracles(kind: str) -> None:
    for seed in range(2):
        net = network(kind, seed)
        region = regions(net, seed, "linf", count=2)
        weight = margin_weights(torch.tensor([2, 0]), 4)
        for method in ("crown-ibp", "crown"):
            found = bound(net, region, weight, method)
            for sample in range(2):
                oracle = Oracle(net, region.low[sample], region.high[sample], refine=method == "crown")
                wanted = [max(oracle.bound(row), oracle.interval(row)) for row in weight[sample].numpy()]
                torch.testing.assert_close(found[sample].tolist(), wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("smooth", "abs", "product")])
def test_interval_boxes_equal_the_dense_oracles(kind: str) -> None:
    net = network(kind, 1)
    region = regions(net, 1, "linf", count=1)
    relaxed = relax_network(net, region, intermediate="ibp")
    oracle = Oracle(net, region.low[0], region.high[0], refine=False)
    for box, low, high in zip(relaxed.boxes, oracle.low, oracle.high, strict=True):
        torch.testing.assert_close(box.low.flatten(), torch.from_numpy(low), rtol=0, atol=1e-8)
        torch.testing.assert_close(box.high.flatten(), torch.from_numpy(high), rtol=0, atol=1e-8)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_linear_network_is_bounded_exactly_by_the_dual_norm(norm: Norm) -> None:
    net = network("dense", 0)
    weight = net.nodes[1].operation.weight  # type: ignore[union-attr]
    bias = torch.zeros(8, dtype=torch.float64)
    linear = sequential((5,), [Linear(weight=weight, bias=bias)])
    x = torch.full((1, 5), 0.5, dtype=torch.float64)
    margins = margin_weights(torch.tensor([1]), 8)
    order = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    rows = margins[0] @ weight
    wanted = rows @ x[0] - 0.1 * torch.linalg.vector_norm(rows, ord=order, dim=1)
    for method in ("crown", "crown-ibp"):
        found = bound(linear, Region.around(x, Ball(norm, 0.1)), margins, method)[0]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_a_point_is_bounded_by_its_value() -> None:
    for kind in KINDS:
        net = network(kind, 3)
        x = torch.rand(2, *net.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        weight = margin_weights(torch.tensor([0, 2]), 4)
        wanted = torch.einsum("nkc,nc->nk", weight, net(x))
        found = bound(net, Region.around(x, Ball("linf", 0.0)), weight, "crown")
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)


def test_little_memory_and_much_give_the_same() -> None:
    net = network("residual", 4)
    region = regions(net, 4, "linf")
    weight = margin_weights(torch.tensor([0, 1, 2]), 4)
    for method in ("crown", "alpha-crown"):
        few, all_ = (bound(net, region, weight, method, memory=memory) for memory in (1, 1 << 30))
        torch.testing.assert_close(few, all_, rtol=0, atol=1e-9 if method == "crown" else 2e-2)


@pytest.mark.parametrize("kind", ["conv", "strided", "residual", "concat", "pooled"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("tiles", [4, 64])
def test_windows_give_the_bounds_of_whole_pictures(
    kind: str, norm: Norm, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        net = network(kind, seed)
        region = regions(net, seed, norm)
        whole = relax_network(net, region)
        monkeypatch.setattr(crown, "_WORTH_TILES", 1)
        monkeypatch.setattr(crown, "_TILES", tiles)
        cut = relax_network(net, region)
        monkeypatch.undo()
        for box, other in zip(whole.boxes, cut.boxes, strict=True):
            torch.testing.assert_close(box.low, other.low, rtol=0, atol=1e-11)
            torch.testing.assert_close(box.high, other.high, rtol=0, atol=1e-11)


def test_units_that_see_padding_alone_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 2, 2, generator=draws, dtype=torch.float64)
    bias = torch.randn(3, 1, 1, generator=draws, dtype=torch.float64)
    conv = Conv2d(weight=weight, bias=bias, stride=(1, 1), padding=(3, 3))
    head = Conv2d(weight=torch.randn(1, 3, 3, 3, generator=draws, dtype=torch.float64))
    net = sequential((2, 6, 5), [conv, ReLU(), head, ReLU()])
    monkeypatch.setattr(crown, "_WORTH_TILES", 1)
    monkeypatch.setattr(crown, "_TILES", 36)
    for norm in EPS:
        region = regions(net, 0, norm)
        relaxed = relax_network(net, region)
        tried = region.sample(points(region.low, region.high, 50, 0))
        for x in tried:
            for box, value in zip(relaxed.boxes, net.values(x), strict=True):
                assert (box.low <= value).all()
                assert (value <= box.high).all()


def test_a_window_of_a_strided_dilated_and_grouped_convolution_is_its_part_of_the_whole() -> None:
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 2, 3, 2, generator=draws, dtype=torch.float64)
    conv = Conv2d(weight=weight, stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2)
    shape = (4, 9, 7)
    out = conv.apply(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:]
    for window in (Window(0, 2, 0, 3), Window(1, 3, 4, 8), Window(out[1] - 1, out[1], out[2] - 1, out[2])):
        inside = torch.randn(5, out[0], *window.sides, generator=draws, dtype=torch.float64)
        (whole,) = conv.transpose(window.fill(inside, out), (shape,))
        ((part, seen),) = conv.transpose_window(inside, window, (shape,))
        torch.testing.assert_close(seen.fill(part, shape), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(4, 2, 1), (3, 2, 1), (5, 3, 1), (3, 2, 2), (4, 2, 3), (3, 1, 1)]
)
def test_an_input_goes_into_no_more_outputs_than_are_counted(kernel: int, stride: int, dilation: int) -> None:
    conv = Conv2d(
        weight=torch.ones(3, 2, kernel, kernel, dtype=torch.float64),
        stride=(stride, stride),
        padding=(1, 1),
        dilation=(dilation, dilation),
    )
    x = torch.zeros(1, 2, 19, 19, dtype=torch.float64)
    outputs = conv.apply(x)
    (counted,) = conv.transpose(torch.ones_like(outputs), ((2, 19, 19),))
    assert counted.max() == backward_terms(conv, [(2, 19, 19)], tuple(outputs.shape[1:]))
