import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from victims import digits, random_pictures, small_net
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.inputs.momentum import MIFGSM, bim, diversify, smooth
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_momentum_it_is_bim(norm: Norm) -> None:
    victim, x, y = digits()
    ball = Ball(norm, 0.1)
    plain = bim(ball)(victim, x, y)
    found = MIFGSM(ball, step_size=0.2, decay=0.0)(victim, x, y)
    torch.testing.assert_close(found.x, plain.x, rtol=0, atol=0 if norm == "linf" else 1e-5)
    assert bim(ball) == PGD(ball, steps=10, step_size=0.2, random_start=False, keep_best=False)


def test_one_step_is_along_the_sign() -> None:
    victim, x, y = digits()
    one = MIFGSM(Ball("linf", 0.1), steps=1)(victim, x, y)
    torch.testing.assert_close(one.x, bim(Ball("linf", 0.1), steps=1)(victim, x, y).x)


def by_the_paper(victim: Victim, x: Tensor, y: Tensor, eps: float, steps: int, decay: float) -> Tensor:
    """Dong et al. (2018), algorithm 1, sample by sample."""
    found = []
    for clean, label in zip(x, y, strict=True):
        point, total = clean, torch.zeros_like(clean)
        for _ in range(steps):
            leaf = point.clone().requires_grad_(True)
            loss = F.cross_entropy(victim.output(leaf[None]), label[None])
            (slope,) = torch.autograd.grad(loss, leaf)
            total = decay * total + slope / slope.abs().sum()
            point = (point + eps / steps * total.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
        found.append(point)
    return torch.stack(found)


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_points_follow_the_papers_rule(decay: float) -> None:
    net = small_net(dtype=torch.float64).eval()
    x, y = random_pictures(dtype=torch.float64)
    found = MIFGSM(Ball("linf", 0.1), steps=7, decay=decay)(Victim(net), x, y)
    wanted = by_the_paper(Victim(net), x, y, 0.1, 7, decay)
    torch.testing.assert_close(found.x, wanted, rtol=0, atol=1e-12)
    other = MIFGSM(Ball("linf", 0.1), steps=7, decay=0.0)(Victim(net), x, y)
    assert not torch.equal(found.x, other.x)


class Fading(nn.Module):
    """Its gradient is there at the clean input, 0.5, and nowhere else."""

    def forward(self, x: Tensor) -> Tensor:
        score = (x * (x == 0.5)).flatten(1).sum(1)
        return torch.stack([score, -score], 1)


def test_zero_gradient_leaves_the_sum_as_it_is() -> None:
    x = torch.full((2, 3), 0.5)
    found = MIFGSM(Ball("linf", 0.1), steps=5)(Victim(Fading()), x, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(found.x, torch.full((2, 3), 0.4))


@pytest.mark.parametrize("settings", [{}, {"diversity": 0.5}, {"smoothing": 1.0}])
def test_flat_model_gives_no_nan(settings: dict[str, float]) -> None:
    x, y = random_pictures()
    found = MIFGSM(Ball("linf", 0.1), **settings)(Victim(lambda x: x.flatten(1)[:, :5] * 0), x, y)
    assert torch.equal(found.x, x)
    assert torch.equal(found.success, y != 0)


def test_full_size_and_no_chance_change_nothing() -> None:
    x = torch.rand(5, 3, 9, 7, dtype=torch.float64)
    for chance, shrink in ((0.0, 0.5), (1.0, 1.0)):
        torch.testing.assert_close(diversify(x, Draws(0, torch.arange(5)), chance, shrink), x, rtol=0, atol=1e-12)


def test_pictures_are_shrunk_bilinearly_on_a_frame_of_zeros() -> None:
    x = torch.rand(40, 2, 20, 20, dtype=torch.float64) + 0.5
    out = diversify(x, Draws(0, torch.arange(40)), 1.0, 0.7)
    sides, places = set(), set()
    for clean, moved in zip(x, out, strict=True):
        rows = moved.sum((0, 2)).nonzero().flatten()
        columns = moved.sum((0, 1)).nonzero().flatten()
        side = len(rows)
        sides.add(side)
        places.add((int(rows[0]), int(columns[0])))
        assert len(columns) == side
        inner = moved[:, rows[0] : rows[0] + side, columns[0] : columns[0] + side]
        wanted = F.interpolate(clean[None], (side, side), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(inner, wanted, rtol=0, atol=1e-5)  # places are drawn in single precision
    assert min(sides) >= 14
    assert len(sides) >= 5
    assert len(places) >= 10


def test_each_picture_is_shrunk_by_its_own_chance() -> None:
    x = torch.rand(400, 1, 8, 8) + 0.5
    out = diversify(x, Draws(0, torch.arange(400)), 0.5, 0.5)
    same = torch.isclose(out, x).flatten(1).all(1).float().mean()
    assert 0.4 < same < 0.65


def test_smoothing_is_a_gaussian_of_each_channel() -> None:
    spike = torch.zeros(1, 2, 31, 31, dtype=torch.float64)
    spike[0, 1, 15, 15] = 1
    out = smooth(spike, 3.0)
    assert not out[0, 0].any()
    reach = out[0, 1].nonzero()
    assert (reach.min().item(), reach.max().item()) == (8, 22)  # 15 entries
    torch.testing.assert_close(out.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(out[0, 1, 15, 18] / out[0, 1, 15, 15], torch.tensor(-0.5, dtype=torch.float64).exp())


def test_variants_change_the_points_and_still_break() -> None:
    victim, x, y = digits()
    ball = Ball("linf", 0.15)
    plain = MIFGSM(ball)(victim, x, y)
    for settings in ({"diversity": 0.7}, {"smoothing": 0.6}, {"diversity": 0.7, "smoothing": 0.6}):
        found = MIFGSM(ball, **settings)(victim, x, y)
        assert not torch.equal(found.x, plain.x)
        assert found.success.float().mean() > 0.4


def test_variants_need_pictures() -> None:
    net = nn.Linear(4, 2)
    for settings in ({"diversity": 0.5}, {"smoothing": 1.0}):
        with pytest.raises(DataError, match="N, C, H, W"):
            MIFGSM(**settings)(Victim(net), torch.rand(3, 4), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "cannot cross"),
        ({"step_size": 0.01}, "share of eps"),
        ({"decay": -1.0}, "decay"),
        ({"diversity": 2.0}, "diversity"),
        ({"ball": Ball("l1", 1.0)}, "'linf' or 'l2'"),
    ],
)
def test_useless_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MIFGSM(**arguments)


def test_flat_start_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    with pytest.raises(ConfigError, match="no gradient on the clean input"):
        MIFGSM(objective=EmbeddingDistance())(Victim(net), random_pictures()[0])


@pytest.mark.oracle
def test_torchattacks_points() -> None:
    torchattacks = pytest.importorskip("torchattacks")
    victim, x, y = digits()
    theirs = torchattacks.MIFGSM(victim.model, eps=0.1, alpha=0.01, steps=10, decay=1.0)(x, y)
    ours = MIFGSM(Ball("linf", 0.1))(victim, x, y).x
    assert ((ours - theirs).abs() <= 1e-5).float().mean() >= 0.999
