import os
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import withstand
from victims import Touchy, digits, random_pictures
from withstand.api.runs import Run
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.ensemble import AttackProgress, Worst, worst_of
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import DLR, Margin
from withstand.attacks.problem import Problem
from withstand.cli.verbs.runs import run_audit
from withstand.core.errors import ConfigError, DataError, RunError
from withstand.core.part import build, describe
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit import RobustnessAudit

BALL = Ball("linf", 0.1)
LIST: dict[str, InputAttack] = {
    "FGSM": FGSM(BALL),
    "APGD": APGD(BALL, steps=20, drop_finished=True),
    "APGD-T": APGD(BALL, DLR(), steps=10, targets=3, drop_finished=True),
    "Square": Square(BALL, queries=30),
}


def small() -> tuple[Victim, Tensor, Tensor]:
    victim, x, y = digits()
    return victim, x[:40], y[:40]


def same(a: Worst, b: Worst) -> bool:
    names = ("x", "right", "proven", "winner", "queries")
    counts = [[(tally.name, tally.tried, tally.broken) for tally in worst.tallies] for worst in (a, b)]
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names) and counts[0] == counts[1]


def test_each_attack_sees_only_survivors_and_none_does_worse_alone() -> None:
    victim, x, y = small()
    worst = worst_of(LIST, victim, x, y, batch=16)
    left = int(worst.right.sum())
    for place, tally in enumerate(worst.tallies):
        assert tally.tried == left
        assert tally.broken == (worst.winner == place).sum()
        left -= tally.broken
    assert worst.holds.sum() == left
    assert worst.accuracy == left / len(x)
    for name, attack in LIST.items():
        alone = attack(victim, x, y, generator=Draws(0, torch.arange(len(x))).child(name))
        assert not (alone.success & worst.holds).any()
    with torch.no_grad():
        right = victim.output(worst.x).argmax(1) == y
    assert torch.equal(right, worst.holds)
    assert (BALL.size(worst.x - x) <= BALL.eps + 1e-6).all()
    assert torch.equal(worst.x[worst.holds], x[worst.holds])


def test_samples_do_not_depend_on_their_batch_or_on_earlier_attacks() -> None:
    victim, x, y = small()
    whole, parts = (worst_of(LIST, victim, x, y, batch=size) for size in (40, 7))
    assert (whole.winner != parts.winner).sum() <= 1  # the last bits of a convolution differ between batches
    alone = worst_of({"Square": LIST["Square"]}, victim, x, y, batch=40)
    assert ((whole.winner == 3) & (alone.winner != 0)).sum() <= 1


class Killed(Exception):
    pass


@pytest.mark.thorough
@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_killed_run_goes_on_to_the_same_result(after: int, tmp_path: Path) -> None:
    victim, x, y = small()
    path = tmp_path / "state.safetensors"
    whole = worst_of(LIST, victim, x, y, batch=10)
    calls = 0

    def stop(progress: AttackProgress) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise Killed

    with pytest.raises(Killed):
        worst_of(LIST, victim, x, y, batch=10, state=path, progress=stop)
    assert same(worst_of(LIST, victim, x, y, batch=10, state=path), whole)
    told: list[AttackProgress] = []
    assert same(worst_of(LIST, victim, x, y, batch=10, state=path, progress=told.append), whole)
    assert not told  # nothing was left to do
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    victim, x, y = small()
    path = tmp_path / "state.safetensors"
    attacks = {"FGSM": FGSM(BALL)}
    worst_of(attacks, victim, x, y, state=path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for what, run in {
        "inputs": lambda: worst_of(attacks, victim, x * 0.5, y, state=path),
        "labels": lambda: worst_of(attacks, victim, x, (y + 1) % 10, state=path),
        "model": lambda: worst_of(attacks, Victim(other), x, y, state=path),
        "attacks": lambda: worst_of({"FGSM": FGSM(Ball("linf", 0.2))}, victim, x, y, state=path),
        "draws": lambda: worst_of(attacks, victim, x, y, state=path, generator=1),
        "prover": lambda: worst_of(attacks, victim, x, y, state=path, prover=lambda v, x, y, b: y < 5),
    }.items():
        with pytest.raises(RunError, match=f"with other .*{what}"):
            run()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="not a state"):
        worst_of(attacks, victim, x, y, state=path)


def test_what_is_proven_is_counted_and_not_attacked() -> None:
    victim, x, y = small()
    asked = []

    def prover(victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
        asked.append((len(x), ball))
        return y % 2 == 0

    worst = worst_of(LIST, victim, x, y, prover=prover, batch=16)
    assert sum(count for count, _ in asked) == worst.right.sum()
    assert {ball for _, ball in asked} == {BALL}
    assert torch.equal(worst.proven, worst.right & (y % 2 == 0))
    assert worst.proven_accuracy <= worst.accuracy
    assert worst.holds[worst.proven].all()
    assert (worst.queries[worst.proven] == 1).all()
    assert worst.tallies[0].tried == (worst.right & ~worst.proven).sum()
    with pytest.raises(ConfigError, match="bool"):
        worst_of(LIST, victim, x, y, prover=lambda victim, x, y, ball: y * 1.0)


def test_progress_counts_down() -> None:
    victim, x, y = small()
    told: list[AttackProgress] = []
    worst_of(LIST, victim, x, y, batch=10, progress=told.append)
    assert [told[0].attack, told[-1].attack] == ["FGSM", "Square"]
    assert told[-1].remaining == 0
    assert all(a.accuracy >= b.accuracy for a, b in pairwise(told))
    assert all(progress.done <= progress.queue and progress.remaining >= 0 for progress in told)


def test_eps_zero_leaves_everything_as_it_is() -> None:
    victim, x, y = small()
    worst = AutoAttack(Ball("linf", 0.0))(victim, x, y, checks=False)
    assert torch.equal(worst.x, x)
    assert worst.accuracy == worst.clean_accuracy


def test_the_published_algorithm_is_the_default_everywhere() -> None:
    assert AutoAttack(BALL) == AutoAttack(BALL, search="plain")
    assert RobustnessAudit() == RobustnessAudit(search="plain")
    for face in (withstand.audit, Run.audit, run_audit):
        assert signature(face).parameters["asked"].default == withstand.Audit(search="plain") == withstand.Audit()


def test_the_versions_are_the_papers() -> None:
    standard = AutoAttack(BALL, search="plain").attacks()
    assert list(standard) == ["APGD-CE", "APGD-T", "FAB-T", "Square"]
    assert standard["APGD-T"] == APGD(BALL, DLR(), targets=9, drop_finished=True)
    assert standard["Square"] == Square(BALL, queries=5000, rescale=False)
    assert standard["FAB-T"] == FAB(BALL, targets=9, drop_finished=True)
    assert [attack.restarts for attack in standard.values() if isinstance(attack, APGD)] == [1, 1]
    plus = AutoAttack(BALL, "plus").attacks()
    assert list(plus) == ["APGD-CE", "APGD-DLR", "FAB", "Square", "APGD-T", "FAB-T"]
    assert [attack.restarts for attack in plus.values() if isinstance(attack, APGD | FAB)] == [5, 5, 5, 1, 1]
    rand = AutoAttack(BALL, "rand").attacks()
    assert [attack.passes for attack in rand.values() if isinstance(attack, APGD)] == [20, 20]
    sparse = AutoAttack(BALL).at(2.0, "l1").attacks()
    assert isinstance(sparse["APGD-T"], APGD)
    assert sparse["APGD-T"].targets == 5
    for bad, message in (({"version": "standart"}, "'standard'"), ({"ball": Ball(targeted=True)}, "itself")):
        with pytest.raises(ConfigError, match=message):
            AutoAttack(**bad)
    assert build(describe(AutoAttack(BALL, "plus"))) == AutoAttack(BALL, "plus")


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_fast_differs_from_plain_by_its_shortcuts_alone(version: Literal["standard", "plus", "rand"]) -> None:
    fast, plain = (AutoAttack(BALL, version, search=search).attacks() for search in ("fast", "plain"))
    assert list(fast) == list(plain)
    for name, attack in fast.items():
        settings = {item.name: getattr(attack, item.name) for item in fields(attack)}
        shortcuts = {item: False for item in settings if item in ("give_up", "screened")}
        assert type(plain[name])(**{**settings, **shortcuts}) == plain[name]
    assert any(getattr(attack, "give_up", False) for attack in fast.values()) == (version != "rand")


@pytest.mark.thorough
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("search", ["plain", "fast"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.12), ("l2", 0.8), ("l1", 4.0)])
def test_touchy_victims_are_served_whole(
    version: Literal["standard", "plus", "rand"],
    search: Literal["plain", "fast"],
    norm: Norm,
    eps: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without labels, checks included: never without samples, always in eval mode, and left as it was."""
    attacks = AutoAttack(Ball(norm, eps), version, search=search).attacks()
    budget = {"steps": 10, "queries": 260 if norm == "linf" else 20, "targets": 2, "passes": 2, "restarts": 2}
    fewer = {
        name: replace(attack, **{key: min(budget[key], getattr(attack, key)) for key in budget_of(attack)})
        for name, attack in attacks.items()
    }
    monkeypatch.setattr(AutoAttack, "attacks", lambda self: fewer)
    victim, x, y = small()
    model = Touchy(nn.Sequential(victim.model, nn.BatchNorm1d(10)))
    model.train()
    generator, values = torch.get_rng_state(), [value.clone() for value in model.state_dict().values()]
    attack = AutoAttack(Ball(norm, eps), version, search=search)
    for labels in (None, y[:8]):
        worst = attack(Victim(model), x[:8], labels, batch=5)
        assert worst.checks
        assert torch.equal(worst.x, attack(Victim(model), x[:8], labels, batch=5, checks=False).x)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(values, model.state_dict().values(), strict=True))
    assert torch.equal(generator, torch.get_rng_state())
    for labels in (None, y[:0]):
        assert len(attack(Victim(model), x[:0], labels).x) == 0
    with pytest.raises(DataError, match="at least one sample"):
        attack.checks(Victim(model), x[:0])


def budget_of(attack: InputAttack) -> set[str]:
    """Return which of an attack's settings cost time, and are set."""
    costly = {"steps", "queries", "targets", "passes", "restarts"}
    return {item.name for item in fields(attack) if item.name in costly and getattr(attack, item.name) is not None}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace AutoAttack's list by one of the same names that takes no time."""
    attacks = {
        "APGD-CE": APGD(BALL, steps=10, drop_finished=True),
        "Square": Square(BALL, queries=100),
    }
    monkeypatch.setattr(AutoAttack, "attacks", lambda self: attacks)


@pytest.mark.usefixtures("quick")
def test_a_plain_net_is_believed() -> None:
    victim, x, y = small()
    worst = AutoAttack(BALL)(victim, x, y)
    assert worst.verdict.startswith("Believable: all")
    assert {"no optimisation inside", "random search adds little"} <= {check.name for check in worst.checks}


class Inner(nn.Module):
    """Moves its input by a gradient of its own before it looks at it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            z = x.detach().requires_grad_(True)
            slope = torch.autograd.grad(self.net(z).logsumexp(1).sum(), z)[0]
        return self.net(x + 0.001 * slope)


@pytest.mark.thorough
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda net: lambda x: net(x.detach()), "APGD-CE could not run"),
        (lambda net: lambda x: net((x * 8).round() / 8 + 0 * x), "Square, which uses no gradients, breaks"),
        (lambda net: lambda x: net(x + 0.1 * torch.randn_like(x)), 'version="rand" is made for that'),
        (lambda net: lambda x: net(x).softmax(1), "probabilities"),
        (Inner, "asks for gradients 1 times"),
    ],
)
def test_masked_nets_are_not_believed(wrap: object, reason: str) -> None:
    victim, x, y = small()
    worst = AutoAttack(BALL)(Victim(wrap(victim.model)), x, y)
    assert worst.verdict.startswith("Not believable because")
    assert reason in worst.verdict


@pytest.mark.usefixtures("quick")
def test_few_classes_and_a_random_victim_are_said() -> None:
    x, _ = random_pictures(12)
    checks = {check.name: check for check in AutoAttack(BALL).checks(Victim(lambda x: x.flatten(1)[:, :3]), x)}
    assert checks["enough classes"].passed is None
    assert "all 2 wrong ones" in checks["enough classes"].detail
    victim, x, y = small()
    noisy = Victim(lambda x: victim.model(x + 0.01 * torch.randn_like(x)))
    checks = {check.name: check for check in AutoAttack(BALL, "rand").checks(noisy, x, y)}
    assert checks["same output twice"].passed is None
    assert len(checks) == 5


def test_any_list_of_attacks_will_do() -> None:
    @dataclass(frozen=True)
    class Brighten(InputAttack):
        def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
            return problem.x + self.ball.eps

    victim, x, y = small()
    worst = worst_of({"noise": Noise(BALL), "bright": Brighten(BALL), "margin": PGD(BALL, Margin())}, victim, x, y)
    assert [tally.name for tally in worst.tallies] == ["noise", "bright", "margin"]
    assert worst.accuracy < worst.clean_accuracy
    for attacks in ({}, {"a": PGD(BALL), "b": PGD(Ball("l2", 0.1))}):
        with pytest.raises(ConfigError, match="same ball"):
            worst_of(attacks, victim, x, y)


def test_masks_and_missing_labels() -> None:
    victim, x, _ = small()
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:5] = True
    worst = worst_of({"APGD": LIST["APGD"]}, victim, x, mask=mask)
    assert worst.right.all()  # the victim's own predictions
    assert (worst.x == x)[~mask.expand_as(x)].all()
    assert worst.accuracy < 1


@pytest.mark.oracle
def test_robust_accuracy_is_the_official_autoattacks() -> None:
    official = pytest.importorskip("pyautoattack")
    victim, x, y = small()
    theirs = official.AutoAttack(victim.model, norm="Linf", eps=0.1, version="standard", device="cpu", seed=0)
    points = theirs.run_standard_evaluation(x, y, batch_size=64)[0]
    with torch.no_grad():
        robust = (victim.output(points).argmax(1) == y).double().mean().item()
    assert AutoAttack(BALL)(victim, x, y, checks=False).accuracy <= robust + 0.025


@pytest.mark.thorough
def test_the_plain_search_knows_nothing_of_the_shortcuts() -> None:
    code = """
import sys
from victims import random_pictures, small_net
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

x, y = random_pictures(4)
for search, known in (("plain", False), ("fast", True)):
    AutoAttack(Ball("linf", 0.02), search=search)(Victim(small_net()), x, y, generator=0, checks=False)
    shortcuts = "withstand.attacks.autoattack.shortcuts."
    assert any(name.startswith(shortcuts) for name in sys.modules) is known, search
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
