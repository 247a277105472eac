"""Attention of a handful of tokens against torch's own, values and gradients, and where it steps aside."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from withstand.models.tables.attention import FEW, attend


def plain(query: Tensor, pairs: Tensor, heads: int) -> Tensor:
    count, tokens, width = query.shape
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, *pairs.split(width, 2)))
    weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
    return (weights @ v).transpose(1, 2).reshape(count, tokens, width)


def inputs(tokens: int, keys: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(tokens)
    query, pairs = torch.randn(3, tokens, 8, dtype=torch.float64), torch.randn(3, keys, 16, dtype=torch.float64)
    return (scale * query).requires_grad_(), pairs.requires_grad_()


@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (3, 5), (5, 5), (6, 20), (2, FEW + 1)])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_values_and_gradients_are_those_of_the_formula(tokens: int, keys: int, scale: float) -> None:
    """With large scores too, whose exponentials need a shift; with too few products, which are padded, and enough."""
    query, pairs = inputs(tokens, keys, scale)
    out, expected = attend(query, pairs, 2), plain(query, pairs, 2)
    torch.testing.assert_close(out, expected)
    with torch.no_grad():
        torch.testing.assert_close(attend(query, pairs, 2), expected)
    weights = torch.randn_like(out)
    found = torch.autograd.grad((out * weights).sum(), [query, pairs])
    wanted = torch.autograd.grad((expected * weights).sum(), [query, pairs])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_float32_agrees_with_torchs_kernel() -> None:
    torch.manual_seed(0)
    query, pairs = torch.randn(64, 10, 32), torch.randn(64, 10, 64)
    q = query.unflatten(2, (4, 8)).transpose(1, 2)
    k, v = (x.unflatten(2, (4, 8)).transpose(1, 2) for x in pairs.split(32, 2))
    expected = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend(query, pairs, 4), expected, atol=3e-6, rtol=1e-5)


def test_scores_that_are_not_numbers_stay_visible() -> None:
    query, pairs = inputs(3, 4)
    with torch.no_grad():
        pairs[0, 0, 0] = torch.nan
        out = attend(query, pairs, 2)
    assert out[0].isnan().any()
    assert not out[1:].isnan().any()


def test_dropout_and_half_precision_go_to_torchs_kernel() -> None:
    query, pairs = (x.detach().bfloat16() for x in inputs(3, 4))
    assert attend(query, pairs, 2).dtype == torch.bfloat16
    query, pairs = inputs(3, 4)
    torch.manual_seed(0)
    dropped = attend(query, pairs, 2, 0.5)
    assert not torch.allclose(dropped, plain(query, pairs, 2))
