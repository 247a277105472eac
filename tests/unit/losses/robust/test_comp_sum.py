"""Closed forms of comp-sum losses, their consistency bounds and the smooth adversarial loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.robust.comp_sum import (
    CompSumLoss,
    adversarial_margin,
    comp_sum,
    consistency_bound,
    difference_shift,
    differences,
    generalized_cross_entropy,
    least_conditional_risk,
    minimizability_gap,
    phi,
    simple_bound,
    smooth_adversarial,
    transform,
)

TAUS = [0.0, 0.5, 0.9, 1.0, 1.3, 1.7, 2.0, 3.0]


def scores(count: int = 40, classes: int = 5, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(count, classes, dtype=torch.float64, generator=generator)
    return h, torch.randint(0, classes, (count,), generator=generator)


@pytest.mark.parametrize("tau", TAUS)
def test_the_definition(tau: float) -> None:
    h, y = scores()
    u = torch.expm1(h.logsumexp(1) - h.gather(1, y[:, None]).squeeze(1))
    expected = torch.log1p(u) if tau == 1 else ((1 + u) ** (1 - tau) - 1) / (1 - tau)
    torch.testing.assert_close(comp_sum(h, y, tau), expected, rtol=1e-10, atol=1e-12)


def test_named_members() -> None:
    h, y = scores()
    p = h.softmax(1).gather(1, y[:, None]).squeeze(1)
    torch.testing.assert_close(comp_sum(h, y, 1), F.cross_entropy(h, y, reduction="none"), rtol=0, atol=1e-12)
    torch.testing.assert_close(comp_sum(h, y, 2), 1 - p)
    torch.testing.assert_close(comp_sum(h, y, 2), (h.softmax(1) - F.one_hot(y, 5)).abs().sum(1) / 2)
    torch.testing.assert_close(comp_sum(h, y, 0), (-differences(h, y)).exp().sum(1))
    torch.testing.assert_close(comp_sum(h, y, 0.5), 2 * (p**-0.5 - 1))
    torch.testing.assert_close(generalized_cross_entropy(h, y, 0.7), (1 - p**0.7) / 0.7)
    for step in (-1e-6, 1e-6, -1e-7):
        assert (comp_sum(h, y, 1 + step) - comp_sum(h, y, 1)).abs().max() < 1e-4 * abs(step) * 1e6


@pytest.mark.parametrize("tau", TAUS)
def test_gradient_is_cross_entropys_times_a_power_of_p(tau: float) -> None:
    h, y = scores(8)
    h.requires_grad_(True)
    found = torch.autograd.grad(comp_sum(h, y, tau).sum(), h)[0]
    p = h.softmax(1).detach()
    own = p.gather(1, y[:, None])
    torch.testing.assert_close(found, own ** (tau - 1) * (p - F.one_hot(y, 5)))
    assert torch.autograd.gradcheck(lambda s: comp_sum(s, y, tau), (h,))


@pytest.mark.parametrize("tau", TAUS)
def test_symmetries(tau: float) -> None:
    h, y = scores()
    torch.testing.assert_close(comp_sum(h + 3, y, tau), comp_sum(h, y, tau))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(comp_sum(h[:, order], order.argsort()[y], tau), comp_sum(h, y, tau))


def test_a_larger_tau_never_costs_more() -> None:
    h, y = scores()
    losses = torch.stack([comp_sum(h, y, tau) for tau in TAUS])
    assert (losses.diff(dim=0) <= 1e-12).all()


def test_extreme_scores() -> None:
    h, y = torch.tensor([[1e4, -1e4], [-1e4, 1e4]]), torch.tensor([0, 0])
    for tau in TAUS[3:]:
        assert comp_sum(h, y, tau).isfinite().all()
    assert comp_sum(h, y, 0.0).tolist() == [0, math.inf]
    assert comp_sum(h.bfloat16(), y, 1.5).dtype == torch.float32


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("tau", TAUS)
def test_transform_and_its_inverse(tau: float, classes: int) -> None:
    grid = torch.linspace(0, 1, 41, dtype=torch.float64)
    values = torch.tensor([transform(float(b), tau, classes) for b in grid], dtype=torch.float64)
    assert values[0] == pytest.approx(0, abs=1e-15)
    assert (values.diff() > 0).all()
    assert (values.diff().diff() > -1e-12).all(), "convex"
    for beta, value in zip(grid.tolist(), values.tolist(), strict=True):
        if beta > 0.05:  # below, the transform's own digits are few
            assert consistency_bound(value, tau, classes) == pytest.approx(beta, abs=1e-8)
        assert simple_bound(value, tau, classes) >= beta - 1e-9
    assert consistency_bound(1e9, tau, classes) == 1


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(0.0, math.sqrt(2 * 0.02)), (0.5, math.sqrt(2**0.5 * 1.5 * 0.02)), (1.0, math.sqrt(2 * 0.02)),
     (1.5, math.sqrt(2 * 4**0.5 * 0.02)), (2.0, 4 * 0.02), (3.0, 2 * 16 * 0.02)],
)  # fmt: skip
def test_the_papers_closed_form_by_numbers(tau: float, expected: float) -> None:
    assert simple_bound(0.02, tau, 4) == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("tau", TAUS[:6])
def test_transform_by_brute_force_for_two_classes(tau: float, beta: float) -> None:
    """The least excess of a prediction that ties, hence errs, where the classes' probabilities differ by beta."""
    chances = torch.tensor([(1 + beta) / 2, (1 - beta) / 2], dtype=torch.float64)
    margins = torch.linspace(-20, 20, 200001, dtype=torch.float64)
    p = torch.stack([F.logsigmoid(margins), F.logsigmoid(-margins)])
    risk = (chances[:, None] * phi(p, tau)).sum(0)
    tie = (chances * phi(torch.full((2,), math.log(0.5), dtype=torch.float64), tau)).sum()
    assert float(tie - risk.min()) == pytest.approx(transform(beta, tau, 2), abs=1e-6)
    assert float(risk.min()) == pytest.approx(float(least_conditional_risk(chances, tau)), abs=1e-6)


@given(st.integers(0, 10_000), st.sampled_from(TAUS))
def test_the_bound_holds_on_random_problems(seed: int, tau: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    chances = torch.rand(6, 4, dtype=torch.float64, generator=generator).pow(3)
    chances = chances / chances.sum(1, keepdim=True)
    h = 3 * torch.randn(6, 4, dtype=torch.float64, generator=generator)
    surrogate = (chances * phi(h.log_softmax(1), tau)).sum(1)
    excess = float((surrogate - least_conditional_risk(chances, tau)).mean())
    zero_one = float((chances.amax(1) - chances.gather(1, h.argmax(1, keepdim=True)).squeeze(1)).mean())
    assert zero_one <= consistency_bound(max(excess, 0), tau, 4) + 1e-9


def test_minimizability_gap() -> None:
    chances = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    best = float((weights * least_conditional_risk(chances, 1.0)).sum())
    assert minimizability_gap(chances, weights, best, 1.0).item() == pytest.approx(0, abs=1e-15)
    constant = weights @ chances  # one prediction for both points: log-loss is least at the mean
    risk = float(torch.special.entr(constant).sum())
    assert minimizability_gap(chances, weights, risk, 1.0).item() > 0.1


def test_smooth_adversarial_loss() -> None:
    h, y = scores()
    moved, _ = scores(seed=1)
    torch.testing.assert_close(smooth_adversarial(h, h, y, tau=1.5, nu=3.0), comp_sum(h, y, 1.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(smooth_adversarial(h, moved, y, nu=0), comp_sum(h, y))
    shift = (differences(moved, y) - differences(h, y)).norm(dim=1)
    torch.testing.assert_close(difference_shift(h, moved, y), shift)
    torch.testing.assert_close(smooth_adversarial(h, moved, y, rho=0.5, nu=0.2), comp_sum(2 * h, y) + 0.2 * shift)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("rho", [0.5, 1.0, 2.0])
def test_it_bounds_the_margin_loss_and_that_the_zero_one_loss(tau: float, rho: float) -> None:
    h, y = scores(400)
    moved = h + torch.randn(400, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    margin = adversarial_margin(moved, y, tau=tau, rho=rho)
    smooth = smooth_adversarial(h, moved, y, tau=tau, rho=rho, nu=2 / rho)
    assert (smooth >= margin - 1e-9).all()
    wrong = (differences(moved, y) <= 0).any(1)
    one = phi(torch.tensor(-math.log(2), dtype=torch.float64), tau)
    assert (margin >= one * wrong - 1e-12).all()


def test_difference_shift_has_a_gradient_where_nothing_moved() -> None:
    h, y = scores()
    moved = h.clone().requires_grad_(True)
    assert torch.autograd.grad(difference_shift(h, moved, y).sum(), moved)[0].eq(0).all()


def test_module() -> None:
    h, y = scores()
    torch.testing.assert_close(CompSumLoss(1.5)(h, y), comp_sum(h, y, 1.5).mean())
    torch.testing.assert_close(CompSumLoss(1.5, "sum")(h, y), comp_sum(h, y, 1.5).sum())
    assert CompSumLoss(reduction="none")(h, y).shape == (40,)
    soft = F.one_hot(y, 5).double()
    torch.testing.assert_close(CompSumLoss()(h, soft), F.cross_entropy(h, y))
    with pytest.raises(DataError, match="tau=1 only"):
        CompSumLoss(1.5)(h, soft)
    for wrong in (
        lambda: CompSumLoss(-1),
        lambda: CompSumLoss(reduction="median"),
        lambda: transform(2, 1, 2),
        lambda: consistency_bound(-1e-3, 1.0, 2),
        lambda: smooth_adversarial(h, h, y, rho=0.0),
        lambda: smooth_adversarial(h, h, y, rho=-0.5),
    ):
        with pytest.raises(ConfigError):
            wrong()
