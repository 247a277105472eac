"""What is reckoned for rounding is no less than what rounding does."""

import pytest
import torch

from withstand.verification.bounds.rounding import forward_terms, gamma
from withstand.verification.network.operation import Conv2d, Linear, Mean


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
