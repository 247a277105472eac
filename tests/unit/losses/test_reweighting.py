"""Worst-case weights and the barrier problem against their definitions."""

import math

import pytest
import torch
from scipy.optimize import brentq

from withstand.core.errors import ConfigError
from withstand.losses.reweighting import (
    barrier_curvature,
    barrier_minimizer,
    log_mean_exponential,
    worst_case_weights,
)

LOSSES = torch.tensor([0.1, 0.7, 2.5, 1.0], dtype=torch.float64)


def value(temperature: float, losses: torch.Tensor = LOSSES) -> float:
    return temperature * float(log_mean_exponential(losses, temperature))


@pytest.mark.parametrize("r", [0.1, 0.5, 1.0, 10.0])
def test_duality(r: float) -> None:
    def regularized(w: torch.Tensor) -> float:
        return float((w * LOSSES).sum() - r * (w * (4 * w).log()).sum())

    best = worst_case_weights(LOSSES, r)
    assert float(best.sum()) == pytest.approx(1)
    assert regularized(best) == pytest.approx(value(r), abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        w = torch.rand(4, dtype=torch.float64, generator=generator)
        assert regularized(w / w.sum()) <= value(r) + 1e-12


def test_value() -> None:
    assert value(1.0, torch.full((5,), 0.3)) == pytest.approx(0.3)
    torch.testing.assert_close(worst_case_weights(torch.full((5,), 0.3), 0.1), torch.full((5,), 0.2))
    assert value(0.7, LOSSES + 2) == pytest.approx(value(0.7) + 2)
    torch.testing.assert_close(worst_case_weights(LOSSES + 2, 0.7), worst_case_weights(LOSSES, 0.7))
    values = [value(r) for r in (0.01, 0.1, 1.0, 10.0, 1e6)]
    assert values == sorted(values, reverse=True)
    assert float(LOSSES.mean()) <= values[-1] <= values[0] <= float(LOSSES.max())
    assert values[-1] == pytest.approx(float(LOSSES.mean()), abs=1e-5)
    assert math.isfinite(value(0.01, LOSSES * 1000))
    with pytest.raises(ConfigError):
        worst_case_weights(LOSSES, 0)


@pytest.mark.parametrize("slope", [-3.0, -1e-4, 0.0, 1e-3, 0.5, 20.0])
@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (0.0, 0.1), (-0.1, 0.03)])
def test_barrier_minimizer_against_a_root_finder(slope: float, low: float, high: float) -> None:
    c = 1e-3
    found = float(barrier_minimizer(*(torch.tensor(v, dtype=torch.float64) for v in (slope, low, high)), c))
    root = brentq(lambda d: slope + c / (high - d) - c / (d - low), low + 1e-12, high - 1e-12, xtol=1e-15)
    assert low < found < high
    assert found == pytest.approx(root, abs=1e-9)


def test_barrier_limits_and_curvature() -> None:
    g, eps = torch.tensor([-2.0, 0.3], dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    torch.testing.assert_close(barrier_minimizer(g, -eps, eps, 1e-12), -eps * g.sign())
    c = 0.01
    torch.testing.assert_close(barrier_minimizer(g, -eps, eps, c), -((c**2 + (g * eps) ** 2).sqrt() - c) / g)
    delta = torch.tensor(0.04, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(-c * ((eps - delta).log() + (delta + eps).log()), delta, create_graph=True)[0]
    second = torch.autograd.grad(first, delta)[0]
    torch.testing.assert_close(barrier_curvature(delta.detach(), -eps, eps, c), second)
