"""What a user gets wrong with attacks, and the line that says so."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from victims import random_pictures, small_net
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.inputs.deepfool import DeepFool
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.objectives import DLR, TargetedDLR
from withstand.attacks.problem import NoGradient
from withstand.core.errors import DataError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

BALL = Ball("linf", 0.1)
EVERY = [
    FGSM(BALL),
    PGD(BALL, steps=3),
    APGD(BALL, steps=3),
    APGD(BALL, DLR(), steps=3, targets=2),
    FAB(BALL, steps=3),
    FAB(BALL, steps=3, targets=2),
    DeepFool(BALL),
    Square(BALL, queries=3),
]
SLOPED = EVERY[:-1]


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: type(attack).__name__)
def test_one_number_that_may_be_a_probability(attack: InputAttack) -> None:
    x, _ = random_pictures()
    net = small_net(1).eval()
    with pytest.raises(DataError, match="a probability or a logit: let it give two logits"):
        attack(Victim(lambda x: net(x).sigmoid()), x, torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: type(attack).__name__)
def test_nan(attack: InputAttack) -> None:
    x, y = random_pictures()
    net = small_net().eval()
    with pytest.raises(DataError, match="NaN"):
        attack(Victim(lambda x: net(x) * torch.nan), x, y)


@pytest.mark.parametrize("attack", SLOPED, ids=lambda attack: type(attack).__name__)
def test_no_gradient(attack: InputAttack) -> None:
    x, _ = random_pictures()
    net = small_net().eval()
    with pytest.raises(NoGradient, match="it detaches, rounds to integers or leaves torch; give a differentiable"):
        attack(Victim(lambda x: net(x.detach())), x)


def test_integer_input() -> None:
    with pytest.raises(DataError, match=r"use x.float\(\) / 255"):
        FGSM(BALL)(Victim(small_net()), torch.zeros(2, 1, 6, 6, dtype=torch.uint8))


def test_probabilities_are_named_by_autoattacks_checks() -> None:
    x, y = random_pictures(20)
    net = small_net().eval()
    found = AutoAttack(BALL).checks(Victim(lambda x: net(x).softmax(1)), x, y)
    failed = {check.name: check.detail for check in found if check.passed is False}
    assert failed["logits, not probabilities"] == "the victim's outputs are probabilities: give its logits"


def test_a_class_that_is_the_label_itself_is_not_aimed_at() -> None:
    with pytest.raises(DataError, match="sample 1 is to become its own label, 2: aim at another class"):
        TargetedDLR().check(torch.zeros(3, 5), torch.tensor([[0, 1], [2, 2], [4, 4]]))


def test_a_goal_that_is_met_from_the_start_is_reported_as_met() -> None:
    x, _ = random_pictures()
    net = small_net().eval()
    with torch.no_grad():
        own = net(x.clone()).argmax(1)
    for attack in (PGD(Ball("linf", 0.1, targeted=True), steps=3), FAB(Ball("linf", 0.1, targeted=True), steps=3)):
        assert attack(Victim(net), x, own).success.all()


@pytest.mark.parametrize("attack", [APGD(BALL, DLR(), steps=3), FAB(BALL, steps=3)])
def test_more_targets_than_wrong_classes_aims_at_all_of_them(attack: APGD | FAB) -> None:
    x, y = random_pictures()
    many, all_ = (replace(attack, targets=count)(Victim(small_net()), x, y) for count in (9, 4))
    assert torch.equal(many.x, all_.x)
    assert torch.equal(many.queries, all_.queries)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5]


def test_modes_are_the_attacks_matter() -> None:
    x, y = random_pictures()
    training, ready = small_net().train(), small_net().eval()
    found = [PGD(BALL, steps=3)(Victim(net), x, y) for net in (training, ready)]
    assert torch.equal(found[0].x, found[1].x)
    assert training.training


class Late(Mean):
    """Writes on its input from the seventh pass on, after it was looked at."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x if self.passes < 7 else x.mul_(0.5))


def test_a_model_that_takes_to_writing_on_its_input_is_told() -> None:
    x, y = random_pictures()
    with pytest.raises(DataError, match="wrote on its input in place, but not on its first one"):
        Square(BALL, queries=5)(Victim(Late()), x, y)
