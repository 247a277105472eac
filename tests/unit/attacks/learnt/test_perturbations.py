"""Learnt attacks: what they add is what was learnt, scaled and confined; another shape is told in one line."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from victims import Scored, digits, random_pictures, small_net
from withstand.attacks.learnt.perturbations import Generated, Patch, Perturbation, Universal
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim


def learnt(values: Tensor) -> Perturbation:
    made = Perturbation(tuple(values.shape))
    with torch.no_grad():
        made.values.copy_(values)
    return made


def test_one_perturbation_is_added_to_all_inputs() -> None:
    victim, x, y = digits()
    values = 0.2 * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    attack = Universal(Ball("linf", 0.3), perturbation=learnt(values))
    found = attack(victim, x, y)
    wanted = (x + values.clamp(-0.3, 0.3)).clamp(0, 1)
    torch.testing.assert_close(found.x, wanted)
    small = attack.at(0.05)(victim, x, y)
    torch.testing.assert_close(small.x, (x + values.clamp(-0.05, 0.05)).clamp(0, 1))


def test_attacks_do_what_their_parts_did_in_training() -> None:
    victim, x, y = digits()
    for shape in ((1, 8, 8), (1, 6, 9)):
        universal, patch = Universal.example(shape), Patch.example(shape)
        samples = x if shape == (1, 8, 8) else torch.rand(3, *shape)
        taken = victim if shape == (1, 8, 8) else Victim(nn.Sequential(nn.Flatten(), nn.Linear(54, 3)))
        labels = y if shape == (1, 8, 8) else torch.zeros(3, dtype=torch.int64)
        for attack, part in ((universal.at(1.0), universal.perturbation), (patch, patch.sticker)):
            with torch.no_grad():
                wanted = part(samples).clamp(0, 1)
            torch.testing.assert_close(attack(taken, samples, labels).x, wanted)
            assert not torch.equal(wanted, samples)


def test_a_patch_is_where_it_was_learnt_and_nowhere_else() -> None:
    patch = Patch.example((1, 6, 9)).sticker
    moved = type(patch)((1, 6, 9), (2, 5), 3)
    x = torch.rand(2, 1, 6, 9)
    changed = moved(x) != x
    assert changed[:, :, 2:5, 5:8].all()
    assert int(changed.sum()) == 2 * 9
    for corner, side in (((4, 0), 3), ((0, 7), 3), ((-1, 0), 3), ((0, 0), 0), ((0,), 3)):
        with pytest.raises(ConfigError, match="does not fit"):
            type(patch)((1, 6, 9), corner, side)


def test_the_best_perturbation_of_a_linear_classifier_is_found_to_be_the_worst_case() -> None:
    """Of one class the sign of the weights is what every adversary would choose: nothing in the ball does more."""
    net = Scored()
    x, _ = net.inputs(0.05)
    y = torch.ones(len(x), dtype=torch.int64)
    worst = -0.05 * net.layer.weight.detach()[0].sign()
    found = Universal(Ball("linf", 0.05), perturbation=learnt(worst))(Victim(net), x, y)
    assert torch.equal(found.success, net.worst(x, y, 0.05) <= 0)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (0.0, 255.0)])
def test_what_was_learnt_of_unit_inputs_is_scaled_to_the_victims_range(low: float, high: float) -> None:
    span = high - low
    x, y = random_pictures()
    plain = Victim(small_net())
    wide = Victim(lambda z: plain((z - low) / span), low=low, high=high)
    for attack in (Universal.example(), Generated.example()):
        one = attack.at(0.1)(plain, x, y)
        other = attack.at(0.1 * span)(wide, low + span * x, y)
        torch.testing.assert_close(other.x, low + span * one.x, rtol=0, atol=1e-5 * span)


class Towards(nn.Module):
    """A generator that reads wanted embeddings `(N, 4)`, and answers with them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(4))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, wanted: Tensor) -> Tensor:
        return self.norm(self.layer(wanted))


def test_a_generator_may_read_the_wanted_embedding() -> None:
    network = Towards()
    attack = Generated(
        Ball("linf", 0.5, targeted=True), EmbeddingDistance("euclidean", 0.3), network=network, reads="targets"
    )
    x = torch.full((6, 4), 0.5)
    wanted = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    found = attack(Victim(nn.Flatten()), x, wanted)
    torch.testing.assert_close(found.x, (0.5 + wanted / (1 + 1e-5) ** 0.5).clamp(0, 1))
    with pytest.raises(ConfigError, match="targeted ball"):
        Generated(network=network, reads="targets")
    with pytest.raises(ConfigError, match="did you mean 'targets'"):
        replace(attack, reads="target")  # type: ignore[arg-type]


def test_a_generator_is_left_as_it_was_found() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1), nn.Dropout(0.5))
    before = copy.deepcopy(network.state_dict())
    x, y = random_pictures()
    first, again = (Generated(network=network)(Victim(small_net()), x, y).x for _ in range(2))
    assert torch.equal(first, again)
    assert all(module.training for module in network.modules())
    assert all(weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Universal(perturbation=Perturbation((3, 32, 32))), r"learnt on samples of shape \(3, 32, 32\).*\(1, 6, 6\)"),
        (Generated(network=nn.Flatten()), r"makes perturbations of shape \(36,\).*\(1, 6, 6\)"),
        (Generated(network=nn.Linear(8, 8)), "the network raised|shape|mat1"),
        (Generated(network=nn.Hardshrink(-1)), ""),
    ],
)
def test_another_shape_is_told_in_one_line(attack: Universal | Generated, message: str) -> None:
    x, y = random_pictures()
    if not message:  # the shapes fit
        attack(Victim(small_net()), x, y)
        return
    with pytest.raises(DataError, match=message) as told:
        attack(Victim(small_net()), x, y)
    assert "\n" not in str(told.value)
