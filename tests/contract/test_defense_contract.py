"""What every defense in the package must keep, whatever it does; each gives an example of itself.

What one kind must keep besides is held by the contracts of detectors, purifiers and adapters.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from walk import of_role
from withstand.attacks.inputs.gradient import FGSM
from withstand.core.errors import DataError
from withstand.core.part import class_path, describe
from withstand.core.roles import Defense, Outcome
from withstand.core.threat import Ball
from withstand.defenses.adapter import Adapter
from withstand.defenses.detector import Detector
from withstand.defenses.purifier import Purifier

every_defense = pytest.mark.parametrize("kind", of_role(Defense), ids=lambda kind: kind.__name__)


def ready(kind: type[Defense]) -> tuple[Defense, Tensor]:
    """Return an example, a detector with its threshold, and inputs."""
    guard = kind.example()
    x = guard.example_inputs()
    return (guard.fit(x) if isinstance(guard, Detector) else guard), x


def network(guard: Defense) -> nn.Module:
    assert isinstance(guard.victim.model, nn.Module)
    return guard.victim.model


@contextmanager
def left_as_found(guard: Defense) -> Iterator[None]:
    """Hold the victim and the global generator to every bit of their state."""
    model = network(guard).train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model[0].eval()
    model[0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    values, generator = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    try:
        yield
    finally:
        assert [module.training for module in model.modules()] == modes
        for (parameter, flag, gradient), now in zip(flags, model.parameters(), strict=True):
            assert now is parameter
            assert now.requires_grad == flag
            assert now.grad is gradient
            assert gradient is not None
            assert bool((gradient == 1).all())
        assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), generator)


def test_defenses_of_each_kind_are_found() -> None:
    found = of_role(Defense)
    for kind, name in ((Detector, "NeighbourhoodDetector"), (Purifier, "BitDepth"), (Adapter, "TENT")):
        assert name in {one.__name__ for one in found if issubclass(one, kind)}
    assert all(issubclass(one, Detector | Purifier | Adapter) for one in found), "a new kind needs its own contract"


@every_defense
def test_an_outcome_is_whole(kind: type[Defense]) -> None:
    guard, x = ready(kind)
    outcome = guard(x)
    assert isinstance(outcome, Outcome)
    assert outcome.logits.shape == (len(x), 5)
    assert outcome.x_used.shape == x.shape
    assert not outcome.logits.requires_grad
    for value in (outcome.score, outcome.accepted):
        assert value is None or value.shape == (len(x),)
    again = guard(x)
    assert torch.equal(again.logits, outcome.logits)
    assert torch.equal(again.x_used, outcome.x_used)


@every_defense
def test_the_victim_and_the_global_generator_are_left_as_found(kind: type[Defense]) -> None:
    guard, x = ready(kind)
    with left_as_found(guard):
        guard(x)
        FGSM(Ball("linf", 0.1))(guard.exposed(), x, torch.zeros(len(x), dtype=torch.int64))


@every_defense
def test_an_error_inside_leaves_nothing_behind(kind: type[Defense]) -> None:
    guard, x = ready(kind)
    calls = [0]

    def fail(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        calls[0] += 1
        if calls[0] == 2:  # adapters ask more than once in an episode
            raise ArithmeticError

    handle = network(guard)[-1].register_forward_pre_hook(fail)
    with left_as_found(guard), pytest.raises(DataError, match="ArithmeticError"):
        guard(torch.cat([x] * 20))  # more than one pass
    handle.remove()


@every_defense
def test_what_an_attacker_meets_can_be_attacked_whichever_way_he_goes_back(kind: type[Defense]) -> None:
    guard, x = ready(kind)
    for gradient in (None, "exact", "straight-through"):
        surface = guard.exposed(gradient)
        assert (surface.low, surface.high) == (guard.victim.low, guard.victim.high)
        with surface.held(), torch.enable_grad():
            point = x.clone().requires_grad_(True)
            logits = surface.output(point)
            slope = torch.autograd.grad(logits.square().sum(), point, allow_unused=True)[0]
        assert logits.shape == (len(x), 5)
        if gradient is None:
            assert slope is not None
            assert torch.isfinite(slope).all()
            assert slope.flatten(1).any(1).double().mean() > 0.9


@every_defense
def test_bad_inputs_are_refused(kind: type[Defense]) -> None:
    guard, x = ready(kind)
    for wrong, message in ((x * 255, "outside"), (x[:0], "no inputs"), (x.mul(9).long(), "floating")):
        with pytest.raises(DataError, match=message):
            guard(wrong)


@every_defense
def test_a_defense_can_be_described(kind: type[Defense]) -> None:
    tree = describe(kind.example())
    assert isinstance(tree, dict)
    assert tree["class_path"] == class_path(kind)
    json.dumps(tree)
