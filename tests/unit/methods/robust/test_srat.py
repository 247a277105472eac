"""SRAT: late class weights, the separation loss on attacked features, and what is stored for rare classes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.core.threat import Ball
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.losses.robust.imbalance import effective_number_weights, ldam_margins
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.robust.srat import SeparableReweightedTraining

NEAR = PGD(Ball("linf", 0.1), steps=4, keep_best=False)
COUNTS = (50, 5, 2)


class Flat(Model):
    """Inputs as features."""

    width = 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) - 0.5


def made(**settings: object) -> SeparableReweightedTraining:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        given = {"counts": COUNTS, "attack": NEAR} | settings
        return SeparableReweightedTraining(Flat(), **given).double()  # type: ignore[arg-type]


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 6, dtype=torch.float64, generator=generator)
    return Batch(x, torch.arange(8), torch.tensor([0, 0, 0, 1, 1, 2, 0, 0]))


def test_without_weights_and_separation_it_is_pgd_training() -> None:
    given, method = batch(), made(separation=0.0, defer=10**9)
    plain = AdversarialTraining(Flat(), classes=3, attack=NEAR).double()
    plain.classifier.load_state_dict(method.classifier.state_dict())
    one, two = method.step(given)["loss"], plain.step(given)["loss"]
    torch.testing.assert_close(one, two)
    one.backward()
    two.backward()
    torch.testing.assert_close(method.classifier.weight.grad, plain.classifier.weight.grad)


def test_weights_come_at_their_epoch_and_not_into_the_attack() -> None:
    given, method = batch(), made(separation=0.0, defer=3, stored=0)
    worse = method.attacked(given)
    losses = F.cross_entropy(method.logits(worse), given.y, reduction="none")
    weights = effective_number_weights(COUNTS)[given.y]
    for epoch in range(5):
        expected = (losses * weights).mean() if epoch >= 3 else losses.mean()
        torch.testing.assert_close(method.step(replace(given, epoch=epoch))["loss"], expected)
    assert torch.equal(worse, method.attacked(given))


def test_separation_reads_attacked_features_and_what_is_stored() -> None:
    given, method = batch(), made(separation=0.4, temperature=0.5, stored=2)
    features = method.encoder(method.attacked(given))
    terms = method.step(given)
    torch.testing.assert_close(terms["separation"], supervised_contrastive(features, given.y, 0.5))  # type: ignore[arg-type]
    torch.testing.assert_close(terms["loss"], terms["classification"] + 0.4 * terms["separation"])
    assert method.memory_count.tolist() == [5, 2, 1]
    torch.testing.assert_close(method.memory[0], features[[7, 6]].flip(0)[[1, 0]][[0, 1]], msg="the newest two")
    torch.testing.assert_close(method.memory[2, 0], features[5])
    stored = torch.cat([method.memory[0], method.memory[1], method.memory[2, :1]])
    again = supervised_contrastive(
        features, given.y, 0.5, stored=stored, stored_groups=torch.tensor([0, 0, 1, 1, 2])  # type: ignore[arg-type]
    )  # fmt: skip
    torch.testing.assert_close(method.eval().step(given)["separation"], again)
    assert method.memory_count.tolist() == [5, 2, 1], "only training stores"


@pytest.mark.parametrize("loss", ["focal", "ldam", "balanced-softmax"])
def test_other_losses(loss: str) -> None:
    given = batch()
    method = made(loss=loss, separation=0.0, defer=10**9, gamma=2.0)
    scores = method.network()(method.attacked(given))
    p = scores.softmax(1).gather(1, given.y[:, None]).squeeze(1)  # type: ignore[index]
    moved = scores - 30 * F.one_hot(given.y, 3) * ldam_margins(COUNTS)  # type: ignore[arg-type]
    expected = {
        "focal": -((1 - p) ** 2) * p.log(),
        "ldam": F.cross_entropy(moved, given.y, reduction="none"),
        "balanced-softmax": F.cross_entropy(scores + torch.tensor(COUNTS).log(), given.y, reduction="none"),
    }[loss]
    torch.testing.assert_close(method.step(given)["loss"], expected.mean())
    if loss == "ldam":
        assert method.classifier.bias is None
        assert scores.abs().max() <= 30


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'focal'"):
        made(loss="vocal")
    for wrong in ({"separation": -1.0}, {"defer": -1}, {"attack": PGD(Ball(targeted=True))}, {"counts": (3, -1)}):
        with pytest.raises(ConfigError):
            made(**wrong)
    assert made().step(replace(batch(), y=torch.zeros(8, dtype=torch.int64)))["loss"].isfinite()
