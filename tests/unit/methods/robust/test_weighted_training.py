"""GAIRAT and MAIL on the trainer, what free training carries on, and runs that diverge."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toys import toy_experiment
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, NonFiniteLoss
from withstand.core.part import build, describe
from withstand.core.roles import Method, Model, Terms
from withstand.core.threat import Ball
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.losses.robust.adversarial import boosted_cross_entropy, divergence, mart
from withstand.losses.robust.comp_sum import difference_shift, smooth_adversarial
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.robust.done import DoublyRobustTraining
from withstand.methods.robust.free import FreeAdversarialTraining
from withstand.methods.robust.srat import SeparableReweightedTraining
from withstand.methods.shared.adversarial_training.strategies import Mart, Plain, SmoothCompSum, Strategy, Trades
from withstand.methods.shared.adversarial_training.weightings import GAIRAT, MAIL, Weighting
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized

STEPS = 5
ATTACK = PGD(Ball("linf", 0.2), steps=STEPS, step_size=0.25, keep_best=False)


class Flat(Model):
    """A linear encoder."""

    width = 12

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) - 0.5


def batch(count: int = 16) -> Batch:
    x = torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    return Batch(torch.zeros_like(x), torch.arange(count), torch.arange(count) % 3, views=(x,))


def linear(**settings: object) -> AdversarialTraining:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AdversarialTraining(Flat(), classes=3, **{"attack": ATTACK, **settings}).double()  # type: ignore[arg-type]


def kappa(method: AdversarialTraining, given: Batch) -> tuple[Tensor, Tensor]:
    """Return the attacked samples and the steps survived, from the loop spelt out."""
    x, y = given.views[0], given.y
    assert y is not None
    moved = (x + given.draws("inner attack").child(0).uniform(*x.shape[1:], low=-0.2, high=0.2)).clamp(0, 1)
    count = torch.zeros(len(x))
    for _ in range(STEPS):
        moved = moved.detach().requires_grad_()
        logits = method.logits(moved)
        count += logits.argmax(1) == y
        (slope,) = torch.autograd.grad(F.cross_entropy(logits, y), moved)
        moved = (x + (moved.detach() + 0.05 * slope.sign() - x).clamp(-0.2, 0.2)).clamp(0, 1)
    return moved, count


def test_gairat_counts_the_steps_that_a_sample_survives() -> None:
    given, method = batch(), linear(weighting=GAIRAT(shift=-0.5))
    worse, survived = kappa(method, given)
    assert survived.unique().numel() > 2, "samples differ"
    torch.testing.assert_close(method.attacked(given), worse, atol=1e-6, rtol=0)
    z = -0.5 + 5 * (1 - 2 * survived.double() / STEPS)
    weight = (1 + z.tanh()) / 2
    losses = F.cross_entropy(method.logits(worse), given.y, reduction="none")
    terms = method.step(given)
    expected = (losses * weight / weight.mean()).mean()
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["effective_samples"].item() == pytest.approx(
        (weight.mean() ** 2 / (weight**2).mean()).item(), rel=1e-4
    )


def test_the_clean_pass_of_trades_is_not_counted() -> None:
    given = batch()
    found = linear(weighting=GAIRAT(), strategy=Trades())._with_attacked(given).extras["survived"]
    assert found.max() <= STEPS
    assert found.unique().numel() > 1


@pytest.mark.parametrize("strategy", [Plain(), Trades(3.0), Mart(2.0), SmoothCompSum(1.5, 0.5, 0.2)])
def test_mail_weighs_what_the_attack_costs(strategy: Strategy) -> None:
    given = batch()
    method = linear(strategy=strategy, weighting=MAIL(bias=0.1, slope=2.0))
    clean, under, y = method.logits(given.views[0]), method.logits(method.attacked(given)), given.y
    assert y is not None
    p = under.softmax(1)
    own = p.gather(1, y[:, None]).squeeze(1)
    margin = p.scatter(1, y[:, None], 0.0).amax(1) - own
    weight = 3 * torch.sigmoid(2 * (margin + 0.1))
    cross = F.cross_entropy(under, y, reduction="none")
    weight = weight.detach()
    expected = {
        Plain: lambda: weight * cross,
        Trades: lambda: F.cross_entropy(clean, y, reduction="none") + 3 * weight * divergence(clean, under),
        Mart: lambda: (
            weight * boosted_cross_entropy(under, y) + mart(clean, under, y, 2.0) - boosted_cross_entropy(under, y)
        ),
        SmoothCompSum: lambda: (
            smooth_adversarial(clean, under, y, tau=1.5, rho=0.5, nu=0.0)
            + 0.2 * weight * difference_shift(clean, under, y)
        ),
    }[type(strategy)]()
    loss = method.step(given)["loss"]
    torch.testing.assert_close(loss, expected.mean())
    matrix = method.classifier.weight
    for found, wanted in zip(
        torch.autograd.grad(loss, [matrix]), torch.autograd.grad(expected.mean(), [matrix]), strict=True
    ):
        torch.testing.assert_close(found, wanted, msg="the weights carry no gradient")


@pytest.mark.parametrize("weighting", [GAIRAT(burn_in=2, shift=-3.0), MAIL(burn_in=2)])
def test_weights_are_equal_until_the_burn_in_is_over(weighting: Weighting) -> None:
    given, method, plain = batch(), linear(weighting=weighting), linear()
    for epoch, same in ((0, True), (1, True), (2, False)):
        assert torch.equal(method.step(replace(given, epoch=epoch))["loss"], plain.step(given)["loss"]) == same


def test_equal_weights_are_plain_adversarial_training() -> None:
    given = batch()
    for weighting in (GAIRAT(shift=float("inf")), MAIL(slope=0.0, scale=None)):
        torch.testing.assert_close(linear(weighting=weighting).step(given)["loss"], linear().step(given)["loss"])


def test_weights_and_weight_perturbation_go_together() -> None:
    class Seen:
        def terms(self, batch: Batch) -> Terms:
            assert {"attacked", "survived"} <= batch.extras.keys()
            return method(batch)

        def descend(self, loss: Tensor, group: str = "main") -> None: ...

    method = linear(weighting=GAIRAT(), weight_perturbation=0.01)
    assert method.update(batch(), Seen())["loss"].isfinite()


def test_weightings_describe_themselves_and_refuse_impossible_settings() -> None:
    for weighting in (GAIRAT(3, 0.5, "discrete"), MAIL(2, 0.0, 2.0, None)):
        assert build(describe(weighting)) == weighting
    wrong = {
        "burn_in": lambda: MAIL(burn_in=-1),
        "curve 'tan' is unknown: did you mean 'tanh'": lambda: GAIRAT(curve="tan"),  # type: ignore[arg-type]
        "shift": lambda: GAIRAT(shift=float("nan")),
        "slope": lambda: MAIL(slope=-1),
        "scale": lambda: MAIL(scale=0.0),
        "keep_best=False": lambda: linear(weighting=GAIRAT(), attack=PGD(Ball("linf", 0.1), steps=4)),
        "no guard": lambda: linear(weighting=GAIRAT(), guard=ATTACK),
    }
    for words, make in wrong.items():
        with pytest.raises(ConfigError, match=words):
            make()


def test_free_training_carries_the_perturbation_to_the_next_batch() -> None:
    """The official loop, spelt out over two batches: through the clipped sum, clipped to the ball alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = FreeAdversarialTraining(Flat(), classes=3, ball=Ball("linf", 0.1), replays=2).double()
    reference = nn.Linear(12, 3).double()
    reference.load_state_dict(method.classifier.state_dict())
    optimizer = torch.optim.SGD(method.classifier.parameters(), lr=0.1)
    ours = Descending(method, optimizer)
    theirs = torch.optim.SGD(reference.parameters(), lr=0.1)
    delta = torch.zeros(16, 3, 2, 2).double()
    for shift in range(2):
        given = batch()
        given = given.with_views(given.views[0].roll(shift, 0))
        method.update(given, ours)
        for _ in range(2):
            delta = delta.detach().requires_grad_()
            moved = (given.views[0] + delta).clamp(0, 1)
            theirs.zero_grad()
            F.cross_entropy(reference(moved.flatten(1) - 0.5), given.y).backward()
            theirs.step()
            assert delta.grad is not None
            delta = (delta.detach() + 0.1 * delta.grad.sign()).clamp(-0.1, 0.1)
    torch.testing.assert_close(method.carried, delta)
    torch.testing.assert_close(method.classifier.weight, reference.weight)
    fresh = FreeAdversarialTraining(Flat(), classes=3).double()
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.carried, delta)
    small = batch(4)
    assert torch.equal(fresh.perturbation(small.views[0]), torch.zeros_like(small.views[0])), "another batch size"


class Descending:
    """A trainer without an engine."""

    def __init__(self, method: Method, optimizer: torch.optim.Optimizer) -> None:
        self.method, self.optimizer = method, optimizer

    def terms(self, batch: Batch) -> Terms:
        return self.method(batch)

    def descend(self, loss: Tensor, group: str = "main") -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def net() -> Model:
    return Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)


LABELLED = {
    "PGD-AT": lambda: AdversarialTraining(net(), classes=4, attack=ATTACK),
    "TRADES": lambda: AdversarialTraining(net(), classes=4, attack=ATTACK, strategy=Trades()),
    "free": lambda: FreeAdversarialTraining(net(), classes=4, replays=2),
    "DONE": lambda: DoublyRobustTraining(net(), classes=4, steps=2),
    "SRAT": lambda: SeparableReweightedTraining(net(), counts=(16, 16, 16, 16), attack=ATTACK),
}


@pytest.mark.parametrize("kind", LABELLED)
def test_a_run_that_diverges_is_stopped_by_the_engine(kind: str, tmp_path: Path) -> None:
    made = toy_experiment(epochs=4, optimizer=SGD(1e25, momentum=0.0), method=LABELLED[kind]())
    with pytest.raises(NonFiniteLoss, match="lower learning"):
        train(made, tmp_path / "run", quiet=True, allow=("toys",))
    assert list((tmp_path / "run").glob("non-finite-batch-*"))


def test_labels_that_do_not_fit_are_still_refused() -> None:
    method = linear()
    with pytest.raises(DataError, match="labels lie in"):
        method.step(replace(batch(), y=torch.full((16,), 3)))
