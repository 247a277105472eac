"""Weights of samples, and the barrier problem, against their definitions."""

import math

import pytest
import torch
from scipy.optimize import brentq

from withstand.core.errors import ConfigError
from withstand.losses.robust.reweighting import (
    Curve,
    barrier_curvature,
    barrier_minimizer,
    log_mean_exponential,
    margin_weights,
    probability_margin,
    survival_weights,
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


@pytest.mark.parametrize(("curve", "steps"), [("tanh", 10), ("sigmoid", 10), ("discrete", 10), ("tanh", 7)])
def test_survival_weights(curve: Curve, steps: int) -> None:
    """GAIRAT's formulas, spelt out and normalised to a mean of 1."""
    kappa = torch.arange(steps + 1)
    z = -1 + 5 * (1 - 2 * kappa.double() / steps)
    raw = {"tanh": (1 + z.tanh()) / 2, "sigmoid": z.sigmoid(), "discrete": (steps + 1 - kappa.double()) / (steps + 1)}
    if steps % 2 == 0:  # as the official code has it
        torch.testing.assert_close(z, -1 + (steps // 2 - kappa.double()) * 5 / (steps // 2))
    found = survival_weights(kappa, steps, shift=-1.0, curve=curve)
    torch.testing.assert_close(found.double(), raw[curve] / raw[curve].mean(), rtol=1e-4, atol=1e-6)
    assert (found.diff() < 0).all()


def test_equal_survival_or_an_infinite_shift_gives_equal_weights() -> None:
    torch.testing.assert_close(survival_weights(torch.full((5,), 3), 10), torch.ones(5))
    for shift in (float("inf"), 1e4):
        torch.testing.assert_close(survival_weights(torch.arange(5), 4, shift=shift), torch.ones(5))
    assert survival_weights(torch.arange(5), 4, shift=-1e3).isfinite().all()


def test_margins_and_their_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 4, dtype=torch.float64, generator=generator)
    y = torch.arange(50) % 4
    p = logits.softmax(1)
    margin = probability_margin(logits, y)
    for row, (label, found) in enumerate(zip(y.tolist(), margin.tolist(), strict=True)):
        others = [p[row, k].item() for k in range(4) if k != label]
        assert found == pytest.approx(max(others) - p[row, label].item(), abs=1e-12)
    weight = margin_weights(margin, bias=-0.5, slope=10.0)
    torch.testing.assert_close(weight, 3 / (1 + torch.exp(-10 * (margin - 0.5))))
    assert ((weight > 0) & (weight < 3)).all()
    order = margin.argsort()
    assert (weight[order].diff() >= 0).all()
    mean_one = margin_weights(margin, bias=-0.5, slope=10.0, scale=None)
    torch.testing.assert_close(mean_one, weight / weight.mean())
    torch.testing.assert_close(margin_weights(margin, bias=0.2, slope=0.0), torch.full_like(margin, 1.5))
