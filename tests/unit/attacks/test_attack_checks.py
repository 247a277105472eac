import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import withstand as ws
from victims import Touchy, digits, random_pictures, small_net
from withstand.attacks.checks import believability, carried_over, verdict
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import EmbeddingDistance
from withstand.attacks.paired import at_least, stronger
from withstand.attacks.single_passes import uphill
from withstand.core.errors import DataError
from withstand.core.findings.finding import Check
from withstand.core.random import as_draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids

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


def test_what_the_checks_find_is_told() -> None:
    victim, x, y = digits()
    told: list[tuple[Ball, Tensor, Tensor]] = []
    believability(ATTACK, victim, x[:60], y[:60], generator=0, found=lambda *found: told.append(found))
    # Four points of the slope's check; the attack, with fewer and with more steps, on twice the radius and on any, on
    # another objective; noise.
    assert len(told) == 4 + 7
    assert [ball.eps for ball, _, _ in told].count(0.2) == [ball.eps for ball, _, _ in told].count(1.0) == 1
    for ball, found, success in told:
        assert (ball.size(found - x[:60]) <= ball.eps * (1 + 1e-6)).all()
        with torch.no_grad():
            assert torch.equal(success, victim.output(found).argmax(1) != y[:60])
    assert sum(success.any() for _, _, success in told) > 8


def test_what_is_carried_over_is_told_at_every_radius() -> None:
    victim, x, y = digits()
    masked = Victim(lambda x: victim.model(x.detach()))
    told: list[tuple[Ball, Tensor, Tensor]] = []
    check = carried_over(
        ATTACK, masked, victim, x[:60], y[:60], radii=(0.05, 0.1, 0.2), found=lambda *found: told.append(found)
    )
    assert check.passed is False
    assert sorted(ball.eps for ball, _, _ in told) == [0.05, 0.1, 0.2]
    broken = {ball.eps: int(success.sum()) for ball, _, success in told}
    assert broken[0.05] < broken[0.1] < broken[0.2]
    for ball, found, success in told:
        assert (ball.size(found - x[:60]) <= ball.eps * (1 + 1e-6)).all()
        with torch.no_grad():
            assert torch.equal(success, victim.output(found).argmax(1) != y[:60])


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_wrong_way_gradient_is_caught(share: float) -> None:
    def wrap(net: nn.Module) -> object:
        def answer(x: Tensor) -> Tensor:
            logits: Tensor = net(x)
            turned = logits.detach() - (logits - logits.detach())
            return torch.where(x.mean((1, 2, 3))[:, None] < x.mean((1, 2, 3)).quantile(share), turned, logits)

        return answer

    check = judged(wrap)["the gradient points uphill"]
    assert check.passed is False
    assert re.search(r"the objective falls on \d+% of \d+ samples", check.detail)


@pytest.mark.parametrize("right_way", [True, False])
def test_where_samples_see_one_another_the_sum_is_to_rise(right_way: bool) -> None:
    victim, x, y = digits()

    def answer(x: Tensor) -> Tensor:
        logits = victim.output(x)
        return logits if right_way else logits.detach() - (logits - logits.detach())

    check = uphill(ATTACK, Victim(answer), x[:20], y[:20], as_draws(0, 20, x.device), together=True)
    assert check.passed is right_way
    assert check.detail.endswith("sum rises" if right_way else "sum falls")


def test_answers_that_change_when_a_gradient_is_asked_for_are_caught() -> None:
    def wrap(net: nn.Module) -> object:
        return lambda x: net(x) * (0.5 if x.requires_grad else 1.0)

    check = judged(wrap)["the gradient points uphill"]
    assert check.passed is False
    assert "answers otherwise when a gradient is asked for, on" in check.detail


def test_comparisons_in_which_nothing_happened_do_not_pass() -> None:
    _, x, _ = digits()
    sure = Victim(lambda x: torch.eye(10)[[0] * len(x)] * 9 + 0 * x.sum((1, 2, 3))[:, None])
    for label, whole in ((0, False), (1, None)):  # every sample is right, whatever is done; none is
        y = torch.full((60,), label)
        checks = {check.name: check for check in believability(ATTACK, sure, x[:60], y)}
        assert checks["an unlimited eps breaks everything"].passed is whole
        for name in (
            "more steps do not help the defender",
            "twice the steps change little",
            "a larger eps does not help the defender",
            "another objective breaks little more",
            "noise of the same size is weaker",
            "the gradient points uphill",
        ):
            assert checks[name].passed is None, checks[name]
        assert not verdict(list(checks.values())).startswith("Believable")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_whole_range_reaches_what_needs_nearly_all_of_it(norm: Norm) -> None:
    """Right up to a mean of 0.95, from pictures of 0: every entry has to move by nearly the whole range."""
    net = nn.Linear(36, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0], [1 / 36]]).expand(2, 36))
        net.bias.copy_(torch.tensor([0.95, 0.0]))
    x, y = torch.zeros(8, 1, 6, 6), torch.zeros(8, dtype=torch.int64)
    victim = Victim(nn.Sequential(nn.Flatten(), net))
    checks = {check.name: check for check in believability(ATTACK.at(0.1, norm), victim, x, y)}
    assert checks["an unlimited eps breaks everything"].passed is True


def test_runs_that_did_nothing_cannot_be_compared() -> None:
    for nothing in (torch.zeros(9), torch.zeros(9, dtype=torch.bool)):
        assert stronger(nothing, nothing) is None
        assert at_least(nothing, nothing) is None


SURROGATES = {
    "detached": (lambda net: lambda x: net(x.detach()), "surrogate gives no gradient"),
    "rounded": (lambda net: lambda x: net((x * 8).round() / 8), "surrogate's gradient is zero on each of 60 samples"),
    "another width": (lambda net: lambda x: net(x[..., :4]), "surrogate cannot be attacked: the network fails"),
    "two classes": (lambda net: lambda x: net(x)[:, :2], r"surrogate cannot be attacked: .*labels lie in"),
}


def test_a_surrogate_with_another_order_of_classes_is_refused() -> None:
    victim, x, y = digits()
    net = victim.model
    asked, turned = Victim(net), Victim(lambda inputs: net(inputs).roll(1, 1))
    audit = RobustnessAudit(Ball("linf", 0.1), linf=(), l2=(), steps=2, ensemble="none")
    with pytest.raises(DataError, match=r"numbers classes otherwise .* in another order: .*its class 1 is 0") as caught:
        audit.evaluate(asked, ArraySource(x, y), aids=Aids(turned))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_that_is_none_is_told_before_anything_is_run(name: str) -> None:
    victim, x, y = digits()
    wrap, words = SURROGATES[name]
    net = victim.model
    asked = Victim(net)
    audit = RobustnessAudit(Ball("linf", 0.1), linf=(), l2=(), steps=2, ensemble="none")
    for face in (
        lambda: carried_over(ATTACK, asked, Victim(wrap(net)), x[:60], y[:60]),
        lambda: ws.audit(asked, (x[:60], y[:60]), surrogate=Victim(wrap(net)), out="never"),
        lambda: audit.evaluate(asked, ArraySource(x[:60], y[:60]), aids=Aids(Victim(wrap(net)))),
    ):
        with pytest.raises(DataError, match=words) as caught:
            face()
        assert "\n" not in str(caught.value)
    assert not Path("never").exists()
    with pytest.raises(DataError, match="range is 0 to 255, and the victim's is 0 to 1"):
        carried_over(ATTACK, asked, Victim(net, high=255), x[:60], y[:60])
