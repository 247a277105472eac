"""The behaviour of contrastive loss: exact limits, shares of the push, hard and simple losses."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.hard_negatives.hardness import (
    hard_contrastive,
    penalty_distribution,
    relative_penalties,
    simple_contrastive,
    tolerance,
)

EXACT = {"rtol": 0, "atol": 1e-10}


def rows(count: int = 5, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).requires_grad_()


def looped(z1: Tensor, z2: Tensor, kept: int) -> list[tuple[Tensor, Tensor]]:
    """Each anchor's positive cosine and its hardest negatives'."""
    views = normalize(torch.cat([z1, z2]), dim=1)
    n = len(z1)
    pairs = []
    for i in range(2 * n):
        negatives = torch.stack([views[i] @ views[j] for j in range(2 * n) if j % n != i % n])
        pairs.append((views[i] @ views[(i + n) % (2 * n)], negatives.sort(descending=True).values[:kept]))
    return pairs


def agree(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, **EXACT)
    found, expected = (torch.autograd.grad(value, inputs, retain_graph=True) for value in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_hard_and_simple_losses_by_their_formulas(kept: int) -> None:
    z1, z2, alpha = rows(), rows(seed=1), kept / 8
    pairs = looped(z1, z2, kept)
    hard = [-(p / 0.3) + torch.cat([p[None], n]).div(0.3).logsumexp(0) for p, n in pairs]
    agree(hard_contrastive(z1, z2, 0.3, alpha=alpha), torch.stack(hard).mean(), z1, z2)
    simple = [-p + 0.7 * n.sum() for p, n in pairs]
    agree(simple_contrastive(z1, z2, 0.7, alpha=alpha), torch.stack(simple).mean(), z1, z2)
    even = [-p + n.mean() for p, n in pairs]
    agree(simple_contrastive(z1, z2, alpha=alpha), torch.stack(even).mean(), z1, z2)


def test_all_negatives_are_nt_xent_and_fewer_are_less() -> None:
    z1, z2 = rows(), rows(seed=1)
    agree(hard_contrastive(z1, z2, 0.2), nt_xent(z1, z2, 0.2), z1, z2)
    values = [hard_contrastive(z1, z2, 0.2, alpha=k / 8).item() for k in range(1, 9)]
    assert values == sorted(values)


def test_a_single_kept_negative_is_the_hardest_and_others_feel_nothing() -> None:
    z1, z2 = rows(), rows(seed=1)
    (to_first,) = torch.autograd.grad(hard_contrastive(z1, z2, 0.3, alpha=1 / 8), z1)
    alone = torch.stack([torch.stack([p, n[0]]).div(0.3).logsumexp(0) - p / 0.3 for p, n in looped(z1, z2, 8)]).mean()
    torch.testing.assert_close(torch.autograd.grad(alone, z1)[0], to_first, **EXACT)
    assert alone < nt_xent(z1, z2, 0.3), "fewer negatives, less loss"


def test_hot_and_cold_limits() -> None:
    z1, z2 = (z.detach() for z in (rows(), rows(seed=1)))
    pairs = looped(z1, z2, 8)
    hot = torch.stack([-p + torch.cat([p[None], n]).mean() for p, n in pairs]).mean().item()
    assert 1e3 * (nt_xent(z1, z2, 1e3).item() - math.log(9)) == pytest.approx(hot, abs=1e-2)
    cold = torch.stack([(n[0] - p).clamp_min(0) for p, n in pairs]).mean().item()
    assert 1e-3 * nt_xent(z1, z2, 1e-3).item() == pytest.approx(cold, abs=1e-2)


def test_penalties_are_the_gradients_shares() -> None:
    similarity = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    positive = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    loss = torch.cat([positive[None], similarity]).div(0.3).logsumexp(0) - positive / 0.3
    to_positive, to_negatives = torch.autograd.grad(loss, (positive, similarity))
    torch.testing.assert_close(to_negatives.sum(), -to_positive, **EXACT)
    shares = relative_penalties(similarity[None], 0.3)[0]
    torch.testing.assert_close(shares, to_negatives / -to_positive, **EXACT)


def test_entropy_rises_with_temperature() -> None:
    z = rows(20, 6).detach()
    found = [penalty_distribution(z, tau) for tau in (0.02, 0.07, 0.2, 0.5, 1.0, 100.0)]
    entropies = [one.entropy.item() for one in found]
    assert entropies == sorted(entropies)
    assert found[-1].evenness.item() == pytest.approx(1, abs=1e-4)
    assert found[0].largest > found[-1].largest
    for one in found:
        assert one.curve.shape == (19,)
        assert one.curve[0] == one.largest
        assert one.curve[-1].item() == pytest.approx(1)
    alike = penalty_distribution(torch.ones(20, 6), 0.07)
    assert alike.entropy.item() == pytest.approx(math.log(19), rel=1e-5)


def test_tolerance() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    z = torch.eye(3, dtype=torch.float64)[labels]
    assert tolerance(z, labels).item() == pytest.approx(1)
    assert tolerance(z, labels, joint=True).item() == pytest.approx((2 + 6) / 30)
    some = rows(6, 4).detach()
    unit = normalize(some, dim=1)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]]
    expected = torch.stack([unit[i] @ unit[j] for i, j in pairs])
    torch.testing.assert_close(tolerance(some, labels), expected.mean(), **EXACT)
    torch.testing.assert_close(tolerance(some, labels, joint=True), expected.sum() / 30, **EXACT)


def test_mistakes_are_told() -> None:
    z = rows()
    with pytest.raises(ConfigError, match=r"alpha 0.1 keeps none of 8 negatives: give at least 0.125"):
        hard_contrastive(z, z, alpha=0.1)
    with pytest.raises(ConfigError, match=r"alpha must lie in \(0, 1\], not 0"):
        simple_contrastive(z, z, alpha=0)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        relative_penalties(z, 0)
    with pytest.raises(DataError, match="two samples of one class"):
        tolerance(z, torch.arange(5))
    with pytest.raises(DataError, match="3 or more samples"):
        penalty_distribution(z[:2], 0.1)
