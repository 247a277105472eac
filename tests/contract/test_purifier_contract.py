"""What every purifier must keep besides what every defense must: shape, range, draws, and an honest way back."""

import copy

import pytest
import torch
from torch import Tensor, nn

from walk import of_role
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.defenses.purifier import Purifier

every_purifier = pytest.mark.parametrize("kind", of_role(Purifier), ids=lambda kind: kind.__name__)


def made(kind: type[Purifier]) -> tuple[Purifier, Tensor]:
    guard = kind.example()
    return guard, guard.example_inputs()


@every_purifier
def test_the_victim_is_given_the_cleaned_input_and_nothing_is_scored_or_rejected(kind: type[Purifier]) -> None:
    guard, x = made(kind)
    outcome = guard(x)
    assert outcome.score is outcome.accepted is None
    assert torch.equal(outcome.x_used, guard.purify(x))
    assert not torch.equal(outcome.x_used, x)
    assert guard.victim.low <= outcome.x_used.min() <= outcome.x_used.max() <= guard.victim.high
    model = guard.victim.model
    assert isinstance(model, nn.Module)
    torch.testing.assert_close(outcome.logits, copy.deepcopy(model).eval()(outcome.x_used).detach())


@every_purifier
def test_a_cleaned_input_does_not_depend_on_its_batch(kind: type[Purifier]) -> None:
    guard, x = made(kind)
    whole, rows = guard.purify(x), torch.tensor([7, 3, 21])
    torch.testing.assert_close(guard.purify(x[rows]), whole[rows])
    draws = Draws(5, torch.arange(30))
    given = guard.purify(x, draws)
    torch.testing.assert_close(guard.purify(x[rows], draws[rows]), given[rows])
    assert torch.equal(given, whole) != guard.random
    with pytest.raises(ConfigError, match="streams for 3 samples"):
        guard.purify(x, Draws(0, torch.arange(3)))


@every_purifier
def test_an_attacker_meets_the_same_predictions_but_for_the_draws(kind: type[Purifier]) -> None:
    guard, x = made(kind)
    for gradient in (None, "exact", "straight-through"):
        surface = guard.exposed(gradient)
        with surface.held(), torch.no_grad():
            logits = surface.output(x)
        assert torch.allclose(logits, guard(x).logits, atol=1e-5) != guard.random


@every_purifier
def test_the_way_straight_through_is_the_victims_slope_at_the_cleaned_input(kind: type[Purifier]) -> None:
    guard, x = made(kind)
    if guard.random:
        return
    x = x.double()
    assert isinstance(guard.victim.model, nn.Module)
    guard.victim.model.double()
    found = slope(guard.exposed("straight-through"), x)
    torch.testing.assert_close(found, slope(guard.victim, guard.purify(x)))


@every_purifier
def test_an_exact_way_is_exact_and_one_that_misleads_is_not_called_so(kind: type[Purifier]) -> None:
    """By differences of the cleaned inputs' sum of squares along one direction."""
    guard, x = made(kind)
    if guard.random:
        return
    assert isinstance(guard.victim.model, nn.Module)
    guard.victim.model.double()
    x = x.double() * 0.8 + 0.1
    step = 1e-6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)

    def value(x: Tensor) -> Tensor:
        return guard._cleaned(x, None).square().flatten(1).sum(1)

    point = x.clone().requires_grad_(True)
    slopes = torch.autograd.grad(value(point).sum(), point)[0]
    told = (slopes * step).flatten(1).sum(1)
    with torch.no_grad():
        moved = (value(x + step) - value(x - step)) / 2
    if guard.gradient == "exact":
        torch.testing.assert_close(told, moved, rtol=1e-3, atol=1e-9)
    else:
        assert not bool(told.any())


def slope(victim: Victim, x: Tensor) -> Tensor:
    with victim.held(), torch.enable_grad():
        point = x.clone().requires_grad_(True)
        return torch.autograd.grad(victim.output(point).square().sum(), point)[0]
