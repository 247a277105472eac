"""Global contrastive losses with temperatures of samples' own, against plain formulas in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import DataError
from withstand.losses.contrast.contrastive import dcl
from withstand.losses.contrast.individual_temperatures import (
    Contrasts,
    contrasts,
    log_partition,
    moving_average,
    surrogate,
    temperature_gradient,
)

EXACT = {"rtol": 0, "atol": 1e-10}


def rows(count: int = 5, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).requires_grad_()


def looped(z1: Tensor, z2: Tensor, tau: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The papers' estimator, anchor by anchor: the surrogate, the batch's partition functions, their tau gradients."""
    views = normalize(torch.cat([z1, z2]), dim=1)
    n = len(z1)
    total, g, slope = torch.zeros((), dtype=torch.float64), [], []
    for i in range(2 * n):
        positive = views[i] @ views[(i + n) % (2 * n)]
        h = torch.stack([views[i] @ views[j] - positive for j in range(2 * n) if j % n != i % n])
        e = (h / tau[i]).exp()
        p = (e / u[i]).detach()
        g.append(e.mean().detach())
        total = total + (p * h).mean() / n
        slope.append(u[i].log() + 0.3 - (p * h.detach() / tau[i]).mean())
    return total, torch.stack(g), torch.stack(slope)


def test_the_estimator_is_the_papers() -> None:
    z1, z2 = rows(), rows(seed=1)
    tau = torch.linspace(0.1, 0.6, 5, dtype=torch.float64).repeat(2)
    u = torch.linspace(0.2, 3, 10, dtype=torch.float64)
    expected, g, slope = looped(z1, z2, tau, u)
    some = contrasts(z1, z2)
    assert some.negatives == 8
    torch.testing.assert_close(log_partition(some, tau), g.log(), **EXACT)
    found = surrogate(some, tau, u.log())
    torch.testing.assert_close(found, expected, **EXACT)
    for a, b in zip(torch.autograd.grad(found, (z1, z2)), torch.autograd.grad(expected, (z1, z2)), strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    torch.testing.assert_close(temperature_gradient(some, tau, u.log(), 0.3), slope, **EXACT)


@pytest.mark.parametrize("subtract", [True, False])
def test_without_memory_the_gradient_is_tau_times_dcls(subtract: bool) -> None:
    z1, z2 = rows(), rows(seed=1)
    tau = torch.full((10,), 0.3, dtype=torch.float64)
    some = contrasts(z1, z2, subtract_positive=subtract)
    positive = None if subtract else (normalize(z1, dim=1) * normalize(z2, dim=1)).sum(1)
    found = torch.autograd.grad(surrogate(some, tau, log_partition(some, tau), positive), (z1, z2))
    expected = torch.autograd.grad(2 * 0.3 * dcl(z1, z2, 0.3), (z1, z2))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_the_temperatures_gradient_is_the_objectives() -> None:
    """d/dtau of tau (log E exp(h / tau) + rho), which is rho minus the weights' divergence from even ones."""
    z1, z2 = (z.detach() for z in (rows(), rows(seed=1)))
    some = contrasts(z1, z2)
    tau = torch.linspace(0.1, 0.6, 10, dtype=torch.float64).requires_grad_()
    exponents = (some.h / tau[:, None]).masked_fill(~some.negative, -torch.inf)
    log_g = exponents.logsumexp(1) - math.log(8)
    expected = torch.autograd.grad((tau * (log_g + 0.3)).sum(), tau)[0]
    found = temperature_gradient(some, tau.detach(), log_g.detach(), 0.3)
    torch.testing.assert_close(found, expected, **EXACT)
    weights = exponents.softmax(1)
    divergence = (torch.special.xlogy(weights, weights)).sum(1) + math.log(8)
    torch.testing.assert_close(found, 0.3 - divergence, **EXACT)


def descend(some: Contrasts, rho: float, low: float = 0.05, high: float = 2.0, steps: int = 3000) -> Tensor:
    tau = torch.full((len(some.h),), 0.3, dtype=torch.float64)
    for _ in range(steps):
        slope = temperature_gradient(some, tau, log_partition(some, tau), rho)
        tau = (tau - 0.02 * slope).clamp(low, high)
    return tau


def test_temperatures_settle_where_rho_says() -> None:
    some = contrasts(rows(20, 6).detach(), rows(20, 6, 1).detach())
    tau = descend(some, 0.4)
    slope = temperature_gradient(some, tau, log_partition(some, tau), 0.4)
    inside = (tau > 0.0501) & (tau < 1.999)
    assert inside.any()
    assert slope[inside].abs().max() < 1e-3
    assert (slope[tau <= 0.0501] > -1e-3).all()
    assert (slope[tau >= 1.999] < 1e-3).all()


@pytest.mark.thorough
def test_extreme_rho() -> None:
    some = contrasts(rows(20, 6).detach(), rows(20, 6, 1).detach())
    assert (descend(some, 0.0, steps=6000) == 2.0).all(), "no divergence allowed: as even as can be"
    assert (descend(some, math.log(38) + 0.1) == 0.05).all(), "more divergence than 38 negatives can have"


def test_anchors_with_many_near_negatives_run_hot() -> None:
    """Two levels of similarity, a share f near: the weights' divergence is in closed form."""
    settled = []
    for near in (100, 1):
        h = torch.full((1, 1002), -0.5, dtype=torch.float64)
        h[0, :near] = 0.3
        negative = torch.ones_like(h, dtype=torch.bool)
        negative[0, -2:] = False
        tau = float(descend(Contrasts(h, negative), 0.4, high=5.0))
        f, e = near / 1000, math.exp(0.8 / tau)
        share = f * e / (f * e + 1 - f)
        divergence = share * math.log(share / f) + (1 - share) * math.log((1 - share) / (1 - f))
        assert divergence == pytest.approx(0.4, abs=1e-3)
        settled.append(tau)
    assert settled[0] > 1.5 * settled[1]


def test_a_constant_on_all_similarities_matters_only_to_memory() -> None:
    some = contrasts(rows().detach(), rows(seed=1).detach())
    other = Contrasts(some.h + 0.2, some.negative)
    tau = torch.full((10,), 0.3, dtype=torch.float64)
    found = [temperature_gradient(x, tau, log_partition(x, tau), 0.3) for x in (some, other)]
    torch.testing.assert_close(*found, **EXACT)
    old = torch.zeros(10, dtype=torch.float64)
    kept = [temperature_gradient(x, tau, moving_average(old, log_partition(x, tau), 0.5), 0.3) for x in (some, other)]
    assert not torch.allclose(*kept)


def test_moving_average() -> None:
    old, new = torch.tensor([2.0, 3.0]), torch.tensor([4.0, 0.5])
    found = moving_average(old.log(), new.log(), 0.25).exp()
    torch.testing.assert_close(found, 0.75 * old + 0.25 * new)
    torch.testing.assert_close(moving_average(old.log(), new.log(), 1.0).exp(), new)
    unseen = torch.tensor([-math.inf, 0.0])
    torch.testing.assert_close(moving_average(unseen, new.log(), 0.25).exp(), torch.tensor([4.0, 0.75 + 0.125]))


def test_cold_temperatures_do_not_overflow() -> None:
    some = contrasts(rows().detach().float(), rows(seed=1).detach().float())
    tau = torch.full((10,), 0.001)
    log_u = log_partition(some, tau)
    assert log_u.isfinite().all()
    assert surrogate(some, tau, log_u).isfinite()
    with pytest.raises(DataError, match="at least 2 samples"):
        contrasts(rows(1), rows(1))
