"""Mixed Barlow Twins and MoCHi's mixtures, against plain formulas in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.losses.agreement.mixing import mixed_barlow_twins_terms
from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.contrast.hard_negatives.hard_mixing import mix_hard_negatives
from withstand.losses.contrast.momentum_contrast import info_nce_queue

EXACT = {"rtol": 0, "atol": 1e-10}


def rows(count: int = 6, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).requires_grad_()


def plain(z1: Tensor, z2: Tensor, zm: Tensor, order: Tensor, a: float, unit: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The official CIFAR code's matrices, one by one."""
    every = [normalize(z, dim=1) if unit else z for z in (z1, z2, zm)]
    n = len(z1)
    one, two, mix = ((z - z.mean(0)) / (z.var(0) + 1e-8).sqrt() for z in every)
    c = one.T @ two / n
    c_ma, c_mb = mix.T @ one / n, mix.T @ two / n
    target_a = a * one.T @ one / n + (1 - a) * two[order].T @ one / n
    target_b = a * one.T @ two / n + (1 - a) * two[order].T @ two / n
    on = (c.diagonal() - 1).square().sum()
    off = c.square().sum() - c.diagonal().square().sum()
    return on, off, (c_ma - target_a).square().sum() + (c_mb - target_b).square().sum()


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_barlow_twins_is_the_papers(share: float, unit: bool) -> None:
    inputs = [rows(seed=seed) for seed in range(3)]
    order = torch.tensor([3, 0, 1, 5, 4, 2])
    found = mixed_barlow_twins_terms(*inputs, order, share, unit_length=unit)
    expected = plain(*inputs, order, share, unit)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)
        pairs = [torch.autograd.grad(x, inputs, retain_graph=True, allow_unused=True) for x in (ours, theirs)]
        for a, b in zip(*pairs, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_its_first_two_sums_are_barlow_twins() -> None:
    z1, z2, zm = (rows(seed=seed) for seed in range(3))
    terms = mixed_barlow_twins_terms(z1, z2, zm, torch.arange(6), 0.5, unbiased=False, unit_length=False, eps=1e-5)
    expected = barlow_twins(z1, z2, 0.1)
    torch.testing.assert_close(terms.invariance + 0.1 * terms.redundancy, expected, **EXACT)


def test_no_mixture_no_difference() -> None:
    """All of view 1, or all of the shuffled view 2, are embedded as themselves."""
    z1, z2 = rows(), rows(seed=1)
    order = torch.tensor([3, 0, 1, 5, 4, 2])
    assert mixed_barlow_twins_terms(z1, z2, z1, order, 1.0).mixing.item() == pytest.approx(0, abs=1e-20)
    assert mixed_barlow_twins_terms(z1, z2, z2[order], order, 0.0).mixing.item() == pytest.approx(0, abs=1e-20)


def test_a_linear_network_misses_by_its_standardisation() -> None:
    """Its mixtures are mixtures, but their spread shrinks by sqrt(a^2 + (1 - a)^2) and standardising stretches them."""
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    design = torch.cat([signs, -signs])  # columns: mean 0, variance 1, uncorrelated
    z1, z2 = design, torch.cat([signs, -signs])[:, [1, 2, 3, 0]]
    order, a = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]), 0.4
    terms = mixed_barlow_twins_terms(
        z1, z2, a * z1 + (1 - a) * z2, order, a, unbiased=False, unit_length=False, eps=0.0
    )
    correlation = z1.T @ z2 / 8
    assert correlation.diagonal().abs().max() == 0, "so the variance of a mixed column is a^2 + (1 - a)^2"
    shrink = 1 / math.sqrt(a**2 + (1 - a) ** 2) - 1
    apart = shrink * (a * z1 + (1 - a) * z2)
    expected = (apart.T @ z1 / 8).square().sum() + (apart.T @ z2 / 8).square().sum()
    torch.testing.assert_close(terms.mixing, expected, **EXACT)


def test_gradients_flow_through_what_is_aimed_at() -> None:
    z1, z2, zm = rows(), rows(seed=1), rows(seed=2)
    order = torch.tensor([3, 0, 1, 5, 4, 2])
    mixing = mixed_barlow_twins_terms(z1, z2, zm, order, 0.3).mixing
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(mixing, (z1, z2, zm)))


def test_the_order_of_the_batch_does_not_matter() -> None:
    z1, z2, zm = (rows(seed=seed).detach() for seed in range(3))
    order, moved = torch.tensor([3, 0, 1, 5, 4, 2]), torch.tensor([2, 5, 0, 1, 3, 4])
    place = moved.argsort()
    one = mixed_barlow_twins_terms(z1, z2, zm, order, 0.3)
    other = mixed_barlow_twins_terms(z1[moved], z2[moved], zm[moved], place[order[moved]], 0.3)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_a_constant_column_stays_finite() -> None:
    z = torch.ones(6, 4, requires_grad=True)
    terms = mixed_barlow_twins_terms(z, z, z, torch.arange(6), 0.5)
    sum(terms).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    with pytest.raises(DataError, match="one shape"):
        mixed_barlow_twins_terms(z, z[:5], z, torch.arange(6), 0.5)


def unit(count: int, width: int = 8, seed: int = 0) -> Tensor:
    return normalize(rows(count, width, seed), dim=1).detach()


def mixtures(queries: Tensor, queue: Tensor, hardest: int, pairs: int, with_query: int, seed: int = 0) -> Tensor:
    draws = Draws(seed, torch.arange(len(queries)))
    return mix_hard_negatives(queries, queue, draws, hardest=hardest, pairs=pairs, with_query=with_query)


def test_each_query_mixes_its_own_hardest_keys() -> None:
    queries, queue = unit(5), unit(30, seed=1)
    found = mixtures(queries, queue, 4, 200, 100)
    assert found.shape == (5, 300, 8)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(5, 300, dtype=torch.float64))
    near = (queries @ queue.T).topk(4).indices
    for row in range(5):
        # Pairs lie in the span of that query's four keys, and of no other's.
        basis = torch.linalg.qr(queue[near[row]].T).Q
        apart = found[row, :200] - found[row, :200] @ basis @ basis.T
        assert apart.norm(dim=1).max() < 1e-9
        basis = torch.linalg.qr(torch.cat([queue[near[row]], queries[[row]]]).T).Q
        apart = found[row, 200:] - found[row, 200:] @ basis @ basis.T
        assert apart.norm(dim=1).max() < 1e-9
    other = torch.linalg.qr(queue[near[0]].T).Q
    assert (found[1, :200] - found[1, :200] @ other @ other.T).norm(dim=1).max() > 0.1


def test_mixtures_with_the_query_are_harder_but_keep_to_the_key() -> None:
    queries, queue = unit(5), unit(30, seed=1)
    found = mixtures(queries, queue, 1, 3, 100)
    hardest, place = (queries @ queue.T).max(1)
    key = queue[place]
    for row in range(5):
        torch.testing.assert_close(found[row, :3], key[[row] * 3])  # one key: mixed with itself
        to_query, to_key = found[row, 3:] @ queries[row], found[row, 3:] @ key[row]
        assert (to_query > hardest[row]).all()
        assert (to_key >= to_query - 1e-12).all()


def test_shares_are_uniform_between_two_keys_and_up_to_a_half_for_the_query() -> None:
    """Read back from orthogonal keys, whose mixtures show their shares: (a, 1 - a) over its length."""
    keys = torch.eye(4, 8, dtype=torch.float64)
    query = torch.nn.functional.one_hot(torch.tensor([7]), 8).double()
    found = mixtures(query, keys, 4, 4000, 4000)[0]
    pairs, with_query = found[:4000], found[4000:]
    assert (found >= -1e-12).all()
    assert ((pairs > 1e-9).sum(1) <= 2).all()
    assert (pairs[:, 4:].abs() < 1e-12).all()
    two = pairs[(pairs > 1e-9).sum(1) == 2]
    assert len(two) == pytest.approx(3000, abs=150), "two of four keys differ three times in four"
    assert (two.argmax(1).bincount(minlength=4) > 600).all(), "each key takes part"
    share = two.sort(1, descending=True).values[:, :2]
    share = share[:, 0] / share.sum(1)  # of the larger: uniform in [1/2, 1]
    assert share.mean().item() == pytest.approx(0.75, abs=0.01)
    assert share.var().item() == pytest.approx(1 / 48, rel=0.1)
    to_query = with_query[:, 7] / with_query.sum(1)  # uniform in [0, 1/2]
    assert to_query.max() <= 0.5
    assert to_query.mean().item() == pytest.approx(0.25, abs=0.01)
    assert to_query.var().item() == pytest.approx(1 / 48, rel=0.1)


def test_the_loss_grows_and_gradients_see_constants() -> None:
    query, key, queue = rows(5, 8), rows(5, 8, 2), unit(30, seed=1)
    own = mixtures(normalize(query, dim=1).detach(), queue, 4, 6, 3)
    plain = info_nce_queue(query, key, queue, 0.2)
    found = info_nce_queue(query, key, queue, 0.2, own=own)
    assert found > plain
    q, k = normalize(query, dim=1), normalize(key, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T, (own @ q[:, :, None]).squeeze(2)], 1) / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(found, expected, **EXACT)
    for a, b in zip(torch.autograd.grad(found, (query, key)), torch.autograd.grad(expected, (query, key)), strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    torch.testing.assert_close(info_nce_queue(query, key, queue, 0.2, own=own[:, :0]), plain, **EXACT)


def test_one_key_repeated_adds_its_share() -> None:
    query, queue = unit(1), unit(30, seed=1)
    own = mixtures(query, queue, 1, 4, 0)
    largest = (query @ queue.T).max().item()
    logits = torch.cat([query @ query.T, query @ queue.T], 1)[0] / 0.2
    expected = (logits.exp().sum() + 4 * math.exp(largest / 0.2)).log() - 1 / 0.2
    torch.testing.assert_close(info_nce_queue(query, query, queue, 0.2, own=own), expected, **EXACT)


def test_draws_decide_and_sizes_are_checked() -> None:
    queries, queue = unit(5), unit(30, seed=1)
    assert torch.equal(mixtures(queries, queue, 4, 6, 3), mixtures(queries, queue, 4, 6, 3))
    assert not torch.equal(mixtures(queries, queue, 4, 6, 3), mixtures(queries, queue, 4, 6, 3, seed=1))
    assert mixtures(queries, queue, 1000, 6, 3).shape == (5, 9, 8), "no more keys than there are"
    with pytest.raises(ConfigError, match="hardest must be at least 1"):
        mixtures(queries, queue, 0, 6, 3)
