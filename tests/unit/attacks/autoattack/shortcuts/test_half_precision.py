import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.ensemble import worst_of
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.shortcuts import half_precision
from withstand.attacks.autoattack.shortcuts.half_precision import halved
from withstand.attacks.autoattack.square import Square
from withstand.core.errors import ConfigError, RunError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Outputs, Victim
from withstand.models.pictures.convnets.resnet import ResNet

BALL = Ball("linf", 0.03)


@pytest.fixture(autouse=True)
def _units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any processor can compute in bfloat16; whether it gains by it is beside the point here."""
    monkeypatch.setattr(half_precision, "fast_bfloat16", lambda device: device.type == "cpu")


@cache
def trained() -> nn.Module:
    """Return a deep network that knows scikit-learn's digits."""
    x, y = _digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(ResNet(width=8, channels=1), nn.LazyLinear(10))
        net(x[:2])
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for step in range(50):
            rows = torch.arange(step * 64, step * 64 + 64) % 1500
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net.eval()


def _digits() -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    return torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None], torch.tensor(bunch.target)


def deep_net() -> nn.Module:
    return copy.deepcopy(trained())


def pictures(model: nn.Module, count: int = 12) -> tuple[Tensor, Tensor]:
    x = _digits()[0][1500 : 1500 + count]
    with torch.no_grad():
        return x, model(x).argmax(1)


def rough(victim: Victim, x: Tensor) -> Victim:
    with victim.held():
        found = halved(victim, x)
    assert found is not None
    return found


@pytest.mark.thorough
def test_a_copy_in_half_precision_is_near_its_victim_and_gives_single_precision() -> None:
    model = deep_net()
    x, _ = pictures(model)
    victim = Victim(model, normalize=((0.05,), (0.9,)))
    found, wanted = rough(victim, x)(x), victim(x)
    assert isinstance(found, Tensor)
    assert isinstance(wanted, Tensor)
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    assert ((found - wanted).abs().amax(1) < half_precision.ERROR * half_precision.spread(wanted)).all()


def test_its_first_layer_sees_what_bfloat16_would_lose() -> None:
    model = deep_net()
    x, _ = pictures(model)
    moved = torch.where(x >= 0.5, x + 2.0**-11, x)
    assert torch.equal(moved.bfloat16(), x.bfloat16())
    seen: list[Tensor] = []
    found = rough(Victim(model), x)
    first = next(module for module in found.model.modules() if isinstance(module, nn.Conv2d))  # type: ignore[union-attr]
    plain = first.forward
    first.__dict__["forward"] = lambda x: seen.append(plain(x)) or seen[-1]
    found(x), found(moved)
    assert (seen[0] != seen[1]).float().mean() > 0.05


@pytest.mark.parametrize(
    "change",
    [
        lambda model, x: (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), x),
        lambda model, x: (model.double(), x.double()),
        lambda model, x: (model.forward, x),
        lambda model, x: (nn.Sequential(Rounded(), model), 0.3 * x),  # sixteenths would be exact in bfloat16
    ],
    ids=["shallow", "double", "function", "quantised"],
)
def test_where_half_precision_would_not_do_there_is_none(
    change: Callable[[nn.Module, Tensor], tuple[nn.Module, Tensor]],
) -> None:
    model, x = change(deep_net(), pictures(deep_net())[0])
    assert halved(Victim(model), x) is None


class Rounded(nn.Module):
    """Small errors of its network come out large."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1e3

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.scale * nn.functional.conv2d(x, torch.ones(1, 1, 3, 3), padding=1).bfloat16().float())


def test_a_watched_victim_is_left_alone() -> None:
    model = deep_net()
    x, _ = pictures(model)
    model[0].register_forward_hook(lambda *_: None)
    assert halved(Victim(model), x) is None


ATTACKS = [APGD(BALL, steps=15, drop_finished=True), FAB(BALL, steps=15, targets=4, drop_finished=True)]


@pytest.mark.thorough
@pytest.mark.parametrize("attack", ATTACKS, ids=["APGD", "FAB"])
def test_every_success_is_the_models_own(attack: InputAttack) -> None:
    model = deep_net()
    x, y = pictures(model)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    found = attack(Victim(model), x, y, half_precision=True)
    with torch.no_grad():
        assert torch.equal(model(found.x).argmax(1) != y, found.success)
    assert (found.norm <= BALL.eps * (1 + 1e-5)).all()
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    again = attack(Victim(model), x, y, half_precision=True)
    assert torch.equal(found.x, again.x)


@pytest.mark.thorough
@pytest.mark.parametrize("attack", ATTACKS, ids=["APGD", "FAB"])
@pytest.mark.parametrize("lie", [30.0, 0.0])
def test_half_precision_is_not_believed_at_the_boundary(
    attack: InputAttack, lie: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that claims every success, and one that never sees any but has slopes: the same as no copy."""
    model = deep_net()
    x, y = pictures(model)

    def lying(victim: Victim, x: Tensor) -> Victim:
        def outputs(x: Tensor) -> Outputs:
            logits = victim(x)
            assert isinstance(logits, Tensor)
            own = nn.functional.one_hot(y[: len(x)], 10) if len(x) == len(y) else torch.zeros_like(logits)
            return logits - lie * own

        return victim.like(outputs)

    monkeypatch.setattr(half_precision, "halved", lying)
    found = attack(Victim(model), x, y, half_precision=True)
    plain = attack(Victim(model), x, y)
    if not lie:
        torch.testing.assert_close(found.x, plain.x, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(model(found.x).argmax(1) != y, found.success)
    assert found.queries.float().mean() > 1


def test_only_searches_that_look_at_successes_and_slopes_take_half_precision() -> None:
    assert all(attack.bears_half_precision for attack in ATTACKS)
    others = (Square(BALL), APGD(BALL), replace(ATTACKS[0], passes=2), replace(ATTACKS[0], ball=Ball(targeted=True)))
    assert not any(attack.bears_half_precision for attack in others)


def test_an_ensemble_finds_nearly_the_same_with_and_without(tmp_path: Path) -> None:
    model = deep_net()
    x, y = pictures(model, 24)
    attacks = {name: attack.at(0.1) for name, attack in zip(("APGD", "FAB"), ATTACKS, strict=True)}
    found = worst_of(attacks, Victim(model), x, y, state=tmp_path / "state", half_precision=True)
    plain = worst_of(attacks, Victim(model), x, y)
    assert 0 < plain.holds.sum() < 24
    # Each break is the model's own; of 24 samples one or two may break by one way to search and not by the other.
    for one in (found, plain):
        assert torch.equal(model(one.x).argmax(1) == y, one.holds)
    assert int((found.holds != plain.holds).sum()) <= 2
    with pytest.raises(RunError, match="precision"):
        worst_of(attacks, Victim(model), x, y, state=tmp_path / "state")


def test_search_is_fast_or_plain() -> None:
    with pytest.raises(ConfigError, match="search 'plane' is unknown"):
        AutoAttack(BALL, search="plane")  # type: ignore[arg-type]
