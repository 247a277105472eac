"""Adversarial training: strategies, the inner attack, weight perturbation, free replays, the guard, exact resume."""

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import faults
from faults import FaultyView, Stop
from toys import toy_experiment, weights
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.random import Draws
from withstand.core.roles import Method, Model, Terms
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.engine.launch import train
from withstand.losses.robust.adversarial import divergence, mart, trades
from withstand.losses.robust.comp_sum import difference_shift, smooth_adversarial
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.robust.free import FreeAdversarialTraining
from withstand.methods.shared.adversarial_training.attack_in_training import attack_in_training
from withstand.methods.shared.adversarial_training.strategies import (
    Divergence,
    Mart,
    Plain,
    SmoothCompSum,
    Strategy,
    Trades,
)
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized

NONE = PGD(Ball("linf", 0.0), steps=1)
NEAR = PGD(Ball("linf", 0.1), steps=4, keep_best=False)


class Flat(Model):
    """A linear encoder."""

    width = 12

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) - 0.5


class Plainly:
    """A trainer without an engine: gradients, and steps where an optimizer is given."""

    def __init__(self, method: Method, rate: float = 0.0) -> None:
        self.method, self.optimizer = method, torch.optim.SGD(method.parameters(), lr=rate)
        self.seen: list[dict[str, Tensor]] = []

    def terms(self, batch: Batch) -> Terms:
        self.seen.append({name: p.detach().clone() for name, p in self.method.named_parameters()})
        return self.method(batch)

    def descend(self, loss: Tensor, group: str = "main") -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def batch(count: int = 8, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, 2, 2, generator=generator)
    return Batch(torch.zeros_like(x), torch.arange(count), torch.arange(count) % 3, views=(x,))


def linear(**settings: object) -> AdversarialTraining:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AdversarialTraining(Flat(), classes=3, **settings).double()  # type: ignore[arg-type]


def doubled(given: Batch) -> Batch:
    return given.with_views(*(view.double() for view in given.views))


def test_without_an_attack_plain_training_is_cross_entropy() -> None:
    given, method = doubled(batch()), linear(attack=NONE)
    terms = method.step(given)
    torch.testing.assert_close(terms["loss"], F.cross_entropy(method.logits(given.views[0]), given.y))
    assert "accuracy" not in terms


@pytest.mark.parametrize("strategy", [Plain(), Trades(3.0), Mart(2.0), SmoothCompSum(1.5, 0.5, 0.2)])
def test_the_loss_is_the_strategys_at_the_attacked_points(strategy: Strategy) -> None:
    given, method = doubled(batch()), linear(strategy=strategy, attack=NEAR)
    worse = method.attacked(given)
    x = given.views[0]
    assert (worse - x).abs().max() <= 0.1 + 1e-9
    assert worse.min() >= 0
    assert worse.max() <= 1
    clean, under, y = method.logits(x), method.logits(worse), given.y
    assert y is not None
    expected = {
        Plain: lambda: F.cross_entropy(under, y, reduction="none"),
        Trades: lambda: trades(clean, under, y, 3.0),
        Mart: lambda: mart(clean, under, y, 2.0),
        SmoothCompSum: lambda: smooth_adversarial(clean, under, y, tau=1.5, rho=0.5, nu=0.2),
    }[type(strategy)]()
    torch.testing.assert_close(method.step(given)["loss"], expected.mean())


def test_the_attack_raises_what_the_strategy_wants() -> None:
    given = doubled(batch(32))
    x, y = given.views[0], given.y
    assert y is not None
    raised = {
        Trades(): lambda method, worse: divergence(method.logits(x), method.logits(worse)),
        SmoothCompSum(): lambda method, worse: difference_shift(method.logits(x), method.logits(worse), y),
        Plain(): lambda method, worse: F.cross_entropy(method.logits(worse), y, reduction="none"),
    }
    for strategy, value in raised.items():
        method = linear(strategy=strategy, attack=PGD(Ball("linf", 0.1), steps=10, keep_best=False))
        found = value(method, method.attacked(given))
        generator = torch.Generator().manual_seed(1)
        for _ in range(20):
            corner = (x + 0.1 * torch.randn(x.shape, generator=generator).sign()).clamp(0, 1)
            assert found.mean() >= value(method, corner).mean()


def test_on_a_linear_model_pgd_never_lowers_the_loss() -> None:
    given, method = doubled(batch()), linear(attack=NEAR)
    clean = F.cross_entropy(method.logits(given.views[0]), given.y, reduction="none")
    assert (F.cross_entropy(method.logits(method.attacked(given)), given.y, reduction="none") >= clean).all()


def test_one_step_is_fast_adversarial_training() -> None:
    """FGSM-RS: uniform start, one step of 1.25 eps along the sign, clipped to ball and range."""
    given, ball = doubled(batch()), Ball("linf", 0.1)
    method = linear(attack=PGD(ball, steps=1, step_size=1.25, keep_best=False), train_mode=True)
    x = given.views[0]
    draws = given.draws("inner attack").child(0)
    start = (x + draws.uniform(*x.shape[1:], low=-0.1, high=0.1)).clamp(0, 1).requires_grad_()
    F.cross_entropy(method.logits(start), given.y).backward()
    expected = x + (start.detach() + 0.125 * start.grad.sign() - x).clamp(-0.1, 0.1)
    torch.testing.assert_close(method.attacked(given), expected.clamp(0, 1), atol=1e-7, rtol=0)


def network() -> Method:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)
        return AdversarialTraining(net, classes=3, attack=NEAR)


@pytest.mark.parametrize("train_mode", [False, True])
def test_the_inner_attack_leaves_the_model_as_it_was(train_mode: bool) -> None:
    method = network()
    method.encoder.encoder.blocks[0].eval()  # type: ignore[operator, union-attr, index]
    modes: list[bool] = []
    method.classifier.register_forward_hook(lambda module, *_: modes.append(module.training))
    kept = {name: value.clone() for name, value in method.state_dict().items()}
    flags = [module.training for module in method.modules()]
    x = torch.rand(4, 3, 8, 8)
    state = torch.get_rng_state()
    attack_in_training(
        method, method.logits, NEAR, x, torch.arange(4) % 3, Draws(0, torch.arange(4)), train_mode=train_mode
    )
    assert set(modes) == {train_mode}
    assert flags == [module.training for module in method.modules()]
    assert all(torch.equal(value, kept[name]) for name, value in method.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in method.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_in_eval_mode_it_finds_what_the_attack_itself_finds() -> None:
    method, x, y = network().eval(), torch.rand(4, 3, 8, 8), torch.arange(4) % 3
    found = attack_in_training(method, method.logits, NEAR, x, y, Draws(0, torch.arange(4)))
    known = NEAR(Victim(method.logits), x, y, generator=Draws(0, torch.arange(4))).x
    torch.testing.assert_close(found, known)


def test_draws_hang_on_seed_step_and_index() -> None:
    given, method = doubled(batch()), linear(attack=NEAR)
    first = method.attacked(given)
    assert torch.equal(first, method.attacked(given))
    rows = torch.tensor([3, 1])
    part = Batch(given.x[rows], rows, given.y[rows], views=(given.views[0][rows],))
    torch.testing.assert_close(method.attacked(part), first[rows])
    assert not torch.equal(first, method.attacked(replace(given, step=1)))
    assert not torch.equal(first, method.attacked(replace(given, seed=1)))


def test_start_noise_and_warmup() -> None:
    given = doubled(batch())
    x = given.views[0]
    tiny = linear(strategy=Trades(), attack=PGD(Ball("linf", 0.1), steps=1, step_size=1.0, keep_best=False))
    near = replace_method(tiny, start_noise=1e-3)
    assert not torch.equal(near.attacked(given), tiny.attacked(given))
    method = linear(attack=NEAR, warmup=4)
    sizes = []
    for epoch in range(5):
        sizes.append((method.attacked(replace(given, epoch=epoch)) - x).abs().max().item())
    assert sizes == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def replace_method(method: AdversarialTraining, **settings: object) -> AdversarialTraining:
    tree = describe(method)
    tree["init_args"] |= settings  # type: ignore[index, operator, call-overload]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(tree, allow=(__name__,)).double()


def test_weight_perturbation_moves_matrices_by_their_share_and_back() -> None:
    given, method = doubled(batch()), linear(attack=NEAR, weight_perturbation=0.01)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    trainer = Plainly(method)
    method.update(given, trainer)
    moved = trainer.seen[0]
    assert torch.equal(moved["classifier.bias"], before["classifier.bias"])
    move = moved["classifier.weight"] - before["classifier.weight"]
    assert move.norm() / before["classifier.weight"].norm() == pytest.approx(0.01)
    for name, value in method.named_parameters():
        torch.testing.assert_close(value.detach(), before[name], rtol=0, atol=1e-12)
    worse = {"attacked": method.attacked(given)}
    base = method.step(replace(given, extras=worse))["loss"]
    with method.perturbed(replace(given, extras=worse)):
        assert method.step(replace(given, extras=worse))["loss"] > base, "it moves against the loss"
    assert method.step(replace(given, extras=worse))["loss"].item() == pytest.approx(base.item(), abs=1e-12)


def test_weight_perturbation_is_that_of_a_proxy_that_climbed_one_step() -> None:
    """The official way: a copy ascends by SGD, and each weight matrix moves along the copy's way, at its own norm."""
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    given = Batch(torch.zeros_like(x), torch.arange(6), torch.arange(6) % 3, views=(x,))
    method = network().double()
    assert isinstance(method, AdversarialTraining)
    given = replace(given, extras={"attacked": method.attacked(given)})
    proxy = copy.deepcopy(method)
    (-proxy.step(given)["loss"]).backward()
    torch.optim.SGD(proxy.parameters(), lr=0.01).step()
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    buffers = {name: value.clone() for name, value in method.named_buffers()}
    method.weight_perturbation = 0.007
    with method.perturbed(given):
        for (name, moved), climbed in zip(method.named_parameters(), proxy.parameters(), strict=True):
            way = climbed - before[name]
            expected = before[name] + 0.007 * before[name].norm() / (way.norm() + 1e-20) * way
            torch.testing.assert_close(moved.detach(), expected.detach() if moved.dim() > 1 else before[name])
    for name, value in method.named_parameters():
        torch.testing.assert_close(value.detach(), before[name], rtol=0, atol=1e-12)
    assert all(torch.equal(value, buffers[name]) for name, value in method.named_buffers())


def test_a_perturbation_of_nothing_changes_nothing() -> None:
    given = doubled(batch())
    ends = []
    for gamma in (0.0, 1e-12):
        method = linear(attack=NEAR, weight_perturbation=gamma)
        method.update(given, Plainly(method, 0.1))
        ends.append(method.classifier.weight.detach())
    torch.testing.assert_close(*ends)


def test_free_training() -> None:
    """One replay without a radius is plain SGD; more replays climb by eps from where the last one stood."""
    given = doubled(batch())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = FreeAdversarialTraining(Flat(), classes=3, ball=Ball("linf", 0.0), replays=1).double()
    reference = nn.Linear(12, 3).double()
    reference.load_state_dict(method.classifier.state_dict())
    method.update(given, Plainly(method, 0.1))
    F.cross_entropy(reference(given.views[0].flatten(1) - 0.5), given.y).backward()
    torch.testing.assert_close(
        method.classifier.weight.detach(), reference.weight.detach() - 0.1 * reference.weight.grad
    )
    seen: list[Tensor] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = FreeAdversarialTraining(Flat(), classes=3, ball=Ball("linf", 0.1), replays=3).double()
    method.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    terms = method.update(given, Plainly(method))
    assert len(seen) == 3
    x = given.views[0]
    losses = [F.cross_entropy(method.logits(moved), given.y) for moved in list(seen)]
    assert losses[2] > losses[0]
    assert all((moved - x).abs().max() <= 0.1 + 1e-9 for moved in seen)
    assert terms["loss"].item() == pytest.approx(losses[2].item())


def test_the_guard_tells_of_catastrophic_overfitting_and_takes_over() -> None:
    guard = PGD(Ball("linf", 0.1), steps=7)
    method = linear(attack=FGSM(Ball("linf", 0.1)), guard=guard, guard_every=2)
    given, trainer = doubled(batch()), Plainly(method)
    trainer = Plainly(method)
    assert not method.overfitted
    method.update(replace(given, step=1), trainer)
    assert method.guard_best == 0, "not due"
    given = replace(given, step=2)
    method.update(given, trainer)
    worse = guard(
        Victim(method.network()), given.views[0], given.y, generator=given.draws("inner attack").child("guard")
    ).x
    shown = (method.logits(worse).argmax(1) == given.y).float().mean()
    assert method.guard_accuracy == shown
    method.guard_best.fill_(shown + 0.3)
    plain = FGSM(Ball("linf", 0.1))(Victim(method.network()), given.views[0], given.y).x
    method.guard_accuracy.fill_(1.0)
    torch.testing.assert_close(method.attacked(given), plain)
    with pytest.warns(UserWarning, match="catastrophic overfitting"):
        method.update(given, trainer)
    assert method.overfitted
    assert not torch.allclose(method.attacked(given), plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method.update(given, trainer)  # told once
    method.guard_best.fill_(shown)
    method.update(given, trainer)
    assert not method.overfitted
    assert method.training


def test_the_divergence_is_an_attack_without_labels() -> None:
    method, x = network().eval(), torch.rand(4, 3, 8, 8)
    found = PGD(Ball("linf", 0.1), Divergence(), steps=5)(Victim(method.logits), x)
    assert (found.loss > 0).all()
    with pytest.raises(ConfigError, match="random_start"):
        FGSM(Ball("linf", 0.1), Divergence())(Victim(method.logits), x)


def test_settings_and_labels_are_checked() -> None:
    given = doubled(batch())
    with pytest.raises(DataError, match="have none"):
        linear().step(replace(given, y=None))
    with pytest.raises(DataError, match="labels lie in"):
        linear().step(replace(given, y=torch.full((8,), 3)))
    with pytest.raises(DataError, match="outside"):
        linear().step(given.with_views(given.views[0] * 3))
    for wrong in (
        {"weight_perturbation": -1},
        {"weight_perturbation": float("nan")},
        {"start_noise": -0.1},
        {"warmup": -1},
        {"guard_every": 0},
        {"attack": PGD(Ball("linf", 0.1, targeted=True))},
    ):
        with pytest.raises(ConfigError):
            linear(**wrong)
    for strategy in (Trades, Mart):
        with pytest.raises(ConfigError):
            strategy(-1.0)
    with pytest.raises(ConfigError):
        SmoothCompSum(rho=0)
    with pytest.raises(ConfigError):
        FreeAdversarialTraining(Flat(), classes=3, replays=0)
    with pytest.raises(ConfigError):
        AdversarialTraining(Flat(), classes=1)


def toy_net() -> Model:
    return Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)


KINDS = {
    "perturbed TRADES": lambda: AdversarialTraining(
        toy_net(), classes=4, strategy=Trades(), attack=NEAR, weight_perturbation=0.01, start_noise=1e-3, warmup=3
    ),
    "guarded": lambda: AdversarialTraining(
        toy_net(), classes=4, attack=FGSM(Ball("linf", 0.1)), guard=NEAR, guard_every=1
    ),
    "free": lambda: FreeAdversarialTraining(toy_net(), classes=4, replays=2),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_in_mid_epoch_goes_on_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    made = toy_experiment(epochs=2, count=48, method=KINDS[kind](), save_every=0.0)
    experiment, allow = replace(made, view=FaultyView(made.view)), ("toys", "faults")
    faults.arrange()
    whole = train(experiment, tmp_path / "whole", quiet=True, allow=allow)
    faults.arrange(stop_view=5)
    with pytest.raises(Stop):
        train(experiment, tmp_path / "stopped", quiet=True, allow=allow)
    faults.arrange()
    stopped = train(experiment, tmp_path / "stopped", quiet=True, allow=allow)
    assert faults.plan.views == 2
    one, two = weights(whole.path), weights(stopped.path)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
