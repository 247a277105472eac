"""Defenses that only hide their gradients are not believed, each for the right reason; honest nets are.

After Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018).
"""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from victims import digits
from withstand.attacks.inputs.gradient import PGD
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids

AUDIT = RobustnessAudit(Ball("linf", 0.1), linf=(0.05, 0.2), l2=(), samples=40, steps=10, ensemble="none")


def audited(model: Callable[[Tensor], Tensor], **settings: object) -> tuple[bool, str, dict[str, float]]:
    _, x, y = digits()
    audit = RobustnessAudit(
        AUDIT.ball, **{"linf": (0.05, 0.2), "l2": (), "samples": 40, "ensemble": "none", **settings}
    )
    found = audit.evaluate(Victim(model), ArraySource(x, y))
    return found.believable, str(found.protocol["verdict"]), found.numbers


def scaled(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x) * 1e4


def quantised(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net((x * 8).round() / 8)


def randomised(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x + 0.1 * torch.randn_like(x))


def detached(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x.detach())


def softmaxed(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x).softmax(1)


def vanishing(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(torch.sigmoid(400 * (x - 0.5)))  # steep, so flat where it matters


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("defense", "reason"),
    [
        (scaled, "the gradient is zero on"),
        (quantised, "the gradient is zero on 100%"),
        (randomised, "two forward passes on the same inputs differ"),
        (detached, "the victim gives no gradient"),
        (softmaxed, "outputs are probabilities: give its logits"),
        (vanishing, "with the whole input range allowed, accuracy is still"),
    ],
)
def test_masking_is_caught_for_the_right_reason(defense: Callable[..., object], reason: str) -> None:
    believed, verdict, numbers = audited(defense(digits()[0].model))
    assert not believed
    assert verdict.startswith("Not believable because "), verdict
    assert reason in verdict, (verdict, numbers)


@cache
def hardened() -> nn.Module:
    """Return a net trained on PGD's digits."""
    _, x, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
        optimizer, attack = torch.optim.Adam(net.parameters(), 3e-3), PGD(Ball("linf", 0.15), steps=5)
        for step in range(60):
            worse = attack(Victim(net), x, y, generator=step).x
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(worse), y).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.thorough
@pytest.mark.parametrize("net", ["plain", "hardened"])
def test_honest_nets_are_bounded(net: str) -> None:
    model = digits()[0].model if net == "plain" else hardened()
    assert isinstance(model, nn.Module)
    believed, verdict, numbers = audited(model)
    assert not believed
    assert verdict.startswith("An upper bound by PGD-10"), verdict
    assert numbers["robust accuracy, linf 51/255"] < numbers["clean accuracy"]
    if net == "hardened":
        assert (
            numbers["robust accuracy, linf 25.5/255"] > audited(digits()[0].model)[2]["robust accuracy, linf 25.5/255"]
        )


def test_a_surrogate_breaks_what_hides_its_gradients() -> None:
    _, x, y = digits()
    found = AUDIT.evaluate(Victim(quantised(digits()[0].model)), ArraySource(x, y), aids=Aids(surrogate=digits()[0]))
    assert "broken by attacks on another model" in str(found.protocol["verdict"])
