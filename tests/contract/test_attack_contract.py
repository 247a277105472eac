"""What every attack in the package must keep, whatever it searches."""

import importlib
import inspect
import json
import pkgutil
from dataclasses import fields, replace
from itertools import filterfalse, product
from typing import TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import withstand.attacks
from victims import Touchy, random_pictures, small_net
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.learnt.perturbations import LearntAttack
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.random import Draws, isolated
from withstand.core.roles import Attack, Attacked
from withstand.core.threat import Ball
from withstand.core.victims.answers import NetworkError
from withstand.core.victims.victim import Victim


def attacks() -> list[type[Attack]]:
    found = set()
    for module in pkgutil.walk_packages(withstand.attacks.__path__, "withstand.attacks."):
        for value in vars(importlib.import_module(module.name)).values():
            # An attack without a ball of its own wraps another, for samples of one kind: its own tests hold it.
            if isinstance(value, type) and issubclass(value, Attack) and "ball" in inspect.signature(value).parameters:
                found.add(value)
    return sorted(filterfalse(inspect.isabstract, found), key=lambda kind: kind.__qualname__)


def cheap(kind: type[Attack], ball: Ball, shape: tuple[int, ...] = (1, 6, 6)) -> Attack:
    """Return the attack on a small budget: the contract is about form, not about strength."""
    made = kind.example(shape) if issubclass(kind, LearntAttack) else kind.example()
    budget = {"steps": 8, "queries": 40, "probes": 4, "tries": 5}
    known = {item.name for item in fields(made)}
    return replace(made, ball=ball, **{name: value for name, value in budget.items() if name in known})


def balls() -> list[tuple[type[Attack], Ball]]:
    """Return every attack with every ball that it takes."""
    chosen = []
    sizes = [*product(("linf", "l2", "l1"), (0.03, 0.4)), ("l0", 2.0), ("l0", 5.0)]
    for kind, (norm, eps), targeted in product(attacks(), sizes, (False, True)):
        if takes(kind, Ball(norm, eps, targeted)):
            chosen.append((kind, Ball(norm, eps, targeted)))
    return chosen


def takes(kind: type[Attack], ball: Ball) -> bool:
    try:
        made = cheap(kind, ball)
        if isinstance(made, InputAttack):
            made.check_ball()
    except ConfigError:
        return False
    return True


def usual(kind: type[Attack], eps: float = 0.1, norm: str = "linf", *, targeted: bool = False) -> Ball:
    """Return a ball in this norm, or in the first that the attack takes; an L0 one of three entries."""
    wanted = [Ball(norm, eps, targeted), Ball("l2", eps, targeted), Ball("l0", 3.0 if eps else 0.0, targeted)]
    return next(ball for ball in wanted if takes(kind, ball))


def with_options(kind: type[Attack], ball: Ball) -> Attack:
    """Return the cheap attack with everything switched on that is a switch."""
    attack = cheap(kind, ball)
    return replace(
        attack, **{item.name: True for item in fields(attack) if isinstance(getattr(attack, item.name), bool)}
    )


every_attack = pytest.mark.parametrize("kind", attacks(), ids=lambda kind: kind.__name__)
every_ball = pytest.mark.parametrize(("kind", "ball"), balls(), ids=str)
one_radius = pytest.mark.parametrize(("kind", "ball"), [pair for pair in balls() if pair[1].eps in (0.4, 5.0)], ids=str)


def test_attacks_are_found() -> None:
    assert {"FGSM", "PGD", "Noise"} <= {kind.__name__ for kind in attacks()}


@every_ball
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_lies_in_ball_and_range(kind: type[Attack], ball: Ball, dtype: torch.dtype) -> None:
    x, y = random_pictures(dtype=dtype)
    found = cheap(kind, ball)(Victim(small_net(dtype=dtype)), x, y, generator=0)
    assert found.x.dtype == dtype
    assert found.x.shape == x.shape
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (ball.size(found.x - x) <= ball.eps + 1e-6).all()
    assert not found.x.requires_grad


@every_ball
def test_report_is_recomputed_from_the_result(kind: type[Attack], ball: Ball) -> None:
    x, y = random_pictures()
    net = small_net().eval()
    attack = cheap(kind, ball)
    found = attack(Victim(net), x, y, generator=0)
    with torch.no_grad():
        outputs = net(found.x.clone())
    hit = outputs.argmax(1) == y
    assert torch.equal(found.success, hit if ball.targeted else ~hit)
    torch.testing.assert_close(found.loss, attack.objective(outputs, y, x))
    torch.testing.assert_close(found.norm, ball.size(found.x - x))
    assert (found.queries >= 1).all()


class Mean(nn.Module):
    """Logits of the mean of a sequence's embeddings, `(N, L, D)`."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.logits(x.tanh().mean(1))
        return logits


@one_radius
def test_each_token_has_a_ball_of_its_own_or_the_attack_refuses_by_name(kind: type[Attack], ball: Ball) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 4, 6, generator=generator) * 3, torch.arange(5) % 3
    with isolated(0):
        victim = Victim(Mean(), low=-torch.inf, high=torch.inf)
    if ball.norm == "l0":
        with pytest.raises(ConfigError, match=r"l0.*per='sample'"):
            replace(ball, per="token")
        return
    ball = replace(ball, per="token")
    if not kind.tokens or (kind is APGD and ball.norm == "l1"):
        with pytest.raises(ConfigError, match=rf"{kind.__name__}.*per='sample'"):
            cheap(kind, ball, (4, 6))(victim, x, y, generator=0)
        return
    found = cheap(kind, ball, (4, 6))(victim, x, y, generator=0)
    size = Ball(ball.norm).size((found.x - x).flatten(0, 1)).view(5, 4)
    assert (size <= ball.eps * (1 + 1e-6)).all()
    torch.testing.assert_close(found.norm, size.amax(1))
    # As far as a token may go, and not as far as a sample might: an attack on them together goes less far in all.
    assert (size.mean(1) > ball.eps * 0.8).all(), "every token is moved to its ball's surface"


@every_attack
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_eps_zero_is_the_identity(kind: type[Attack], norm: str) -> None:
    x, y = random_pictures()
    net = small_net().eval()
    found = cheap(kind, usual(kind, 0.0, norm))(Victim(net), x, y)
    assert torch.equal(found.x, x)
    with torch.no_grad():
        assert torch.equal(found.success, net(x.clone()).argmax(1) != y)
    assert not found.norm.any()


@every_attack
def test_same_generator_same_bits(kind: type[Attack]) -> None:
    x, y = random_pictures()
    victim, attack = Victim(small_net()), cheap(kind, usual(kind))
    first, again = attack(victim, x, y, generator=7), attack(victim, x, y, generator=7)
    assert torch.equal(first.x, again.x)
    torches = [attack(victim, x, y, generator=torch.Generator().manual_seed(5)).x for _ in range(2)]
    assert torch.equal(*torches)


@every_attack
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_sample_does_not_depend_on_its_batch(kind: type[Attack], norm: str) -> None:
    x, y = random_pictures(7, dtype=torch.float64)
    victim, attack = Victim(small_net(dtype=torch.float64)), cheap(kind, usual(kind, 0.2, norm))
    draws = Draws(0, torch.arange(7))
    whole = attack(victim, x, y, generator=draws)
    small = attack(victim, x, y, generator=draws, batch=2)
    rows = torch.tensor([5, 1, 2])
    some = attack(victim, x[rows], y[rows], generator=draws[rows])
    for other, chosen in ((small, slice(None)), (some, rows)):
        torch.testing.assert_close(other.x, whole.x[chosen], rtol=0, atol=1e-9)
        assert torch.equal(other.success, whole.success[chosen])
        assert torch.equal(other.queries, whole.queries[chosen])


class Flaky(nn.Module):
    """Fails on its k-th forward pass; flags are mixed: a frozen batch norm in a net left in train mode."""

    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self.net = small_net()
        self.net[1].eval()
        self.net[0].weight.requires_grad_(False)
        self.net[0].bias.grad = torch.ones_like(self.net[0].bias)
        self.left = fail_at

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise ArithmeticError
        torch.rand(3)  # a layer that draws from the global generator
        return self.net(x)


State: TypeAlias = tuple[list[bool], list[tuple[bool, Tensor | None, Tensor | None]], list[Tensor], Tensor]


def state(model: nn.Module) -> State:
    return (
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        [value.clone() for value in model.state_dict().values()],
        torch.get_rng_state(),
    )


def same_state(before: State, after: State) -> None:
    (modes, flags, values, generator), (after_modes, after_flags, after_values, after_generator) = before, after
    assert modes == after_modes
    for (flag, grad, copy), (now_flag, now_grad, now) in zip(flags, after_flags, strict=True):
        assert flag == now_flag
        assert grad is now_grad
        assert copy is now is None or torch.equal(copy, now)
    assert all(torch.equal(a, b) for a, b in zip(values, after_values, strict=True))
    assert torch.equal(generator, after_generator)


@every_attack
@pytest.mark.parametrize("fail_at", [-1, 1, 2, 5])
def test_the_victim_and_the_global_generator_are_left_as_found(kind: type[Attack], fail_at: int) -> None:
    x, y = random_pictures()
    model = Flaky(fail_at)
    before = state(model)
    if fail_at > 0:
        with pytest.raises(NetworkError, match="ArithmeticError at test_attack_contract"):
            cheap(kind, usual(kind))(Victim(model), x, y, batch=3)
    else:
        cheap(kind, usual(kind))(Victim(model), x, y)
    same_state(before, state(model))


@pytest.mark.thorough
@one_radius
@pytest.mark.parametrize("labelled", [True, False])
def test_touchy_victims_are_served(kind: type[Attack], ball: Ball, labelled: bool) -> None:
    """One that needs samples in every pass, in eval mode, and in one piece; with every option of the attack."""
    x, y = random_pictures()
    if ball.targeted and not labelled:
        return
    model = Touchy(small_net())
    before = state(model)
    for attack in dict.fromkeys((cheap(kind, ball), with_options(kind, ball))):
        for batch in (1, 4, 64):
            attack(Victim(model), x, y if labelled else None, batch=batch)
        attack(Victim(model), x[:0], y[:0])
    same_state(before, state(model))


@every_ball
def test_description_builds_the_same_attack(kind: type[Attack], ball: Ball) -> None:
    attack = cheap(kind, ball)
    built = build(json.loads(json.dumps(describe(attack))))
    assert type(built) is kind
    assert describe(built) == describe(attack)


class Rows(nn.Module):
    """Five classes, linear in the entries of samples of any shape; samples may be single numbers."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.view(len(x), -1)
        weights = torch.randn(rows.shape[1], 5, generator=torch.Generator().manual_seed(2)).to(x)
        return (rows - 0.5) @ weights


@one_radius
def test_any_shape_and_no_samples(kind: type[Attack], ball: Ball) -> None:
    for shape in ((5,), (5, 1), (5, 12), (5, 3, 4), (5, 2, 1, 6), (3, 2, 2, 2, 2), (0, 12)):
        attack, labels = cheap(kind, ball, shape[1:]), torch.zeros(shape[0], dtype=torch.int64)
        found = attack(Victim(Rows()), torch.rand(shape, generator=torch.Generator().manual_seed(1)), labels)
        assert isinstance(found, Attacked)
        assert found.x.shape == shape
        assert found.success.shape == found.queries.shape == shape[:1]


@one_radius
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@given(seed=st.integers(0, 2**20), size=st.floats(-4, 2))
@settings(max_examples=2, deadline=None)
def test_no_rounding_leaves_the_ball(
    kind: type[Attack], ball: Ball, dtype: torch.dtype, seed: int, size: float
) -> None:
    """Of 12,288 entries, in exact arithmetic, whatever the radius."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, 64, 64, generator=draws).to(dtype)
    eps = 10**size if ball.norm != "l0" else float(round(10 ** abs(size)))
    attack = cheap(kind, replace(ball, eps=eps), (3, 64, 64))
    found = attack(Victim(Thin()), x, torch.randint(5, (2,), generator=draws), generator=seed)
    away = (found.x.double() - x.double()).flatten(1)
    order = {"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}[ball.norm]
    assert found.x.dtype == dtype
    assert torch.linalg.vector_norm(away, order, dim=1).max() <= eps * (1 + 1e-12)
    assert found.x.min() >= 0
    assert found.x.max() <= 1


class Thin(nn.Module):
    """Sees large pictures through a few blocks of theirs."""

    def forward(self, x: Tensor) -> Tensor:
        blocks = nn.functional.avg_pool2d(x, 16)[:, :, :2, :2].flatten(1)
        weights = torch.randn(12, 5, generator=torch.Generator().manual_seed(2)).to(x)
        return 20 * torch.tanh(blocks - 0.5) @ weights


@one_radius
def test_layouts_in_memory_change_nothing(kind: type[Attack], ball: Ball) -> None:
    x, y = random_pictures(4, channels=3, dtype=torch.float64)
    start = (x + 0.05 * torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    attack = cheap(kind, ball, (3, 6, 6))
    last, plain = torch.channels_last, torch.contiguous_format
    for victim in (Victim(small_net(channels=3, dtype=torch.float64)), Victim(deep_net())):
        wanted = attack(victim, x, y, start=start)
        for layouts in ((plain, last), (last, plain), (last, last)):
            clean, first = (value.contiguous(memory_format=lay) for value, lay in zip((x, start), layouts, strict=True))
            found = attack(victim, clean, y, start=first)
            torch.testing.assert_close(found.x, wanted.x, rtol=0, atol=1e-9)
            assert torch.equal(found.success, wanted.success)


def deep_net() -> nn.Sequential:
    """Return one that is attacked in channels-last."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layers = [layer for _ in range(5) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(108, 5)).double()


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("name", ["Square", "Noise"])
def test_what_has_no_direction_stays_where_it_is(name: str, norm: str) -> None:
    """A mask that leaves nothing, or a first pattern of zeros, in a ball so wide that eps over nearly 0 is infinite."""
    (kind,) = (kind for kind in attacks() if kind.__name__ == name)
    x, _ = random_pictures()
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:3] = False
    found = cheap(kind, Ball(norm, 5.0))(Victim(small_net()), x, mask=mask)
    assert torch.equal(found.x[:3], x[:3])
    assert (found.x[3:] != x[3:]).any()


@every_attack
def test_mask_keeps_the_rest_as_it_is(kind: type[Attack]) -> None:
    x, _ = random_pictures()
    mask = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    mask[..., 2:4, 1:5] = True
    found = cheap(kind, usual(kind))(Victim(small_net()), x, mask=mask)
    changed = found.x != x
    assert not changed[~mask.expand_as(x)].any()
    assert changed.any()


@every_attack
def test_bad_inputs_are_refused(kind: type[Attack]) -> None:
    x, y = random_pictures()
    victim, attack = Victim(small_net()), cheap(kind, usual(kind))
    for bad, message in ((x * 255, "outside"), (x - 0.5, "outside"), (x * torch.nan, "NaN")):
        with pytest.raises(DataError, match=message):
            attack(victim, bad, y)
    for labels, message in ((y + 5, "classes 0 to 4"), (y[:-1], "5 rows"), (y.float(), "integers"), (-1 - y, "lie in")):
        with pytest.raises(DataError, match=message):
            attack(victim, x, labels)
    with pytest.raises(ConfigError, match="wanted"):
        cheap(kind, usual(kind, targeted=True))(victim, x)


@every_attack
def test_no_labels_means_the_victims_own_predictions(kind: type[Attack]) -> None:
    x, _ = random_pictures()
    net = small_net().eval()
    attack = cheap(kind, usual(kind))
    with torch.no_grad():
        own = net(x.clone()).argmax(1)
    assert torch.equal(attack(Victim(net), x).x, attack(Victim(net), x, own).x)
