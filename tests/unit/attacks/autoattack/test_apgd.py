from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import withstand.attacks.autoattack.apgd as apgd
from victims import Linear2, digits, random_pictures
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.inputs.l1 import project_l1_box, sparse_direction
from withstand.attacks.objectives import DLR, CrossEntropy, EmbeddingDistance, Margin, TargetedDLR
from withstand.attacks.problem import Problem, make_problem
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim

EPS = {"linf": 0.1, "l2": 0.5, "l1": 2.0}


def test_dlr_is_the_papers_formula() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0, 3.5, -1.0]], dtype=torch.float64)
    for label, wanted in ((1, -(5 - 3.5) / (5 - 2)), (3, (5 - 3.5) / (5 - 2)), (4, 6 / 3)):
        torch.testing.assert_close(DLR()(logits, torch.tensor([label]), logits).item(), wanted)
    aimed = TargetedDLR()(logits, torch.tensor([[1, 2]]), logits)
    torch.testing.assert_close(aimed.item(), (2 - 5) / (5 - (2 + 1) / 2))


@given(st.floats(1e-3, 1e3), st.floats(-10, 10), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_dlr_does_not_see_scale_and_shift(scale: float, shift: float, seed: int) -> None:
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(6) % 5
    pairs = torch.stack([y, (y + 1) % 5], 1)
    for objective, labels in ((DLR(), y), (TargetedDLR(), pairs)):
        changed = objective(scale * logits + shift, labels, logits)
        torch.testing.assert_close(changed, objective(logits, labels, logits), rtol=1e-6, atol=1e-6)


def test_targeted_dlr_knows_its_labels() -> None:
    logits = torch.eye(5)[[0, 1, 2]]
    assert TargetedDLR().reached(logits, torch.tensor([[0, 1], [0, 1], [0, 1]]), targeted=False).tolist() == [0, 1, 1]
    assert TargetedDLR().reached(logits, torch.tensor([[0, 1], [0, 1], [0, 1]]), targeted=True).tolist() == [0, 1, 0]
    assert TargetedDLR().reference(logits)[:, 0].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"\(N, 2\)"):
        TargetedDLR().check(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(DataError, match="classes 0 to 4"):
        TargetedDLR().check(logits, torch.tensor([[0, 5]] * 3))


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_fall_back_to_the_margin(classes: int) -> None:
    x, _ = random_pictures(8, dtype=torch.float64)
    y = torch.arange(8) % classes
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, classes)).double()
    victim = Victim(net)
    with pytest.warns(UserWarning, match="four classes"):
        found = APGD(Ball("linf", 0.1), DLR(), steps=10)(victim, x, y)
    same = APGD(Ball("linf", 0.1), Margin(), steps=10)(victim, x, y)
    assert torch.equal(found.x, same.x)
    with pytest.warns(UserWarning, match="four classes"):
        aimed = APGD(Ball("linf", 0.1), DLR(), steps=10, targets=9)(victim, x, y)
    assert not (found.success & ~aimed.success).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_linear_model_is_attacked_optimally(norm: str, dual: float, dtype: torch.dtype) -> None:
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0), dtype=dtype)
    model, y = Linear2(dtype=dtype), torch.tensor([0, 1] * 4)
    found = APGD(Ball(norm, 0.3))(Victim(model, low=-100, high=100), x, y)
    wanted = model.score(x) + (1 - 2 * y) * 0.3 * torch.linalg.vector_norm(model.w, dual)
    torch.testing.assert_close(model.score(found.x), wanted.detach(), rtol=0, atol=1e-4 if norm == "l1" else 3e-6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_more_restarts_and_targets_never_do_worse(norm: str) -> None:
    victim, x, y = digits()
    attack = APGD(Ball(norm, EPS[norm]), Margin(), steps=12)
    one, two = (replace(attack, restarts=count)(victim, x[:40], y[:40]) for count in (1, 2))
    assert (two.loss >= one.loss - 1e-5).all()
    assert not (one.success & ~two.success).any()
    attack = replace(attack, objective=DLR())
    few, more = (replace(attack, targets=count)(victim, x[:40], y[:40]) for count in (1, 3))
    assert not (few.success & ~more.success).any()


def test_the_best_point_seen_is_returned() -> None:
    victim, x, y = digits()
    values = []

    def watched(outputs: Tensor, y: Tensor, x: Tensor) -> Tensor:
        values.append(CrossEntropy()(outputs, y, x))
        return values[-1]

    found = APGD(Ball("linf", 0.1), watched, steps=30)(victim, x[:30], y[:30])
    assert len(values) == 32  # the start, the steps, and the judgement of the result
    held = ~found.success
    best = torch.stack(values[:-1]).detach().amax(0)
    torch.testing.assert_close(found.loss[held], best[held], rtol=1e-5, atol=1e-6)
    shorter = APGD(Ball("linf", 0.1), steps=1)(victim, x[:30], y[:30])
    assert (found.loss[held] >= shorter.loss[held] - 1e-6).all()


def plain_apgd(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, eps: float, steps: int) -> list[list[float]]:
    """Return the step sizes of one sample at each step, from the paper's text alone, with the box left out."""

    def look(point: Tensor) -> tuple[float, Tensor]:
        point = point.clone().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(point[None]), y[None])
        return loss.item(), torch.autograd.grad(loss, point)[0]

    def confine(point: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(point, x - eps), x + eps)

    marks, gap = [0], 0.22
    while marks[-1] < steps:
        marks.append(marks[-1] + max(round(gap * steps), 1))
        gap = max(gap - 0.03, 0.06)
    now, before, size = start, start, 2 * eps
    loss, slope = look(now)
    top, top_loss, top_slope = now, loss, slope
    sizes, rises, last_top, halved = [], 0, loss, True
    for step in range(1, steps + 1):
        sizes.append(size)
        aim = confine(now + size * slope.sign())
        weight = 1.0 if step == 1 else 0.75
        now, before = confine(now + weight * (aim - now) + (1 - weight) * (now - before)), now
        previous = loss
        loss, slope = look(now)
        rises += loss > previous
        if loss > top_loss:
            top, top_loss, top_slope = now, loss, slope
        if step in marks:
            period = step - marks[marks.index(step) - 1]
            halved = rises <= 0.75 * period or (not halved and top_loss <= last_top)
            if halved:
                size, now, slope = size / 2, top, top_slope
            rises, last_top = 0, top_loss
    return sizes


def test_step_sizes_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    victim, x, y = digits()
    model = victim.model.double()
    try:
        x, y, eps = x[:12].double() * 0.5 + 0.25, y[:12], 0.02
        start = x + eps * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).sign()
        seen: list[Tensor] = []
        step = apgd._Momentum._next
        monkeypatch.setattr(apgd._Momentum, "_next", lambda run: seen.append(run.length.clone()) or step(run))
        APGD(Ball("linf", eps), steps=100)(Victim(model), x, y, start=start)
        ours = torch.stack(seen, 1)
        wanted = torch.tensor([plain_apgd(model, *one, eps, 100) for one in zip(x, y, start, strict=True)])
        torch.testing.assert_close(ours, wanted.double(), rtol=1e-6, atol=0)
        assert len(ours.unique(dim=0)) > 1  # samples decide for themselves
    finally:
        model.float()


def test_dropping_finished_samples_keeps_every_success() -> None:
    victim, x, y = digits()
    for attack in (APGD(Ball("linf", 0.12), steps=30), APGD(Ball("l1", 2.0), steps=20)):
        full, fast = attack(victim, x, y), replace(attack, drop_finished=True)(victim, x, y)
        assert torch.equal(full.success, fast.success)
        assert fast.queries.float().mean() < full.queries.float().mean()


def test_apgd_is_no_weaker_than_pgd_and_sees_through_scaled_logits() -> None:
    victim, x, y = digits()
    ball = Ball("linf", 0.1)
    pgd = PGD(ball, steps=50, drop_finished=True)(victim, x, y).success.float().mean()
    assert APGD(ball, steps=50, drop_finished=True)(victim, x, y).success.float().mean() >= pgd - 0.01
    masked = Victim(lambda x: victim.model(x) * 1e4)
    fooled = {name: attack(masked, x, y).success.float().mean() for name, attack in (
        ("ce", PGD(ball, steps=50, drop_finished=True)), ("dlr", APGD(ball, DLR(), steps=50, drop_finished=True)),
    )}  # fmt: skip
    assert fooled["dlr"] > fooled["ce"] + 0.1


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_flat_model_gives_no_nan(norm: str) -> None:
    x, y = random_pictures()
    victim = Victim(lambda x: x.flatten(1)[:, :5] * 0)
    for attack in (APGD(), APGD(objective=DLR()), APGD(objective=DLR(), targets=3, restarts=2)):
        found = replace(attack, steps=5).at(0.1, norm)(victim, x, y)
        assert torch.isfinite(found.x).all()
        assert torch.equal(found.success, y != 0)


def test_gradients_of_a_random_victim_are_averaged() -> None:
    x, y = random_pictures(8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    draws = torch.Generator().manual_seed(0)
    victim = Victim(lambda x: net(x + 0.5 * torch.randn(x.shape, generator=draws)))
    found = APGD(Ball("linf", 0.1), steps=4, passes=5)(victim, x, y)
    assert (found.queries == 5 * 5 + 1).all()


def test_an_encoder_without_labels_is_attacked() -> None:
    x, _ = random_pictures(8)
    encoder = Victim(nn.Sequential(nn.Flatten(), nn.Linear(36, 7)))
    found = APGD(Ball("linf", 0.1), EmbeddingDistance("euclidean"), steps=10)(encoder, x)
    assert (found.loss > 0.01).all()


def test_settings_that_make_no_sense_are_refused() -> None:
    for name in ("steps", "restarts", "targets", "passes"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            APGD(**{name: 0})
    with pytest.raises(ConfigError, match="objective=DLR"):
        APGD(targets=9)
    with pytest.raises(ConfigError, match="given in y"):
        APGD(Ball(targeted=True), DLR(), targets=9)


def bisected(delta: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
    """Project one row by bisecting the multiplier of the norm."""
    least, most = 0.0, float(delta.abs().max())
    shrink = lambda t: (delta.sign() * (delta.abs() - t).clamp_min(0)).clamp(low, high)  # noqa: E731
    if shrink(0).abs().sum() <= eps:
        return shrink(0)
    for _ in range(200):
        middle = (least + most) / 2
        least, most = (middle, most) if shrink(middle).abs().sum() > eps else (least, middle)
    return shrink(most)


@given(st.integers(0, 10_000), st.floats(0.01, 5), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_projection_onto_ball_and_box_is_the_nearest_point(seed: int, eps: float, width: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    x = torch.rand(5, width, generator=draws, dtype=torch.float64)
    x[0] = x[0].round()  # corners: no room on one side
    delta = torch.randn(5, width, generator=draws, dtype=torch.float64)
    low, high = -x, 1 - x
    found = project_l1_box(delta, low, high, eps)
    assert (found.abs().sum(1) <= eps + 1e-9).all()
    assert ((found >= low) & (found <= high)).all()
    wanted = torch.stack([bisected(*row, eps) for row in zip(delta, low, high, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    other = torch.rand(200, 5, width, generator=draws, dtype=torch.float64) * (high - low) + low
    other = other * (eps / other.abs().sum(2, keepdim=True).clamp_min(1e-12)).clamp_max(1)
    assert ((other - delta).square().sum(2) >= (found - delta).square().sum(1) - 1e-9).all()


def test_projection_agrees_with_a_solver() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    draws = torch.Generator().manual_seed(1)
    x, delta = (torch.rand(6, generator=draws, dtype=torch.float64) for _ in range(2))
    delta = delta * 4 - 2
    # Split in positive and negative parts the problem is smooth.
    result = optimize.minimize(
        lambda z: (((z[:6] - z[6:]) - delta.numpy()) ** 2).sum(),
        [0.0] * 12,
        bounds=[(0, 1 - v) for v in x.tolist()] + [(0, v) for v in x.tolist()],
        constraints=[{"type": "ineq", "fun": lambda z: 0.9 - z.sum()}],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    found = project_l1_box(delta[None], -x[None], 1 - x[None], 0.9)[0]
    torch.testing.assert_close(found, torch.from_numpy(result.x[:6] - result.x[6:]), rtol=0, atol=1e-5)


def test_sparse_steps_have_unit_norm() -> None:
    gradient = torch.tensor([[3.0, -2.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    step = sparse_direction(gradient, torch.tensor([0.4, 0.4]))
    assert step.tolist() == [[0.5, -0.5, 0, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_accuracy_is_never_above_art(norm: str) -> None:
    estimators = pytest.importorskip("art.estimators.classification")
    evasion = pytest.importorskip("art.attacks.evasion")
    victim, x, y = digits()
    x, y = x[:60], y[:60]
    wrapped = estimators.PyTorchClassifier(
        victim.model,
        nn.CrossEntropyLoss(),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = evasion.AutoProjectedGradientDescent(
        wrapped, norm=float("inf") if norm == "linf" else 2, eps=EPS[norm], eps_step=2 * EPS[norm], max_iter=50,
        nb_random_init=1, loss_type="cross_entropy", verbose=False,
    )  # fmt: skip
    theirs = torch.from_numpy(attack.generate(x.numpy(), nn.functional.one_hot(y, 10).numpy()))
    ours = APGD(Ball(norm, EPS[norm]), steps=50, drop_finished=True)(victim, x, y)
    with torch.no_grad():
        broken = (victim.output(theirs).argmax(1) != y).float().mean()
    assert ours.success.float().mean() >= broken - 0.02


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_robust_accuracy_is_the_official_codes(norm: str) -> None:
    official = pytest.importorskip("pyautoattack.autopgd_base")
    victim, x, y = digits()
    kind = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    settings = {"norm": kind, "eps": EPS[norm], "device": "cpu", "seed": 0, "use_largereps": norm == "l1"}
    sides = {
        "ce": (official.APGDAttack(victim.model, loss="ce", **settings), APGD(Ball(norm, EPS[norm]))),
        "targeted": (
            official.APGDAttack_targeted(victim.model, n_target_classes=9, **settings),
            APGD(Ball(norm, EPS[norm]), DLR(), targets=9, drop_finished=True),
        ),
    }
    for theirs, ours in sides.values():
        with torch.no_grad():
            robust = (victim.output(theirs.perturb(x, y)).argmax(1) == y).float().mean()
        left = 1 - ours(victim, x, y).success.float().mean()
        assert left <= robust + 0.02


@pytest.mark.parametrize(
    ("steps", "shares"), [(100, (30, 30, 40)), (10, (3, 3, 4)), (4, (2, 1, 1)), (2, (1, 0, 1)), (1, (0, 0, 1))]
)
def test_l1_begins_in_wider_balls_for_the_papers_shares_of_the_steps(
    steps: int, shares: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spied(problem: Problem, x: Tensor, passes: int, steps: int, *, fresh: bool) -> apgd._Sparse:
        seen.append((problem.ball.eps, steps, fresh))
        return sparse(problem, x, passes, steps, fresh=fresh)

    sparse = apgd._Sparse
    monkeypatch.setattr(apgd, "_Sparse", spied)
    APGD(Ball("l1", 0.5), steps=steps)(
        Victim(Linear2().eval()), torch.full((2, 12), 0.5, dtype=torch.float64), torch.tensor([0, 1]), generator=0
    )
    assert seen == [(1.5, shares[0], True), (1.0, shares[1], False), (0.5, shares[2], False)]


@pytest.mark.parametrize(("before", "sparser"), [(100, False), (105, False), (106, True), (200, True), (60, False)])
def test_l1_goes_back_to_long_steps_where_a_twentieth_fewer_entries_are_changed(before: int, sparser: bool) -> None:
    model = Victim(Linear2(200).eval())
    clean = torch.full((1, 200), 0.5, dtype=torch.float64)
    problem = make_problem(model, CrossEntropy(), Ball("l1", 2.0), clean, torch.tensor([0]))
    x = clean.clone()
    x[:, :100] += 0.01
    run = apgd._Sparse(problem, x, 1, 100, fresh=False)
    assert run.changed.tolist() == [100]
    run.changed = torch.full_like(run.changed, before)
    run.adjust()
    assert run.length.tolist() == [2.0 if sparser else 2.0 / 1.5]
    torch.testing.assert_close(run.share, torch.full_like(run.share, 100 / 300))
    assert run.changed.tolist() == [100]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_lie_on_the_balls_surface_to_either_side_alike(norm: Norm) -> None:
    clean = torch.full((4, 3000), 0.5, dtype=torch.float64)
    problem = make_problem(Victim(Linear2(3000).eval()), CrossEntropy(), Ball(norm, 0.1), clean, torch.zeros(4).long())
    away = apgd._random_start(problem, Draws(0, torch.arange(4))) - clean
    torch.testing.assert_close(problem.ball.size(away), torch.full((4,), 0.1, dtype=torch.float64), rtol=1e-6, atol=0)
    if norm == "linf":  # evenly between the faces
        assert ((away.amin(1) + away.amax(1)).abs() <= 0.02 * away.amax(1)).all()
    assert (away.mean(1).abs() <= 5 * away.std(1) / 3000**0.5).all()
