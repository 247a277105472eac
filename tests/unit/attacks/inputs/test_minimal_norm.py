"""Minimal-norm attacks: distances to planes are closed forms in every norm, and one run answers for all radii."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from victims import Linear2, digits, random_pictures, small_net
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.curve import distance_curve
from withstand.attacks.inputs.ddn import DDN
from withstand.attacks.inputs.deepfool import DeepFool
from withstand.attacks.inputs.fmn import FMN
from withstand.attacks.inputs.hop_skip_jump import HopSkipJump
from withstand.attacks.inputs.nearest import EVERYWHERE, MinimalNorm
from withstand.attacks.inputs.pdpgd import PDPGD
from withstand.attacks.inputs.sigma_zero import SigmaZero
from withstand.attacks.named import named, own_norm
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim

DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}
ON_PLANES = [
    (DDN(steps=200), 1.01),
    (FMN(Ball("linf"), steps=200, growth=0.02), 1.01),
    (FMN(Ball("l2"), steps=200, growth=0.02), 1.01),
    (FMN(Ball("l1"), steps=200, growth=0.02), 1.01),
    (FAB(Ball("l1"), steps=20), 1.01),
    (PDPGD(Ball("linf"), steps=300), 1.2),
    (PDPGD(Ball("l2"), steps=300), 1.2),
    (PDPGD(Ball("l1"), steps=300), 1.2),
    (HopSkipJump(Ball("l2"), queries=3000), 1.15),
    (HopSkipJump(Ball("linf"), queries=3000), 1.15),
]


def planes() -> tuple[Linear2, Tensor, Tensor]:
    model = Linear2()
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 4
    return model, x, (model.score(x) > 0).long()


@pytest.mark.parametrize(("attack", "slack"), ON_PLANES, ids=lambda value: str(value)[:30])
def test_distance_to_a_plane(attack: MinimalNorm, slack: float) -> None:
    model, x, y = planes()
    found = attack.nearest(Victim(model, low=-5.0, high=5.0), x, y)
    wanted = (model.score(x).abs() / torch.linalg.vector_norm(model.w, DUAL[attack.ball.norm])).detach()
    assert found.success.all()
    assert (found.norm >= wanted * (1 - 1e-9)).all(), "no point is nearer than the plane"
    assert (found.norm <= wanted * slack).all()


@pytest.mark.parametrize("attack", [FMN(Ball("l0", 1), steps=300), SigmaZero(steps=300)], ids=["FMN", "sigma-zero"])
def test_fewest_entries_that_cross_a_plane(attack: MinimalNorm) -> None:
    model = Linear2()
    x = torch.rand(30, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    score = model.score(x).detach()
    # What each entry can take off the score within the range, largest first: the fewest whose sum exceeds it.
    away = torch.where(score[:, None] * model.w > 0, x, 1 - x) * model.w.detach().abs()
    wanted = (away.sort(1, descending=True).values.cumsum(1) <= score.abs()[:, None]).sum(1) + 1
    found = attack.nearest(Victim(model), x, (score > 0).long())
    reachable = wanted <= 12
    assert torch.equal(found.success, reachable)
    assert (found.norm >= wanted)[reachable].all()
    assert (found.norm == wanted)[reachable].double().mean() >= 0.8
    assert len(wanted[reachable].unique()) >= 3


@pytest.mark.parametrize(
    "attack",
    [DDN(steps=30), FMN(Ball("l1"), steps=30), SigmaZero(steps=40), FAB(steps=5, drop_finished=True), DeepFool()],
    ids=lambda attack: type(attack).__name__,
)
def test_one_run_answers_for_every_radius(attack: MinimalNorm) -> None:
    victim, x, y = digits()
    x, y = x[:12], y[:12].clone()
    y[0] = (y[0] + 1) % 10
    found = attack.nearest(victim, x, y)
    assert found.success[0]
    assert found.norm[0] == 0
    assert torch.equal(victim.output(found.x).argmax(1) != y, found.success)
    whole = replace(attack, drop_finished=False) if isinstance(attack, FAB) else attack
    middle = float(found.norm.median())
    for eps in (middle, float(found.norm.max())):
        eps = float(round(eps)) if attack.ball.norm == "l0" else eps
        inside = whole.at(eps)(victim, x, y)
        fits = found.success & (found.norm <= eps)
        assert inside.success[fits].all()
        assert torch.equal(inside.x[fits], found.x[fits])
    curve = distance_curve(attack, victim, x, y, eps=(1.0, 2.0))
    torch.testing.assert_close(curve.radius[found.success], found.norm[found.success].double())
    assert curve.accuracy[0] == float((~found.success | (found.norm > 1)).double().mean())


def test_several_attacks_give_the_least_distance() -> None:
    victim, x, y = digits()
    x, y = x[:10], y[:10]
    attacks = [DeepFool(Ball("l2")), DDN(steps=60)]
    both = distance_curve(attacks, victim, x, y, eps=(0.5,))
    each = torch.stack([distance_curve(attack, victim, x, y, eps=(0.5,)).radius for attack in attacks])
    torch.testing.assert_close(both.radius, each.amin(0))
    assert torch.equal(victim.output(both.x).argmax(1) != y, both.radius.isfinite())
    with pytest.raises(ConfigError, match="several norms make no curve: l1, l2"):
        distance_curve([DDN(), FMN(Ball("l1"))], victim, x, y, eps=(0.5,))
    with pytest.raises(ConfigError, match="ascending"):
        distance_curve(DDN(), victim, x, y, eps=(0.5, 0.2))


def test_decisions_alone_are_enough_for_hop_skip_jump() -> None:
    victim, x, y = digits()
    x, y = x[:6], y[:6]

    def decisions(inputs: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(victim.output(inputs.detach()).argmax(1), 10).float()

    attack = HopSkipJump(Ball("l2"), queries=800)
    found = attack.nearest(Victim(decisions), x, y)
    assert found.success.all()
    assert (found.queries <= 800 + 1 + attack.tries + 1).all()
    best = DDN(steps=100).nearest(victim, x, y)
    first = HopSkipJump(Ball("l2"), queries=30).nearest(Victim(decisions), x, y)
    assert best.norm.mean() < found.norm.mean() < 0.7 * first.norm.mean()


def test_hop_skip_jump_asks_no_more_than_it_may_beside_the_clean_input_and_its_start() -> None:
    victim, x, y = digits()
    first = DDN(steps=20).nearest(victim, x[:1], y[:1]).x
    spent = set()
    for queries in range(100, 200, 3):
        attack = HopSkipJump(Ball("l2"), queries=queries, probes=20)
        spent.add(int(attack.nearest(victim, x[:1], y[:1], start=first).queries) - queries)
    assert 0 <= max(spent) <= 3  # the clean input is asked when it is given, and when the search begins


def test_a_hop_that_never_arrives_ends_with_the_budget() -> None:
    """The goal is met on a thread alone, off which every hop leads; each is halved as long as it may be."""
    way = torch.tensor([0.6, 0.8, 0.0, 0.0], dtype=torch.float64)

    def thread(x: Tensor) -> Tensor:
        along = x @ way
        met = (along > 0.3) & ((x - along[:, None] * way).norm(dim=1) < 1e-9)
        return torch.stack([torch.zeros_like(along), met.double() - 0.5], 1)

    x, y = torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    for queries in range(20, 60):
        found = HopSkipJump(Ball("l2"), queries=queries, probes=5).nearest(Victim(thread), x, y, start=way[None])
        assert found.success.all()
        assert int(found.queries) <= queries + 3


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_fmn_by_the_papers_loop(norm: Norm) -> None:
    """Algorithm 1 with its cosine schedules, on a curved boundary, one sample, spelt out."""
    weight = torch.tensor([3.0, -1.0, 2.0, 0.5], dtype=torch.float64)
    curve = torch.tensor([-1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
    order, dual, steps = (2, 2, 25) if norm == "l2" else (float("inf"), 1, 25)

    def height(x: Tensor) -> Tensor:
        return x @ weight + x.square() @ curve - 2.2

    def score(x: Tensor) -> Tensor:
        return height(x)[..., None] * torch.tensor([0.0, 1.0], dtype=torch.float64)

    x = torch.full((1, 4), 0.2, dtype=torch.float64)
    found = FMN(Ball(norm, 1.0), steps=steps).nearest(Victim(score), x, torch.zeros(1, dtype=torch.int64))
    point, radius, best = x[0], math.inf, math.inf
    for step in range(steps):
        share = (1 + math.cos(math.pi * step / steps)) / 2
        pace, change = 0.01 + 0.99 * share, 0.001 + 0.049 * share
        gain, slope = float(height(point)), weight + 2 * curve * point
        size = float(torch.linalg.vector_norm(point - x[0], order))
        if gain > 0:
            best = min(best, size)
            radius = min(radius * (1 - change), best)
        elif math.isinf(best):
            radius = size - gain / float(torch.linalg.vector_norm(slope, dual))
        else:
            radius *= 1 + change
        delta = point - x[0] + pace * slope / slope.norm()
        delta = delta * min(1.0, radius / float(delta.norm())) if norm == "l2" else delta.clamp(-radius, radius)
        point = (x[0] + delta).clamp(0, 1)
    if height(point) > 0:
        best = min(best, float(torch.linalg.vector_norm(point - x[0], order)))
    assert best < math.inf
    torch.testing.assert_close(float(found.norm), best, rtol=1e-6, atol=0)


def test_fmn_is_the_papers_which_may_not_arrive_and_growth_helps() -> None:
    victim, x, y = digits()
    x, y = x[:20], y[:20]
    published = FMN(Ball("l2"), steps=60).nearest(victim, x, y)
    ours = FMN(Ball("l2"), steps=60, growth=0.02).nearest(victim, x, y)
    assert ours.success.all()
    assert not published.success.all()
    assert torch.isfinite(published.x).all()


@pytest.mark.parametrize(
    "attack",
    [
        DDN(steps=3),
        FMN(steps=3),
        FMN(Ball("l0", 2), steps=3),
        SigmaZero(steps=3),
        HopSkipJump(queries=60),
        *(PDPGD(Ball(norm), steps=3) for norm in PDPGD.norms),
    ],
)
def test_flat_victim_gives_no_nan_and_no_success(attack: MinimalNorm) -> None:
    x, y = random_pictures()
    found = attack.nearest(Victim(lambda x: x.flatten(1)[:, :5] * 0), x, y)
    assert torch.isfinite(found.x).all()
    assert torch.equal(found.success, y != 0)


@pytest.mark.parametrize(
    "attack", [DDN(steps=60), FMN(Ball("l2"), steps=60), SigmaZero(steps=60), PDPGD(Ball("l1"), steps=60)]
)
def test_a_wider_range_changes_nothing_but_units(attack: MinimalNorm) -> None:
    model, x, y = planes()
    x = x.clamp(-1, 1) / 2 + 0.5
    y = (model.score(x) > 0).long()
    plain = attack.nearest(Victim(model), x, y)
    wide = attack.nearest(Victim(lambda z: model(z / 100), high=100.0), x * 100, y)
    assert torch.equal(plain.success, wide.success)
    torch.testing.assert_close(wide.norm, plain.norm * (1 if attack.ball.norm == "l0" else 100), rtol=1e-3, atol=0)


def test_targeted_balls_reach_the_wanted_class() -> None:
    victim, x, y = digits()
    x, wanted = x[:10], (y[:10] + 1) % 10
    for attack in (
        DDN(Ball("l2", targeted=True), steps=80),
        SigmaZero(Ball("l0", 5, targeted=True), steps=150),
        PDPGD(Ball("linf", targeted=True), steps=80),
    ):
        found = attack.nearest(victim, x, wanted)
        assert found.success.all()
        assert torch.equal(victim.output(found.x).argmax(1), wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDN(steps=0), "steps must be at least 1, not 0"),
        (lambda: DDN(change=1.0), "change is a part between 0 and 1"),
        (lambda: FMN(growth=-0.1), "growth of 0 or more"),
        (lambda: FMN(objective=EmbeddingDistance()), "boundaries between classes"),
        (lambda: SigmaZero(threshold=2.0), "threshold in"),
        (lambda: HopSkipJump(probes=0), "probes must be at least 1"),
        (lambda: named("ddn", Ball()), "DDN takes norm 'l2', not 'linf'"),
        (lambda: named("sigma-zero", Ball("l2")), "SigmaZero takes norm 'l0', not 'l2'"),
        (lambda: named("hop-skip-jump", Ball("l1")), "'linf' or 'l2', not 'l1'"),
        (lambda: named("fmn", Ball(), embedding=True), "fmn compares classes"),
    ],
)
def test_useless_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_names_give_the_attacks() -> None:
    assert named("ddn", Ball("l2"), steps=7) == DDN(Ball("l2"), steps=7)
    assert named("hop-skip-jump", Ball(), steps=70) == HopSkipJump(Ball(), queries=70)
    assert [own_norm(name) for name in ("ddn", "fmn", "pdpgd", "sigma-zero", "hop-skip-jump")] == [
        "l2", "linf", "linf", "l0", "linf",
    ]  # fmt: skip
    assert FMN().everywhere().ball.eps == EVERYWHERE


def test_hop_skip_jump_needs_a_range() -> None:
    x, y = random_pictures()
    with pytest.raises(ConfigError, match="give the victim low= and high="):
        HopSkipJump()(Victim(small_net(), low=-torch.inf, high=torch.inf), x, y)


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_fmn_is_as_in_adv_lib(norm: str) -> None:
    pytest.importorskip("visdom")
    module = pytest.importorskip("adv_lib.attacks.fast_minimum_norm")
    victim, x, y = digits()
    x, y = x[:30], y[:30]
    order = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}[norm]
    theirs = module.fmn(victim.model, x, y, norm=order, steps=100)
    size = torch.linalg.vector_norm((theirs - x).flatten(1), order, dim=1)
    broken = victim.output(theirs).argmax(1) != y
    ours = FMN(Ball(norm, 1), steps=100).nearest(victim, x, y)
    both = broken & ours.success
    torch.testing.assert_close(ours.norm[both].float(), size[both], rtol=0.01, atol=1e-3)
    assert (broken != ours.success).sum() <= 2


@pytest.mark.parametrize("norm", PDPGD.norms)
def test_the_proximal_operator_is_a_minimum(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    shrink = torch.tensor([0.0, 0.1, 0.5, 1.0, 3.0, 50.0], dtype=torch.float64)
    ball = Ball(norm)

    def cost(z: Tensor) -> Tensor:
        return (z - delta).square().sum(1) / 2 + shrink * ball.size(z)

    found = PDPGD(ball)._proximal(delta, shrink)
    assert torch.equal(found[0], delta[0])
    assert not found[5].any()
    for scale in (1e-3, 1e-1, 1.0):
        for _ in range(50):
            near = found + scale * torch.randn(6, 9, generator=generator, dtype=torch.float64)
            assert (cost(near) >= cost(found) - 1e-12).all()


@pytest.mark.oracle
@pytest.mark.parametrize("norm", PDPGD.norms)
def test_pdpgd_is_as_in_adv_lib(norm: str) -> None:
    pytest.importorskip("visdom")
    module = pytest.importorskip("adv_lib.attacks.primal_dual_gradient_descent")
    victim, x, y = digits()
    x, y = x[:30], y[:30]
    order = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
    theirs = module.pdpgd(victim.model, x, y, norm=order, num_steps=100)
    size = torch.linalg.vector_norm((theirs - x).flatten(1), order, dim=1)
    ours = PDPGD(Ball(norm, 1), steps=100).nearest(victim, x, y)
    assert torch.equal(victim.output(theirs).argmax(1) != y, ours.success)
    torch.testing.assert_close(ours.norm.float(), size, rtol=0.02, atol=1e-3)
