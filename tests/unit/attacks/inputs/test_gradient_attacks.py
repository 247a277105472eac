from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from victims import Linear2, digits, random_pictures, small_net
from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import CrossEntropy, Margin
from withstand.attacks.problem import NoGradient
from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

WIDE = {"low": -100.0, "high": 100.0}


def linear(dtype: torch.dtype = torch.float64) -> tuple[Linear2, Tensor, Tensor]:
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Linear2(dtype=dtype), x, torch.tensor([0, 1] * 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize(
    "attack", [FGSM(), PGD(steps=1, random_start=False), PGD(random_start=False), PGD(steps=150, step_size=0.1)]
)
def test_linear_model_is_attacked_optimally(attack: InputAttack, norm: str, dual: int, dtype: torch.dtype) -> None:
    model, x, y = linear(dtype)
    eps = 0.3
    found = attack.at(eps, norm)(Victim(model, **WIDE), x, y)
    toward = 1 - 2 * y  # class 1's score falls, class 0's rises
    wanted = model.score(x) + toward * eps * torch.linalg.vector_norm(model.w, dual)
    torch.testing.assert_close(model.score(found.x), wanted.detach(), rtol=0, atol=3e-6)


def test_fgsm_is_one_pgd_step_bit_for_bit() -> None:
    x, y = random_pictures()
    for norm in ("linf", "l2"):
        ball = Ball(norm, 0.1)
        one = PGD(ball, steps=1, step_size=1.0, random_start=False, keep_best=False)(Victim(small_net()), x, y)
        assert torch.equal(FGSM(ball)(Victim(small_net()), x, y).x, one.x)


def test_the_clipped_optimum_on_a_box() -> None:
    model, x, y = linear()
    x = x.sigmoid()
    found = FGSM(Ball("linf", 0.3))(Victim(model), x, y).x
    toward = (1 - 2 * y)[:, None] * model.w.sign()
    torch.testing.assert_close(found, (x + 0.3 * toward).clamp(0, 1).detach(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_best_objective_never_falls_with_steps_or_restarts(norm: str) -> None:
    victim, x, y = digits()
    ball = Ball(norm, {"linf": 0.1, "l2": 0.5}[norm])
    size = 0.25
    values = [PGD(ball, Margin(), steps=steps, step_size=size)(victim, x, y).loss for steps in (4, 8, 16)]
    values += [PGD(ball, Margin(), steps=16, step_size=size, restarts=count)(victim, x, y).loss for count in (2, 3)]
    for less, more in pairwise(values):
        assert (more >= less - 1e-5).all()
    assert (values[-1] > values[0] + 1e-3).any()


def test_dropping_finished_samples_keeps_every_success() -> None:
    victim, x, y = digits()
    ball = Ball("linf", 0.12)
    full = PGD(ball, steps=20)(victim, x, y)
    fast = PGD(ball, steps=20, drop_finished=True)(victim, x, y)
    assert torch.equal(full.success, fast.success)
    assert 0.2 < full.success.float().mean() < 1
    assert (full.queries == 22).all()
    assert fast.queries.float().mean() < 15
    assert (fast.queries[~fast.success] == 22).all()
    torch.testing.assert_close(fast.x[~fast.success], full.x[~full.success], atol=1e-5, rtol=0)
    restarts = PGD(ball, steps=20, restarts=3, drop_finished=True)(victim, x, y)
    assert not (fast.success & ~restarts.success).any()


def test_pgd_breaks_what_noise_does_not() -> None:
    victim, x, y = digits()
    share = {kind: kind(Ball("linf", 0.15))(victim, x, y).success.float().mean() for kind in (Noise, FGSM, PGD)}
    assert share[Noise] < 0.2 < share[FGSM] <= share[PGD] + 0.02
    assert share[PGD] > 0.6


def test_noise_has_full_size() -> None:
    x = torch.full((4, 3, 8, 8), 0.5, dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).double()
    for norm in ("linf", "l2", "l1"):
        found = Noise(Ball(norm, 0.25))(Victim(net), x, torch.zeros(4, dtype=torch.int64))
        torch.testing.assert_close(found.norm, torch.full((4,), 0.25, dtype=torch.float64))
    assert ((found.x - x) != 0).all()


def test_targeted_attack_on_the_label_itself_never_lowers_its_probability() -> None:
    victim, x, y = digits()
    before = FGSM(Ball("linf", 0.0, targeted=True))(victim, x, y)
    found = PGD(Ball("linf", 0.05, targeted=True), steps=10, random_start=False)(victim, x, y)
    assert (found.loss <= before.loss).all()
    assert (found.success | ~before.success).all()


def test_targeted_attack_reaches_chosen_classes() -> None:
    victim, x, y = digits()
    wanted = (y + 1) % 10
    found = PGD(Ball("linf", 0.5, targeted=True), steps=20)(victim, x, wanted)
    with torch.no_grad():
        assert (victim.output(found.x).argmax(1) == wanted).float().mean() > 0.95
    assert found.success.float().mean() > 0.95


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=5), PGD(steps=5, restarts=2, drop_finished=True)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_flat_model_gives_no_nan(attack: InputAttack, norm: str) -> None:
    x, y = random_pictures()
    found = attack.at(0.1, norm)(Victim(lambda x: x.flatten(1)[:, :5] * 0), x, y)
    assert torch.isfinite(found.x).all()
    assert found.x.min() >= 0
    assert torch.equal(found.success, y != 0)


def test_model_that_detaches_is_told() -> None:
    x, y = random_pictures()
    net = small_net().eval()
    for model in (
        lambda x: net(x.detach()),
        lambda x: net(x).detach(),
        lambda x: net(torch.from_numpy(x.detach().numpy())),
    ):
        with pytest.raises(NoGradient, match="surrogate"):
            FGSM()(Victim(model), x, y)


def test_infinite_gradient_is_told() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(DataError, match="gradient"):
        FGSM()(Victim(lambda x: x.sqrt()), x, torch.zeros(2, dtype=torch.int64))


def test_attack_works_inside_no_grad() -> None:
    x, y = random_pictures()
    outside = FGSM()(Victim(small_net()), x, y).x
    with torch.no_grad():
        assert torch.equal(FGSM()(Victim(small_net()), x, y).x, outside)


def test_victim_that_views_or_changes_its_input_in_place() -> None:
    x, y = random_pictures(channels=3)
    linear = nn.Linear(108, 5)

    def model(x: Tensor) -> Tensor:
        x -= 0.5
        return linear(x.relu_().view(len(x), -1))

    before = x.clone()
    found = PGD(Ball("linf", 0.1), steps=5)(Victim(model), x, y)
    assert torch.equal(x, before)
    assert (found.norm > 0).all()


def test_layout_does_not_change_results() -> None:
    x, y = random_pictures(channels=3, dtype=torch.float64)
    net = small_net(channels=3, dtype=torch.float64)
    ball = Ball("linf", 0.1)
    plain = PGD(ball, steps=5)(Victim(net), x, y)
    net.eval()
    pinned = PGD(ball, steps=5)(Victim(lambda x: net(x.contiguous())), x, y)
    torch.testing.assert_close(plain.x, pinned.x, atol=1e-9, rtol=0)
    assert plain.x.is_contiguous()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"steps": 40, "step_size": 2 / 255}, "share of eps"),
        ({"restarts": 2, "random_start": False}, "all be the same"),
        ({"restarts": 2, "keep_best": False}, "keep_best"),
        ({"ball": Ball("l1", 1.0)}, "'linf' or 'l2'"),
    ],
)
def test_useless_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PGD(**settings)  # type: ignore[arg-type]


def test_objectives_are_swapped_by_name_alone() -> None:
    assert PGD().objective == CrossEntropy()
    assert PGD(objective=Margin()).at(0.5, "l2").objective == Margin()
    assert PGD().at(0.5, "l2").ball == Ball("l2", 0.5)
