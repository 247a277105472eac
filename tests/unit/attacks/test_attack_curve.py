import pytest
import torch

from victims import Linear2, digits
from withstand.attacks.curve import curve
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import Margin
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

EPS = (0.02, 0.05, 0.1, 0.2)


def test_curve_of_a_linear_model_is_its_distance_to_the_boundary() -> None:
    model = Linear2()
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (model.score(x) > 0).long()
    y[:5] = 1 - y[:5]  # wrong from the start
    for norm, dual in (("linf", 1), ("l2", 2)):
        distance = (model.score(x).abs() / torch.linalg.vector_norm(model.w, dual)).detach()
        distance[:5] = 0
        victim = Victim(model, low=-100, high=100)
        found = curve(PGD(Ball(norm), steps=10, random_start=False), victim, x, y, eps=EPS)
        assert found.accuracy == tuple((distance > eps).double().mean().item() for eps in EPS)
        assert (found.radius[:5] == 0).all()
        assert (found.winner[:5] == -1).all()
        fell = (found.radius > 0) & found.radius.isfinite()
        size = Ball(norm).size(found.x - x)
        assert (size[fell] <= found.radius[fell] + 1e-9).all()
        assert (size[fell] >= distance[fell] - 1e-9).all()


def test_curve_never_rises_and_is_as_strong_as_cold_attacks() -> None:
    victim, x, y = digits()
    attack = PGD(Ball("linf"), steps=15, drop_finished=True)
    found = curve(attack, victim, x, y, eps=EPS)
    assert list(found.accuracy) == sorted(found.accuracy, reverse=True)
    for eps, accuracy in zip(EPS, found.accuracy, strict=True):
        assert accuracy <= 1 - attack.at(eps)(victim, x, y).success.double().mean().item() + 0.02
    with torch.no_grad():
        wrong = victim.output(found.x).argmax(1) != y
    assert torch.equal(wrong, found.radius.isfinite())


def test_more_attacks_break_no_less_and_winners_are_told() -> None:
    victim, x, y = digits()
    noise, strong = Noise(), PGD(steps=15, drop_finished=True)
    both = curve([noise, strong], victim, x, y, eps=EPS)
    alone = curve(noise, victim, x, y, eps=EPS)
    assert all(a <= b for a, b in zip(both.accuracy, alone.accuracy, strict=True))
    assert ((both.winner >= 0) == ((both.radius > 0) & both.radius.isfinite())).all()
    assert (both.winner == 1).sum() > (both.winner == 0).sum()


def test_sample_keeps_its_radius_in_other_company() -> None:
    victim, x, y = digits()
    draws = Draws(4, torch.arange(len(x)))
    attacks = [FGSM(), PGD(objective=Margin(), steps=8, drop_finished=True)]
    whole = curve(attacks, victim, x, y, eps=EPS, generator=draws)
    rows = torch.arange(0, len(x), 5)
    some = curve(attacks, victim, x[rows], y[rows], eps=EPS, generator=draws[rows], batch=7)
    assert (some.radius != whole.radius[rows]).sum() <= 1  # but for ties in the last bit


@pytest.mark.parametrize("eps", [(), (0.2, 0.1), (0.1, 0.1), (0.0, 0.1)])
def test_radii_must_ascend(eps: tuple[float, ...]) -> None:
    victim, x, y = digits()
    with pytest.raises(ConfigError, match="ascending"):
        curve(FGSM(), victim, x, y, eps=eps)
