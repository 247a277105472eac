"""Balls in L0: counts, nearest points in ball and range by trying all, and everyone else's refusal by name."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch

from victims import random_pictures, small_net
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.inputs.deepfool import DeepFool
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.momentum import MIFGSM
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import Margin
from withstand.attacks.problem import make_problem
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball, keep_largest
from withstand.core.victims.victim import Victim
from withstand.evaluation.defenses.detection.detection import Detection
from withstand.evaluation.defenses.purification import Purification
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.certificates.certificate import Certificate
from withstand.evaluation.robustness.fairness import GroupGaps
from withstand.verification.specification.box import Region

L0 = Ball("l0", 2)


def test_sizes_count_every_channel_of_a_pixel() -> None:
    delta = torch.zeros(3, 3, 2, 2)
    delta[1, :, 0, 0] = 0.1
    delta[2, 0] = -1e-30
    assert Ball("l0", 1).size(delta).tolist() == [0, 3, 4]
    assert Ball("l0", 1).size(torch.ones(1, 3000, dtype=torch.float16)).tolist() == [3000]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
def test_the_nearest_point_in_ball_and_range_is_found(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    x = torch.rand(20, 5, generator=generator, dtype=torch.float64)
    asked = x + torch.randn(x.shape, generator=generator, dtype=torch.float64)
    y = torch.zeros(20, dtype=torch.int64)
    problem = make_problem(Victim(lambda z: z), Margin(), Ball("l0", count), x, y)
    found = problem.confine(asked)
    tries = []
    for places in combinations(range(5), min(count, 5)):
        point = x.clone()
        point[:, list(places)] = asked[:, list(places)].clamp(0, 1)
        tries.append((point - asked).square().sum(1))
    torch.testing.assert_close((found - asked).square().sum(1), torch.stack(tries).amin(0))
    assert ((found != x).sum(1) <= count).all()


def test_projection_keeps_the_largest_and_the_first_of_equals() -> None:
    delta = torch.tensor([[1.0, -3.0, 2.0, 2.0], [1.0, 1.0, 1.0, 0.0]])
    assert L0.project(delta).tolist() == [[0, -3, 2, 0], [1, 1, 0, 0]]
    assert L0.project(delta, torch.tensor([1.0, 3.9])).tolist() == [[0, -3, 0, 0], [1, 1, 1, 0]]
    assert torch.equal(keep_largest(delta, delta.abs(), 1e30), delta)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_a_radius_for_each_sample_is_as_one_ball_for_each(norm: str) -> None:
    delta = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    radii = torch.tensor([0.0, 1.0, 2.0, torch.inf], dtype=torch.float64)
    together = Ball(norm, 1).project(delta, radii)
    for row, radius in enumerate(radii.tolist()):
        alone = Ball(norm, min(radius, 1e30)).project(delta[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_radii_are_whole_numbers() -> None:
    with pytest.raises(ConfigError, match=r"l0 counts entries, so eps must be a whole number, not 0\.5"):
        Ball("l0", 0.5)
    with pytest.raises(ConfigError, match=r"l0.*takes a ball round each sample as a whole: give it per='sample'"):
        Ball("l0", 1, per="token")
    victim = Victim(small_net(), high=255.0)
    assert victim.radius(3, "l0") == 3
    assert str(Ball("l0", 3)) == "L0 3"
    with pytest.raises(ConfigError, match="not a share like 8/255"):
        victim.radius("8/255", "l0")


@pytest.mark.parametrize("kind", [FGSM, PGD, APGD, FAB, Square, DeepFool, MIFGSM, Noise])
def test_attacks_that_need_directions_refuse(kind: type[InputAttack]) -> None:
    x, y = random_pictures()
    with pytest.raises(ConfigError, match=rf"{kind.__name__} takes norm 'linf' or 'l2' or 'l1', not 'l0'"):
        kind(L0)(Victim(small_net()), x, y)


@pytest.mark.parametrize(
    ("make", "who"),
    [
        (lambda: AutoAttack(L0), "AutoAttack"),
        (lambda: Certificate(L0), "a certificate"),
        (lambda: Region.around(torch.rand(2, 3), L0), "a certificate"),
        (lambda: RobustnessAudit(L0), "an audit"),
        (lambda: Purification(L0), "purification"),
        (lambda: GroupGaps("groups.csv", L0), "a comparison of groups"),
        (lambda: Detection(ball=L0), "detection"),
        (lambda: L0.direction(torch.ones(1, 2)), "a direction"),
        (lambda: L0.to_surface(torch.ones(1, 2)), "a surface"),
    ],
)
def test_everything_else_refuses_by_name(make: Callable[[], object], who: str) -> None:
    with pytest.raises(ConfigError, match=f"{who} takes norm 'linf', 'l2' or 'l1', not 'l0'"):
        make()
