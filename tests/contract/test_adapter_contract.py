"""What every adapter must keep besides what every defense must: each group of inputs finds the victim as it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from walk import of_role
from withstand.defenses.adapter import Adapter

every_adapter = pytest.mark.parametrize("kind", of_role(Adapter), ids=lambda kind: kind.__name__)


def made(kind: type[Adapter]) -> tuple[Adapter, Tensor]:
    guard = kind.example()
    return guard, guard.example_inputs()


def again(guard: Adapter, **changes: object) -> Adapter:
    return type(guard)(**{**guard._init_args, **changes})


@every_adapter
def test_adaptation_moves_predictions_and_never_the_input(kind: type[Adapter]) -> None:
    guard, x = made(kind)
    outcome = guard(x)
    assert outcome.score is outcome.accepted is None
    assert torch.equal(outcome.x_used, x)
    few, more = (again(guard, steps=steps, rate=0.1)(x).logits for steps in (1, 5))
    assert not torch.equal(few, more)


@every_adapter
def test_no_group_learns_from_another(kind: type[Adapter]) -> None:
    guard, x = made(kind)
    guard = again(guard, batch=10, rate=0.1)
    whole = guard(x).logits
    for start in (20, 0, 10):
        part = guard(x[start : start + 10]).logits
        assert torch.equal(part, whole[start : start + 10])


@every_adapter
def test_steps_lower_the_loss(kind: type[Adapter]) -> None:
    guard, x = made(kind)

    def after(steps: int) -> float:
        outputs = again(guard, steps=steps, rate=1e-2, batch=len(x))(x).outputs
        return float(guard.loss(outputs, x).mean())

    assert after(20) < after(1)


@every_adapter
def test_an_attacker_meets_the_adapted_predictions(kind: type[Adapter]) -> None:
    guard, x = made(kind)
    surface = guard.exposed()
    with surface.held(), torch.no_grad():
        torch.testing.assert_close(surface.output(x), guard(x).logits)
    assert surface.together == (guard.batch > 1)


@every_adapter
def test_an_adapter_survives_a_copy_of_its_victim(kind: type[Adapter]) -> None:
    guard, x = made(kind)
    model = copy.deepcopy(guard.victim.model)
    assert isinstance(model, nn.Module)
    assert torch.equal(again(guard, victim=model)(x).logits, guard(x).logits)
