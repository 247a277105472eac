from typing import Any

import pytest
import torch
from torch import Tensor, nn

from victims import Linear2, digits, random_pictures, small_net
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import CrossEntropy, EmbeddingDistance
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim

DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}
WIDE = {"low": -100.0, "high": 100.0}


def linear(dtype: torch.dtype = torch.float64) -> tuple[Linear2, Tensor, Tensor]:
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0), dtype=dtype)
    model = Linear2(dtype=dtype)
    return model, x, (model.score(x) > 0).long()


@pytest.mark.parametrize("targets", [None, 9])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distance_to_a_plane(norm: Norm, targets: int | None, dtype: torch.dtype) -> None:
    model, x, y = linear(dtype)
    found = FAB(Ball(norm, 50.0), steps=20, targets=targets)(Victim(model, **WIDE), x, y)
    wanted = model.score(x).abs() / torch.linalg.vector_norm(model.w, DUAL[norm])
    assert found.success.all()
    torch.testing.assert_close(found.norm, wanted.detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_success_only_within_eps(norm: Norm) -> None:
    model, x, y = linear()
    distances = (model.score(x).abs() / torch.linalg.vector_norm(model.w, DUAL[norm])).detach()
    eps = float(distances.median()) * 1.01
    found = FAB(Ball(norm, eps), steps=20)(Victim(model, **WIDE), x, y)
    assert torch.equal(found.success, distances <= eps)
    assert 0 < found.success.sum() < 8
    assert (found.norm <= eps * (1 + 1e-9)).all()


def test_a_sample_that_is_wrong_already_is_left_alone() -> None:
    model, x, y = linear()
    found = FAB(Ball("l2", 5.0), steps=5)(Victim(model, **WIDE), x, 1 - y)
    assert found.success.all()
    assert torch.equal(found.x, x)


def test_the_box_is_part_of_the_distance() -> None:
    """The plane is 0.3 away in the sum of two entries, and one of them has only 0.1 left: the other takes 0.2."""
    net = nn.Linear(2, 2, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        net.bias.copy_(torch.tensor([0.0, -1.2]))
    x = torch.tensor([[0.9, 0.0]], dtype=torch.float64)
    found = FAB(Ball("l2", 2.0))(Victim(net), x, torch.tensor([0]))
    torch.testing.assert_close(found.x, torch.tensor([[1.0, 0.2]], dtype=torch.float64), rtol=0, atol=1e-3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_smaller_than_what_pgd_needs(norm: Norm) -> None:
    victim, x, y = digits()
    x, y = x[:40], y[:40]
    found = FAB(Ball(norm, 100.0), steps=30, targets=9)(victim, x, y)
    assert found.success.all()
    eps = float(found.norm.median())
    by_pgd = PGD(Ball(norm, eps), drop_finished=True)(victim, x, y).success
    assert (found.norm <= eps).float().mean() >= by_pgd.float().mean() - 0.05


def test_dropping_finished_samples_keeps_every_success() -> None:
    victim, x, y = digits()
    x, y = x[:40], y[:40]
    full = FAB(Ball("linf", 0.12), steps=20, targets=3, bisections=0)(victim, x, y)
    fast = FAB(Ball("linf", 0.12), steps=20, targets=3, bisections=0, drop_finished=True)(victim, x, y)
    assert torch.equal(full.success, fast.success)
    assert 0 < fast.success.float().mean() < 1
    assert fast.queries[fast.success].float().mean() < 20 < full.queries.float().mean()


def test_more_work_never_gives_a_longer_way() -> None:
    victim, x, y = digits()
    x, y = x[:20], y[:20]
    base = FAB(Ball("l2", 100.0), steps=10, targets=2, bisections=0)
    first = base(victim, x, y).norm
    for more in (
        FAB(Ball("l2", 100.0), steps=10, targets=4, bisections=0),
        FAB(Ball("l2", 100.0), steps=10, targets=2, restarts=2, bisections=0),
    ):
        assert (more(victim, x, y).norm <= first * (1 + 1e-3)).all()


def test_targeted_ball_reaches_the_wanted_class() -> None:
    victim, x, y = digits()
    wanted = (y[:20] + 1) % 10
    found = FAB(Ball("l2", 100.0, targeted=True), steps=40)(victim, x[:20], wanted)
    assert found.success.float().mean() > 0.9
    with torch.no_grad():
        assert torch.equal(victim.output(found.x).argmax(1) == wanted, found.success)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("targets", [None, 3])
def test_flat_model_gives_no_nan(norm: Norm, targets: int | None) -> None:
    x, y = random_pictures()
    found = FAB(Ball(norm, 0.1), steps=4, targets=targets)(Victim(lambda x: x.flatten(1)[:, :5] * 0), x, y)
    assert torch.isfinite(found.x).all()
    assert torch.equal(found.success, y != 0)


def test_two_and_three_classes() -> None:
    for classes in (2, 3):
        net = small_net(classes)
        x, _ = random_pictures()
        found = FAB(Ball("linf", 1.0), steps=10, targets=9)(Victim(net), x)
        assert found.success.any()


def test_dict_outputs() -> None:
    net = small_net()
    x, _ = random_pictures()
    plain = FAB(Ball("l2", 9.0), steps=5)(Victim(lambda x: net.eval().forward(x)), x)
    named = FAB(Ball("l2", 9.0), CrossEntropy("scores"), steps=5)(Victim(lambda x: {"scores": net.eval()(x)}), x)
    assert torch.equal(plain.x, named.x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"targets": 0}, "targets must be at least 1"),
        ({"overshoot": 0.9}, "overshoot of 1 or more"),
        ({"objective": EmbeddingDistance()}, "boundaries between classes"),
        ({"targets": 9, "ball": Ball(targeted=True)}, "given in y"),
    ],
)
def test_useless_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FAB(**arguments)


@pytest.mark.oracle
@pytest.mark.parametrize(("norm", "name"), [("linf", "Linf"), ("l2", "L2")])  # its L1 fails on its own name
def test_ways_are_as_short_as_torchattacks(norm: Norm, name: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    victim, x, y = digits()
    x, y = x[:40], y[:40]
    theirs = torchattacks.FAB(victim.model, norm=name, eps=100.0, steps=50, n_classes=10)
    theirs.targeted = False
    points = theirs(x, y)
    order = {"linf": torch.inf, "l2": 2.0}[norm]
    peer = torch.linalg.vector_norm((points - x).flatten(1), order, dim=1)
    ours = FAB(Ball(norm, 100.0), steps=50)(victim, x, y).norm
    assert ours.mean() <= peer.mean() * 1.005


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_further_runs_begin_halfway_to_what_was_found_and_never_beyond_half_of_eps(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, y = linear()
    distances = (model.score(x).abs() / torch.linalg.vector_norm(model.w, DUAL[norm])).detach()
    eps, starts = float(distances.median()) * 1.01, []
    walk = FAB._walk

    def spied(self: FAB, problem: Problem, start: Tensor, *rest: Any) -> None:
        starts.append((problem.ball.size(start - problem.x), problem.rows))
        walk(self, problem, start, *rest)

    monkeypatch.setattr(FAB, "_walk", spied)
    FAB(Ball(norm, eps), steps=20, restarts=2)(Victim(model, **WIDE), x, y, generator=0)
    (first, _), (second, rows) = starts
    assert (first == 0).all()
    torch.testing.assert_close(second, distances.clamp_max(eps)[rows] / 2, rtol=2e-2, atol=0)
