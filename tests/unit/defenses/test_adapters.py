"""TENT against its published loop, written down plainly on a network that may be altered; and what it refuses."""

import copy

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.victims.victim import Outputs, Victim
from withstand.defenses.adapter import TENT, Adapter
from withstand.defenses.small import small_pictures, small_victim


def plain_tent(model: nn.Module, x: Tensor, steps: int, rate: float) -> Tensor:
    """Return what the official loop leaves: batch statistics, Adam on scales and shifts, entropy."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    moved = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(True)
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
            moved += [module.weight, module.bias]
    optimizer = torch.optim.Adam(moved, lr=rate, betas=(0.9, 0.999), weight_decay=0.0)
    for _ in range(steps):
        logits = model(x)
        loss = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean(0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("steps", [1, 4])
def test_tent_is_the_published_loop_from_the_start(steps: int) -> None:
    victim, x = small_victim(), small_pictures()
    assert isinstance(victim.model, nn.Module)
    found = TENT(victim, steps=steps, rate=0.01)(x).logits
    torch.testing.assert_close(found, plain_tent(victim.model, x, steps, 0.01))
    bare = victim.like(copy.deepcopy(victim.model).eval())
    assert not torch.allclose(found, bare.output(x), atol=1e-3)


def test_groups_are_even_and_at_most_as_large_as_asked_for() -> None:
    victim, x = small_victim(), small_pictures()
    assert isinstance(victim.model, nn.Module)
    found = TENT(victim, batch=16, rate=0.01)(x).logits
    wanted = [plain_tent(victim.model, part, 1, 0.01) for part in (x[:14], x[14:28], x[28:])]
    torch.testing.assert_close(found, torch.cat(wanted))


class Reconstruct(Adapter):
    """Fits all weights to what the victim makes of an input, as slot-based adaptation does."""

    def loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        assert not isinstance(outputs, Tensor)
        return (outputs["again"] - x).square().sum(1)


class Twofold(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with isolated("weights"):
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        inner = self.inner(x)
        return {"logits": self.head(inner), "again": inner}


def test_an_adapter_of_ones_own_lowers_its_loss_on_each_input_alone() -> None:
    victim, x = Victim(Twofold()), torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    guard = Reconstruct(victim, steps=50, rate=0.05)
    outcome = guard(x)
    assert not isinstance(outcome.outputs, Tensor)
    before = guard.loss(victim(x), x)
    after = guard.loss(outcome.outputs, x)
    assert (after < 0.1 * before).all()
    torch.testing.assert_close(guard(x[3:4]).logits, outcome.logits[3:4])
    assert guard.exposed().together is False


class Endless(Adapter):
    def loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        assert isinstance(outputs, Tensor)
        return outputs.sum(1) * torch.inf


class Whole(Adapter):
    def loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        assert isinstance(outputs, Tensor)
        return outputs.sum()


def test_what_cannot_be_adapted_is_refused() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    for make, message in (
        (lambda: TENT(plain), "no parameters that TENT adapts"),
        (lambda: TENT(Victim(lambda x: x)), "torch network"),
        (lambda: TENT(small_victim(), steps=0), "steps"),
        (lambda: TENT(small_victim(), batch=0), "batch"),
        (lambda: TENT(small_victim(), rate=0.0), "rate"),
        (lambda: TENT(small_victim(), optimizer="adamw"), "'adamw' is unknown"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=message):
            make()
    for guard, message in ((Endless(small_victim()), "not finite"), (Whole(small_victim(), batch=9), "one value a")):
        with pytest.raises(DataError, match=message):
            guard(small_pictures())
    with pytest.raises(DataError, match="logits, again"):
        TENT(Victim(nn.Sequential(nn.LayerNorm(4), Twofold())))(torch.rand(5, 4))
