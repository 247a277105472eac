"""What is reckoned for rounding is no less than what rounding does."""

import pytest
import torch

from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.rounding import forward_terms, gamma
from withstand.verification.network.network import sequential
from withstand.verification.network.operation import Conv2d, Linear, LinearOperation, Mean, Scale
from withstand.verification.specification.box import Region


def test_plain_sums_in_float32_alone_count_as_short_ones() -> None:
    dense = Linear(weight=torch.ones(2, 500, dtype=torch.float64))
    conv = Conv2d(weight=torch.ones(2, 3, 5, 5, dtype=torch.float64))
    mean = Mean(dims=(0,), count=500, entries=500)
    for dtype in (torch.float32, torch.float64):
        assert forward_terms(dense, dtype) == dense.terms >= 500
        assert forward_terms(conv, dtype) == conv.terms >= 75
    assert forward_terms(mean, torch.float32) == 2
    assert forward_terms(mean, torch.float64) == mean.terms >= 500
    huge = Mean(dims=(0,), count=1 << 28, entries=1 << 28)
    assert forward_terms(huge, torch.float32) == huge.terms >= 1 << 28


@pytest.mark.parametrize("terms", [1, 10, 1000, 100_000])
def test_a_sums_rounding_is_bounded_in_any_order(terms: int) -> None:
    draws = torch.Generator().manual_seed(terms)
    weight, x = torch.randn(2, 200 if terms < 100_000 else 4, terms, generator=draws)
    products = weight * x
    orders = [products.sum(1), (weight[:, None] @ x[:, :, None])[:, 0, 0], products.flip(1).cumsum(1)[:, -1]]
    exact, size = (weight.double() * x.double()).sum(1), (weight.double() * x.double()).abs().sum(1)
    for found in orders:
        assert ((found.double() - exact).abs() <= gamma(terms, torch.float32) * size).all()
    # Twice the textbook's bound and some terms: not loose by much more.
    assert gamma(terms, torch.float32) <= 2.1 * (terms + 8) * 2**-24


@pytest.mark.parametrize("kind", ["linear", "scale", "conv"])
@pytest.mark.parametrize("side", ["up", "down", "both"])
def test_boxes_in_float32_hold_exact_ends_however_lopsided_the_inputs_are(kind: str, side: str) -> None:
    draws = torch.Generator().manual_seed(0)
    shape = (8, 16, 16) if kind == "conv" else (2048,)
    reach = torch.rand(1, *shape, generator=draws) * 1e3
    low = torch.zeros_like(reach) if side == "up" else -reach
    high = torch.zeros_like(reach) if side == "down" else reach * (1e-4 if side == "both" else 1)
    weight = torch.randn(300, 2048, generator=draws).double()
    operation: LinearOperation = {
        "linear": Linear(weight=weight),
        "scale": Scale(weight=weight[0], bias=weight[1]),
        "conv": Conv2d(weight=weight[:, :200].reshape(300, 8, 5, 5)),
    }[kind]
    net = sequential(shape, [operation], dtype=torch.float32)
    box = relax_network(net, Region.box(low, high), intermediate="ibp").boxes[-1]
    middle, spread = (low.double() + high.double()) / 2, (high.double() - low.double()) / 2
    exact, around = operation.apply(middle), operation.absolute(spread)
    bias = 0.0 if operation.bias is None else operation.bias
    assert (box.low.double() <= exact + bias - around).all()
    assert (box.high.double() >= exact + bias + around).all()
