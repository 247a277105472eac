"""Losses towards keys and targets, against plain formulas in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from withstand.core.errors import ConfigError, DataError
from withstand.losses.agreement.distillation import byol, negative_cosine
from withstand.losses.agreement.variance import squared_covariances, vicreg, vicreg_terms
from withstand.losses.contrast.momentum_contrast import info_nce_across, info_nce_queue

EXACT = {"rtol": 0, "atol": 1e-10}


def rows(count: int = 6, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).requires_grad_()


def agree(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, **EXACT)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("temperature", [0.01, 0.2, 1.0])
def test_queue_is_cross_entropy_with_target_0(temperature: float) -> None:
    query, key, queue = rows(), rows(seed=1), normalize(rows(9, seed=2), dim=1).detach()
    q, k = normalize(query, dim=1), normalize(key, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / temperature
    plain = cross_entropy(logits, torch.zeros(6, dtype=torch.int64))
    agree(info_nce_queue(query, key, queue, temperature), plain, query, key)


def test_a_queue_of_the_other_keys_is_the_batch() -> None:
    query, key = rows(2), rows(2, seed=1)
    losses = [info_nce_queue(query[[i]], key[[i]], normalize(key[[1 - i]], dim=1).detach(), 0.3) for i in range(2)]
    torch.testing.assert_close(torch.stack(losses).mean(), info_nce_across(query, key, 0.3), **EXACT)


@pytest.mark.parametrize("temperature", [0.01, 0.2, 1.0])
def test_across_is_cross_entropy_with_the_own_row(temperature: float) -> None:
    query, key = rows(), rows(seed=1)
    logits = normalize(query, dim=1) @ normalize(key, dim=1).T / temperature
    plain = cross_entropy(logits, torch.arange(6))
    agree(info_nce_across(query, key, temperature), plain, query, key)


def test_across_in_closed_form() -> None:
    z = 3 * torch.eye(5, 7, dtype=torch.float64)
    expected = math.log1p(4 * math.exp(-1 / 0.2))
    assert info_nce_across(z, z, 0.2).item() == pytest.approx(expected, abs=1e-12)


def test_cosine_and_byol() -> None:
    p, z = rows(), rows(seed=1)
    plain = -torch.nn.functional.cosine_similarity(p, z.detach()).mean()
    agree(negative_cosine(p, z), plain, p)
    squared = (normalize(p, dim=1) - normalize(z.detach(), dim=1)).square().sum(1).mean()
    agree(byol(p, z), squared, p)
    assert byol(p, 5 * p).item() == pytest.approx(0, abs=1e-12)
    assert byol(p, -p).item() == pytest.approx(4, abs=1e-12)
    assert torch.autograd.grad(byol(p, z), z, allow_unused=True) == (None,), "no gradient reaches the target"


def plain_vicreg(z1: Tensor, z2: Tensor, branches: float) -> Tensor:
    """The paper's algorithm 1, with matrices spelt out."""
    count, width = z1.shape
    total = 25 * torch.nn.functional.mse_loss(z1, z2)
    for z in (z1, z2):
        std = (z.var(0) + 1e-4).sqrt()
        total = total + 25 * branches * torch.relu(1 - std).mean()
        z = z - z.mean(0)
        covariance = z.T @ z / (count - 1)
        total = total + (covariance.square().sum() - covariance.diagonal().square().sum()) / width
    return total


@pytest.mark.parametrize("sum_branches", [False, True])
@pytest.mark.parametrize("shape", [(6, 4), (4, 9)])
def test_vicreg(shape: tuple[int, int], sum_branches: bool) -> None:
    z1, z2 = rows(*shape), rows(*shape, seed=1)
    plain = plain_vicreg(z1, z2, 1.0 if sum_branches else 0.5)
    agree(vicreg(z1, z2, sum_branches=sum_branches), plain, z1, z2)


def test_vicreg_in_closed_form() -> None:
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    spread = 2 * signs  # decorrelated, variance above 1
    assert vicreg(spread, spread).item() == pytest.approx(0, abs=1e-12)
    point = torch.ones(4, 3, dtype=torch.float64)
    terms = vicreg_terms(point, point)
    assert [term.item() for term in terms] == pytest.approx([0, 1 - 0.01, 0])
    assert vicreg(point, point, sum_branches=True).item() == pytest.approx(2 * 25 * 0.99)
    assert squared_covariances(spread).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite(dtype: torch.dtype) -> None:
    one, other = (rows(8, 16, seed=seed).detach().to(dtype).requires_grad_() for seed in range(2))
    queue = normalize(rows(9, 16, seed=2), dim=1).detach().to(dtype)
    losses = [info_nce_queue(one, other, queue), info_nce_across(one, other), byol(one, other), vicreg(one, other)]
    for value in losses:
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert torch.autograd.grad(value, one)[0].isfinite().all()


def test_mistakes_are_told() -> None:
    one, other = rows(), rows(5)
    for loss in (info_nce_across, negative_cosine, vicreg):
        with pytest.raises(DataError, match=r"one shape \(B, D\), not \(6, 4\) and \(5, 4\)"):
            loss(one, other)
    with pytest.raises(DataError, match=r"one shape \(B, D\), not \(0, 4\)"):
        negative_cosine(one[:0], one[:0])
    with pytest.raises(ConfigError, match="temperature must be above 0, not -1"):
        info_nce_across(one, one, -1)
    with pytest.raises(DataError, match="at least 2 samples, not 1"):
        vicreg(one[:1], one[:1])
