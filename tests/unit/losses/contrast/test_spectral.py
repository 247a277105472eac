"""The spectral loss, and what deep linear networks make of features under it, against gradient descent."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.losses.contrast.spectral import feature_weights, population_spectral_loss, spectral_contrastive

SHARED = torch.tensor([1.0, 0.5, 0.25, 0.8, 0.05], dtype=torch.float64)
NOISE = torch.tensor([0.1, 0.1, 0.1, 1.2, 0.05], dtype=torch.float64)


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).requires_grad_()


def test_the_batchs_loss_pair_by_pair() -> None:
    z1, z2 = rows(5, 3), rows(5, 3, 1)
    own = torch.stack([z1[i] @ z2[i] for i in range(5)]).mean()
    others = torch.stack([(z1[i] @ z2[j]) ** 2 for i in range(5) for j in range(5) if i != j]).mean()
    found, expected = spectral_contrastive(z1, z2), -2 * own + others
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for a, b in zip(torch.autograd.grad(found, (z1, z2)), torch.autograd.grad(expected, (z1, z2)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    rotation = torch.linalg.qr(rows(3, 3, 2).detach()).Q
    torch.testing.assert_close(spectral_contrastive(z1 @ rotation, z2 @ rotation), found)
    with pytest.raises(DataError, match="at least 2"):
        spectral_contrastive(z1[:1], z2[:1])


def test_it_estimates_the_populations_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = rows(2, 5, 3).detach()
    values = []
    for _ in range(200):
        x = torch.randn(64, 5, generator=generator, dtype=torch.float64) * SHARED.sqrt()
        one, two = (x + torch.randn(64, 5, generator=generator, dtype=torch.float64) * NOISE.sqrt() for _ in range(2))
        values.append(spectral_contrastive(one @ weight.T, two @ weight.T))
    found = torch.stack(values)
    expected = population_spectral_loss(weight, torch.diag(SHARED + NOISE), torch.diag(SHARED))
    assert abs(found.mean() - expected) < 4 * found.std() / 200**0.5


def descend(outputs: int, shared: Tensor, noise: Tensor, layers: int = 2, start: float = 0.1) -> list[Tensor]:
    """Train a linear network on the population's loss, from a small start; return its layers, the first one first."""
    # Rotations, scaled: all layers alike, as balanced as a small start is. It is slow to leave.
    generator, count = torch.Generator().manual_seed(1), len(shared)
    turns = [
        torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=torch.float64)).Q for _ in range(layers)
    ]
    rows = [*[count] * (layers - 1), outputs]
    weights = [(start * turn[:some]).clone().requires_grad_() for turn, some in zip(turns, rows, strict=True)]
    spread, common = torch.diag(shared + noise), torch.diag(shared)
    for _ in range(6000):
        whole = weights[0]
        for weight in weights[1:]:
            whole = weight @ whole
        loss = population_spectral_loss(whole, spread, common)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data.sub_(gradient, alpha=0.05)
    return [weight.detach() for weight in weights]


@pytest.mark.thorough
@pytest.mark.parametrize("outputs", [4, 2])
def test_a_two_layer_network_ends_where_the_closed_form_says(outputs: int) -> None:
    shared, noise = (torch.tensor(some, dtype=torch.float64) for some in ([1.0, 0.5, 0.3, 0.8], [0.1, 0.1, 0.1, 0.6]))
    first, second = descend(outputs, shared, noise)
    ratio = (shared / (shared + noise)).sort(descending=True).values
    found = population_spectral_loss(second @ first, torch.diag(shared + noise), torch.diag(shared))
    assert found.item() == pytest.approx(-ratio[:outputs].square().sum().item(), abs=1e-6)
    after, before = (second @ first).norm(dim=0), first.norm(dim=0)
    torch.testing.assert_close(after, feature_weights(shared, noise, outputs), rtol=0, atol=1e-3)
    expected = feature_weights(shared, noise, outputs, layer=1)
    torch.testing.assert_close(before[expected > 0], expected[expected > 0], rtol=0, atol=0.02)
    assert (before[expected == 0] < 0.11).all(), "what the second layer drops keeps its small start"
    assert (first @ first.T - second.T @ second).abs().max() < 0.05, "the layers are balanced"


@pytest.mark.thorough
def test_three_layers_weigh_progressively() -> None:
    shared, noise = (torch.tensor(some, dtype=torch.float64) for some in ([1.0, 0.5, 0.8], [0.1, 0.1, 0.6]))
    whole = torch.eye(3, dtype=torch.float64)
    for layer, weight in enumerate(descend(3, shared, noise, layers=3, start=0.3), start=1):
        whole = weight @ whole
        expected = feature_weights(shared, noise, 3, layer=layer, layers=3)
        torch.testing.assert_close(whole.norm(dim=0), expected, rtol=0, atol=1e-3 if layer == 3 else 0.05)


def test_one_hot_classes_are_the_minimum() -> None:
    """K equally frequent classes, each at a corner of its own: outputs sqrt(K) times the corner, loss -K."""
    even = torch.eye(3, dtype=torch.float64) / 3
    corners = (3**0.5 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    least = population_spectral_loss(corners, even, even)
    assert least.item() == pytest.approx(-3)
    assert torch.autograd.grad(least, corners)[0].abs().max() < 1e-12
    for seed in range(5):
        assert population_spectral_loss(corners + 0.3 * rows(3, 3, seed), even, even) > least
    # A large batch of such samples estimates it, and feels no force but what its own pairs' absence leaves.
    z = (3**0.5 * torch.eye(3, dtype=torch.float64)[torch.arange(3000) % 3]).requires_grad_()
    found = spectral_contrastive(z, z)
    assert found.item() == pytest.approx(-3, abs=3e-3)
    assert torch.autograd.grad(found, z)[0].abs().max() < 1e-5


def test_the_known_example_and_progressive_weights() -> None:
    post = feature_weights(SHARED, NOISE, 5)
    torch.testing.assert_close(post, torch.tensor([0.909, 1.179, 1.429, 0.447, 2.236]).double(), rtol=0, atol=1e-3)
    pre = feature_weights(SHARED, NOISE, 5, layer=1)
    torch.testing.assert_close(pre, torch.tensor([0.953, 1.086, 1.195, 0.669, 1.495]).double(), rtol=0, atol=5e-3)
    thirds = [feature_weights(SHARED, NOISE, 5, layer=layer, layers=3) for layer in (1, 2, 3)]
    torch.testing.assert_close(thirds[0] ** 3, post)
    spreads = [float(some.max() / some.min()) for some in thirds]
    assert spreads == sorted(spreads)
    assert (feature_weights(SHARED, NOISE, 3) > 0).tolist() == [True, True, True, False, False]
    with pytest.raises(DataError, match="layer must lie"):
        feature_weights(SHARED, NOISE, 3, layer=3)
