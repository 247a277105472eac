"""Soft sorting against its network as dense matrices, and GroCo against two binary cross-entropies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, normalize

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.sorting import groco, group_ordering, soft_sort

EXACT = {"rtol": 0, "atol": 1e-10}


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).requires_grad_()


def dense(x: Tensor, steepness: float) -> tuple[Tensor, Tensor]:
    """One row through the network, layer by layer, each a matrix."""
    count = len(x)
    permutation = torch.eye(count, dtype=x.dtype)
    for layer in range(count):
        mix = torch.eye(count, dtype=x.dtype)
        for a in range(layer % 2, count - 1, 2):
            p = torch.atan(steepness * (x[a + 1] - x[a])) / math.pi + 0.5
            swap = torch.zeros_like(mix)
            swap[a, a] = swap[a + 1, a + 1] = 1
            swap[a, a + 1] = swap[a + 1, a] = -1
            mix = mix - (1 - p) * swap
        x, permutation = x @ mix, permutation @ mix
    return x, permutation


@pytest.mark.parametrize("width", [2, 3, 6, 11])
def test_the_network(width: int) -> None:
    x = rows(4, width)
    ordered, permutation = soft_sort(x, 2.0)
    expected = [dense(row, 2.0) for row in x]
    torch.testing.assert_close(ordered, torch.stack([one for one, _ in expected]), **EXACT)
    torch.testing.assert_close(permutation, torch.stack([one for _, one in expected]), **EXACT)
    weight = rows(width, width, 1).detach()
    one, other = (torch.autograd.grad((p * weight).sum(), x, retain_graph=True)[0]
                  for p in (permutation, torch.stack([one for _, one in expected])))  # fmt: skip
    torch.testing.assert_close(one, other, **EXACT)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.floats(0.01, 1000), st.integers(0, 1000))
def test_permutations_are_doubly_stochastic(width: int, steepness: float, seed: int) -> None:
    x = rows(3, width, seed)
    ordered, permutation = soft_sort(x, steepness)
    assert permutation.min() >= -1e-12
    ones = torch.ones(3, width, dtype=torch.float64)
    torch.testing.assert_close(permutation.sum(1), ones)
    torch.testing.assert_close(permutation.sum(2), ones)
    torch.testing.assert_close(ordered, (x[:, None] @ permutation)[:, 0])


def test_steep_is_hard() -> None:
    x = torch.tensor([[0.3, -1.0, 2.0, 0.7, -0.2]], dtype=torch.float64)
    ordered, permutation = soft_sort(x, 1e9)
    torch.testing.assert_close(ordered, x.sort(1).values, rtol=0, atol=1e-6)
    assert torch.equal(permutation[0].round().argmax(0), x[0].argsort())
    assert (soft_sort(torch.zeros(1, 2), 3.0)[1] == 0.5).all()


def test_one_negative_and_one_positive() -> None:
    negative, positive = rows(5, 1), rows(5, 1, 1)
    p = torch.atan(1.5 * (positive - negative)) / math.pi + 0.5
    torch.testing.assert_close(group_ordering(negative, positive, 1.5), -p.log().mean(), **EXACT)
    ends = [group_ordering(torch.tensor([[-s]]), torch.tensor([[s]])).item() for s in (1.0, -1.0)]
    assert ends == pytest.approx([-math.log(0.5 + math.atan(x) / math.pi) for x in (2, -2)], rel=1e-5), (
        "cosines alone never reach 0 at steepness 1"
    )


def plain(z: list[Tensor], whole: int, k: int, stop: bool) -> Tensor:
    """The official loss with both cross-entropies, anchor by anchor."""
    losses = []
    unit = [normalize(view, dim=1) for view in z]
    for a, anchor in enumerate(unit):
        total = []
        for i in range(len(anchor)):
            held = [view.detach() if stop else view for view in unit]
            positives = torch.stack([anchor[i] @ held[v][i] for v in range(whole) if v != a]).sort().values
            negatives = torch.stack([anchor[i] @ held[a][j] for j in range(len(anchor)) if j != i])
            negatives = negatives.sort().values[-k:]
            permutation = dense(torch.cat([negatives, positives]), 1.0)[1]
            p_negative, p_positive = permutation[:, :k].sum(1), permutation[:, k:].sum(1)
            is_negative = (torch.arange(len(permutation)) < k).double()
            total.append((
                binary_cross_entropy(p_positive.clamp(0, 1), 1 - is_negative)
                + binary_cross_entropy(p_negative.clamp(0, 1), is_negative)
            ) / 2)  # fmt: skip
        losses.append(torch.stack(total).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize(("count", "whole"), [(2, 2), (4, 4), (4, 2)])
def test_groco_is_the_official_loss(count: int, whole: int, stop: bool) -> None:
    z = [rows(6, 4, seed) for seed in range(count)]
    ours, theirs = groco(z, whole=whole, negatives=3, stop_gradient=stop), plain(z, whole, 3, stop)
    torch.testing.assert_close(ours, theirs, **EXACT)
    for a, b in zip(torch.autograd.grad(ours, z), torch.autograd.grad(theirs, z), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_order_within_groups_and_length_do_not_matter() -> None:
    z = [rows(6, 4, seed).detach() for seed in range(3)]
    value = groco(z, whole=3, negatives=3)
    torch.testing.assert_close(groco([5 * z[1], z[2], z[0]], whole=3, negatives=3), value, **EXACT)
    negatives, positives = rows(4, 5).detach(), rows(4, 3, 1).detach()
    shuffled = group_ordering(negatives[:, [3, 1, 4, 0, 2]], positives[:, [2, 0, 1]])
    torch.testing.assert_close(shuffled, group_ordering(negatives, positives), **EXACT)


def test_far_apart_groups_cost_nothing_and_mistakes_are_told() -> None:
    low, high = torch.full((2, 3), -1e9), torch.full((2, 1), 1e9)
    assert group_ordering(low, high).item() == pytest.approx(0, abs=1e-6)
    assert group_ordering(high.expand(-1, 3), low[:, :1]).item() > 2
    z = [rows(4, 3), rows(4, 3, 1)]
    with pytest.raises(DataError, match="4 negatives need a batch of 5 samples or more, not 4"):
        groco(z, whole=2, negatives=4)
    with pytest.raises(ConfigError, match="steepness must be above 0"):
        soft_sort(z[0], 0)
