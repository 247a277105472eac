import pytest
import torch

from victims import Linear2, digits, random_pictures
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.inputs.deepfool import DeepFool
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim

DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("overshoot", [1e-5, 0.02])
def test_distance_to_a_plane(norm: Norm, overshoot: float) -> None:
    model = Linear2()
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    victim = Victim(model, low=-100.0, high=100.0)
    found = DeepFool(Ball(norm, 50.0), overshoot=overshoot)(victim, x, (model.score(x) > 0).long())
    wanted = model.score(x).abs() / torch.linalg.vector_norm(model.w, DUAL[norm])
    assert found.success.all()
    torch.testing.assert_close(found.norm, (wanted * (1 + overshoot)).detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_digit_is_crossed_and_fab_finds_shorter_ways(norm: Norm) -> None:
    victim, x, y = digits()
    x, y = x[:40], y[:40]
    found = DeepFool(Ball(norm, 100.0))(victim, x, y)
    assert found.success.all()
    assert found.queries.float().mean() < 15
    best = FAB(Ball(norm, 100.0), steps=20)(victim, x, y)
    assert best.norm.mean() < found.norm.mean() < 1.5 * best.norm.mean()


def test_success_only_within_eps() -> None:
    victim, x, y = digits()
    far = DeepFool(Ball("l2", 100.0))(victim, x, y)
    near = DeepFool(Ball("l2", 0.4))(victim, x, y)
    assert (near.norm <= 0.4 * (1 + 1e-6)).all()
    assert not ((far.norm <= 0.39) & ~near.success).any()
    assert 0 < near.success.float().mean() < 1


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_flat_model_gives_no_nan(norm: Norm) -> None:
    x, y = random_pictures()
    found = DeepFool(Ball(norm, 0.1), steps=3)(Victim(lambda x: x.flatten(1)[:, :5] * 0), x, y)
    assert torch.isfinite(found.x).all()
    assert torch.equal(found.success, y != 0)


def test_targeted_ball_reaches_the_wanted_class() -> None:
    victim, x, y = digits()
    found = DeepFool(Ball("l2", 100.0, targeted=True))(victim, x[:20], (y[:20] + 1) % 10)
    assert found.success.float().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"overshoot": -0.1}, "overshoot"),
        ({"objective": EmbeddingDistance()}, "boundaries between classes"),
    ],
)
def test_useless_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeepFool(**arguments)


@pytest.mark.oracle
def test_ways_are_as_short_as_foolbox() -> None:
    foolbox = pytest.importorskip("foolbox")
    victim, x, y = digits()
    x, y = x[:40], y[:40]
    wrapped = foolbox.PyTorchModel(victim.model, bounds=(0, 1))
    points = foolbox.attacks.L2DeepFoolAttack(steps=50)(wrapped, x, y, epsilons=None)[0]
    peer = (points - x).flatten(1).norm(dim=1)
    fooled = victim.output(points).argmax(1) != y
    ours = DeepFool(Ball("l2", 100.0))(victim, x, y)
    assert ours.success.all()
    assert ours.norm[fooled].mean() <= 1.01 * peer[fooled].mean()
