"""DONE's weights, solver and hypergradient."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.losses.robust.comp_sum import comp_sum
from withstand.losses.robust.reweighting import barrier_curvature, log_mean_exponential
from withstand.methods.robust.done import DoublyRobustTraining

EPS, BARRIER, R = 0.2, 0.02, 0.5


class Smooth(Model):
    """A small encoder with curvature."""

    width = 5

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


class Same(Model):
    """Inputs as features."""

    width = 4

    def forward(self, x: Tensor) -> Tensor:
        return x


def made(encoder: Model | None = None, **settings: object) -> DoublyRobustTraining:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        given = {"eps": EPS, "barrier": BARRIER, "temperature": R, "momentum": 1.0, "steps": 200} | settings
        return DoublyRobustTraining(encoder or Smooth(), classes=3, **given).double()  # type: ignore[arg-type]


def batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    return Batch(x, torch.arange(count), torch.arange(count) % 3)


def test_the_solver_reaches_a_stationary_point_strictly_inside() -> None:
    method, given = made(), batch()
    x = given.x
    low, high = (-x).clamp(min=-EPS), (1 - x).clamp(max=EPS)
    delta = method.solve(given).requires_grad_()
    assert (delta > low).all()
    assert (delta < high).all()
    problem = (
        -comp_sum(method.logits(x + delta), given.y).sum()
        - BARRIER
        * (  # type: ignore[arg-type]
            (high - delta).log() + (delta - low).log()
        ).sum()
    )
    assert torch.autograd.grad(problem, delta)[0].abs().max() < 1e-8


def test_a_fading_barrier_gives_fgsm_on_a_linear_model() -> None:
    method, given = made(Same(), barrier=1e-9), batch()
    x = given.x.clone().requires_grad_()
    sign = torch.autograd.grad(F.cross_entropy(method.logits(x), given.y), x)[0].sign()
    expected = (given.x + EPS * sign).clamp(0, 1) - given.x
    torch.testing.assert_close(method.solve(given), expected, atol=1e-5, rtol=0)


def hypergradient(method: DoublyRobustTraining, given: Batch) -> Tensor:
    method.zero_grad()
    method.step(given)["loss"].backward()
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def by_differences(method: DoublyRobustTraining, given: Batch, step: float = 1e-6) -> Tensor:
    """Central differences of r log mean exp(l / r) at points that are solved anew."""

    def value() -> float:
        losses = comp_sum(method.logits(given.x + method.solve(given)), given.y)  # type: ignore[arg-type]
        return R * float(log_mean_exponential(losses.detach(), R))

    found = []
    for parameter in method.parameters():
        flat = parameter.data.view(-1)
        for place in range(len(flat)):
            kept = float(flat[place])
            flat[place] = kept + step
            up = value()
            flat[place] = kept - step
            found.append((up - value()) / (2 * step))
            flat[place] = kept
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.thorough
def test_the_hypergradient_needs_the_implicit_term() -> None:
    given, method = batch(), made(steps=80)
    expected = by_differences(method, given)

    def off(found: Tensor) -> float:
        return float((found - expected).norm() / expected.norm())

    with_term, without = off(hypergradient(method, given)), off(hypergradient(made(steps=80, implicit=False), given))
    # What is left is the loss's own curvature, which the diagonal approximation drops.
    assert with_term < 0.02
    assert without > 5 * with_term


def test_weights() -> None:
    given = batch()
    method = made(implicit=False)
    losses = comp_sum(method.logits(given.x + method.solve(given)), given.y)  # type: ignore[arg-type]
    terms = method.step(given)
    torch.testing.assert_close(terms["loss"], R * ((losses / R).exp().mean().log()))
    expected = torch.autograd.grad((losses.detach() / R).softmax(0) @ losses, method.classifier.weight)[0]
    torch.testing.assert_close(torch.autograd.grad(terms["loss"], method.classifier.weight)[0], expected)
    shares = (losses.detach() / R).softmax(0)
    torch.testing.assert_close(terms["effective_samples"], 1 / (6 * shares.square().sum()))


def test_a_large_temperature_is_plain_adversarial_training() -> None:
    given, method = batch(), made(temperature=1e6, implicit=False)
    losses = comp_sum(method.logits(given.x + method.solve(given)), given.y)  # type: ignore[arg-type]
    expected = torch.autograd.grad(losses.mean(), method.classifier.weight)[0]
    found = torch.autograd.grad(method.step(given)["loss"], method.classifier.weight)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    warm = made(implicit=False, warmup=1)
    torch.testing.assert_close(warm.step(given)["loss"], losses.mean(), rtol=1e-5, atol=1e-7)
    assert warm.log_normalizer.isnan()
    warm.step(replace(given, epoch=1))
    assert warm.log_normalizer.isfinite()


def test_moving_average() -> None:
    given, method = batch(), made(momentum=0.25, implicit=False)
    method.step(given)
    first = method.log_normalizer.exp()
    with torch.no_grad():
        method.classifier.weight.mul_(3)
    other = made(implicit=False)
    other.load_state_dict(method.state_dict())
    other.step(given)
    method.step(given)
    torch.testing.assert_close(method.log_normalizer.exp(), 0.75 * first + 0.25 * other.log_normalizer.exp())
    method.eval().step(given)
    before = method.log_normalizer.clone()
    method.step(given)
    assert torch.equal(before, method.log_normalizer), "only training moves it"


def test_extreme_losses_and_settings() -> None:
    method = made(temperature=0.01, implicit=False)
    with torch.no_grad():
        method.classifier.weight.mul_(1e4)
    terms = method.step(batch())
    assert terms["loss"].isfinite()
    terms["loss"].backward()
    assert method.classifier.weight.grad is not None
    assert method.classifier.weight.grad.isfinite().all()
    for wrong in ({"eps": 0}, {"momentum": 0}, {"damping": 1.5}, {"steps": 0}, {"warmup": -1}):
        with pytest.raises(ConfigError):
            made(**wrong)
    assert barrier_curvature(torch.zeros(1), -torch.ones(1), torch.ones(1), 0.5).item() == 1
