import pytest
import torch
from torch import Tensor, nn

from victims import Touchy, digits, random_pictures, small_net
from withstand.attacks.checks import believability, carried_over, verdict
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import DataError
from withstand.core.finding import Check
from withstand.core.threat import Ball, Norm
from withstand.core.victim import Victim

ATTACK = PGD(Ball("linf", 0.1), steps=12, drop_finished=True)


def judged(wrap: object, attack: PGD = ATTACK) -> dict[str, Check]:
    """Return the checks of the digits' net with something put round it."""
    victim, x, y = digits()
    return {check.name: check for check in believability(attack, Victim(wrap(victim.model)), x[:60], y[:60])}


def test_plain_net_is_believable() -> None:
    checks = judged(lambda net: net)
    assert len(checks) == 10
    assert all(check.passed for check in checks.values())
    assert verdict(list(checks.values())) == "Believable: all 10 checks passed."


def test_scaled_logits_hide_the_gradient() -> None:
    checks = judged(lambda net: lambda x: net(x) * 1e4)
    assert checks["gradients are there"].passed is False
    assert checks["another objective breaks little more"].passed is False
    assert verdict(list(checks.values())).startswith("Not believable because the gradient is zero on ")


def test_quantized_input_has_no_slope() -> None:
    checks = judged(lambda net: lambda x: net((x * 8).round() / 8))
    assert checks["gradients are there"].passed is False
    assert "zero on 100%" in checks["gradients are there"].detail


def test_detached_input_ends_the_checks() -> None:
    checks = judged(lambda net: lambda x: net(x.detach()))
    assert checks["gradients are there"].passed is False
    assert "surrogate" in checks["gradients are there"].detail
    assert "an unlimited eps breaks everything" not in checks


def test_random_layer_is_seen() -> None:
    checks = judged(lambda net: lambda x: net(x + 0.1 * torch.randn_like(x)))
    assert checks["same output twice"].passed is False


def test_probabilities_are_seen() -> None:
    assert judged(lambda net: lambda x: net(x).softmax(1))["logits, not probabilities"].passed is False


class Shattered(nn.Module):
    """Adds a fine ripple to the logits, whose slope drowns the model's own."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.002 * torch.sin(3e4 * x))


def test_shattered_gradients_are_not_believed() -> None:
    checks = judged(Shattered)
    assert verdict(list(checks.values())).startswith("Not believable")


def test_bare_encoder() -> None:
    x, _ = random_pictures(30)
    encoder = Victim(small_net()[:5])
    attack = PGD(Ball("linf", 0.05), EmbeddingDistance(), steps=12)
    checks = believability(attack, encoder, x)
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 8


def test_verdict_names_every_reason() -> None:
    checks = [Check("a", True, "fine"), Check("b", False, "it is odd"), Check("c", False, "it is off")]
    assert verdict(checks) == "Not believable because it is odd; it is off."
    assert verdict([Check("a", None, "no gradient")]) == "Not judged: 1 of 1 checks could not tell."
    assert verdict([]) == "Not checked."
    some = [Check("a", True, "fine"), Check("b", True, "fine"), Check("c", None, "")]
    assert verdict(some) == "Believable: 2 checks passed, 1 could not be judged (c)."


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("labelled", [True, False])
def test_checks_leave_the_model_as_it_was(norm: Norm, labelled: bool) -> None:
    x, y = random_pictures(12)
    net = Touchy(small_net())
    generator = torch.get_rng_state()
    before = [value.clone() for value in net.state_dict().values()]
    believability(ATTACK.at(0.1, norm), Victim(net), x, y if labelled else None)
    carried_over(ATTACK.at(0.1, norm), Victim(net), Victim(Touchy(small_net())), x, y if labelled else None)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))
    assert torch.equal(generator, torch.get_rng_state())


def test_no_samples_are_no_evidence() -> None:
    x, y = random_pictures(12)
    with pytest.raises(DataError, match="at least one sample"):
        believability(ATTACK, Victim(small_net()), x[:0], y[:0])
