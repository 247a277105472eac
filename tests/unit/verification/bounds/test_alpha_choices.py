"""What an ascent may choose: that it gains by its choices, and that multipliers keep the signs that make them valid."""

import pytest
import torch

from unit.verification.random_networks import network
from withstand.core.threat import Ball
from withstand.verification.bounds.alpha import BOTH, _Pulls
from withstand.verification.bounds.margins import METHODS, bound, margin_weights
from withstand.verification.network.activation import MaxPool2d
from withstand.verification.network.network import sequential
from withstand.verification.network.operation import Linear, Rearrange
from withstand.verification.specification.box import Region


@pytest.mark.parametrize("kind", ["dense", "leaky", "curved", "smooth", "conv"])
def test_choosing_lines_gains_on_every_kind_of_activation(kind: str) -> None:
    net = network(kind, 1)
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(3, *net.shape, dtype=torch.float64, generator=draws)
    region = Region.around(x, Ball("linf", 0.15))
    weight = margin_weights(torch.tensor([0, 1, 2]), 4)
    fixed, chosen = (bound(net, region, weight, method) for method in ("crown", "alpha-crown"))
    assert (chosen - fixed).amax() > 1e-3 * fixed.abs().mean()


def test_a_multiplier_of_one_side_keeps_its_sign_and_one_of_both_may_have_either() -> None:
    sides = torch.tensor([[1, -1, BOTH, BOTH, 0]], dtype=torch.int8)
    start = torch.tensor([[0.5, -0.5, 0.25, -0.25, 7.0]], dtype=torch.float64)
    pulls = _Pulls(sides, start, torch.float64)
    torch.testing.assert_close(pulls.whole(pulls.values[0]).detach(), start * torch.tensor([1.0, 1, 1, 1, 0]).double())
    with torch.no_grad():
        pulls.values[0].sub_(torch.tensor([1.0, 1.0, 1.0, -1.0], dtype=torch.float64))
        pulls.confine()
    up, down, first, second, free = pulls.whole(pulls.values[0])[0].tolist()
    assert 0 < up < 1e-9
    assert -1e-9 < down < 0
    assert (first, second, free) == (-0.75, 0.75, 0.0)


@pytest.mark.parametrize("largest", range(4))
def test_a_pool_is_bounded_by_whichever_of_its_entries_is_largest(largest: int) -> None:
    pool, last = MaxPool2d((2, 2), (2, 2)), Linear(weight=torch.ones(1, 1, dtype=torch.float64))
    net = sequential((1, 2, 2), [pool, Rearrange(shape=(1,)), last])
    low = torch.zeros(1, 4, dtype=torch.float64)
    low[0, largest] = 5.0
    region = Region.box(low.view(1, 1, 2, 2), low.view(1, 1, 2, 2) + 1)
    weight = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    for method in METHODS:
        found = bound(net, region, weight, method)
        torch.testing.assert_close(found, torch.tensor([[5.0, -6.0]], dtype=torch.float64), rtol=0, atol=1e-9)
