"""Attacks on rows: what comes out is a row again, inside every constraint, and no weaker than it may be."""

import pytest
import torch
from torch import Tensor, nn

from toys import toy_rows
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.inputs.ddn import DDN
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.inputs.tables import RowAttack
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.threat import Ball
from withstand.core.victims.changeable import Changeable
from withstand.core.victims.victim import Victim
from withstand.data.tables.source import TableSource

ROWS = toy_rows(32)
SCHEMA = ROWS.schema
X, Y = ROWS[range(32)].x, ROWS[range(32)].y
EPS = 0.2


def victim(changeable: Tensor | Changeable | None = None) -> Victim:
    with isolated("row attack"):
        net = nn.Sequential(nn.Linear(SCHEMA.width, 16), nn.Tanh(), nn.Linear(16, 2))
    return Victim(net, changeable=changeable)


def is_row(x: Tensor) -> bool:
    """Whether each categorical column has one slot set, and missing flags are whole."""
    count = len(SCHEMA.numeric)
    flags = x[:, count : 2 * count]
    blocks = [
        x[:, first : first + column.slots]
        for column, first in zip(SCHEMA.categorical, SCHEMA.offsets.tolist(), strict=True)
    ]
    return bool(((flags == 0) | (flags == 1)).all()) and all(
        bool((block.sum(1) == 1).all() and ((block == 0) | (block == 1)).all()) for block in blocks
    )


@pytest.mark.parametrize(
    "inner", [PGD(Ball("linf", EPS), steps=5), APGD(Ball("linf", EPS), steps=5), Noise(Ball("linf", EPS))]
)
def test_rows_stay_rows(inner: PGD | APGD | Noise) -> None:
    attack = RowAttack(SCHEMA, inner, categories=1, immutable=("height",))
    found = attack(victim(), X, Y, generator=0)
    count = len(SCHEMA.numeric)
    moved = (found.x - X)[:, :count]
    assert is_row(found.x)
    assert moved.abs().max() <= EPS + 1e-6
    torch.testing.assert_close(found.norm, moved.abs().amax(1))
    names = [column.name for column in SCHEMA.numeric]
    assert bool((moved[:, names.index("height")] == 0).all())
    assert bool((moved[X[:, count : 2 * count].bool()] == 0).all())
    units = SCHEMA.units(found.x)["age"]
    assert abs(units - units.round()).max() < 1e-4
    # At most one category changed, to one that training had.
    changed = torch.zeros(len(X))
    for column, first in zip(SCHEMA.categorical, SCHEMA.offsets.tolist(), strict=True):
        block = slice(first, first + column.slots)
        other = (found.x[:, block] != X[:, block]).any(1)
        changed += other
        assert bool((found.x[other, first + len(column.categories) : first + column.slots] == 0).all())
    assert changed.max() <= 1
    # The report is recomputed on the result.
    with victim().held() as held, torch.no_grad():
        wrong = held(found.x).argmax(1) != Y
    assert torch.equal(wrong, found.success)


def test_more_freedom_breaks_no_less() -> None:
    inner = PGD(Ball("linf", EPS), steps=10)
    few = [RowAttack(SCHEMA, inner, categories=count)(victim(), X, Y, generator=0) for count in range(3)]
    broken = [int(found.success.sum()) for found in few]
    assert broken == sorted(broken)
    assert bool((few[1].success | ~few[0].success).all())


def test_one_flip_is_the_best_of_all_when_all_are_tried() -> None:
    attack = RowAttack(SCHEMA, PGD(Ball("linf", 0.0)), categories=1, tried=20)
    found = attack(victim(), X, Y)
    loss = nn.CrossEntropyLoss(reduction="none")
    net = victim().model
    best = loss(net(X), Y)
    for column, first in zip(SCHEMA.categorical, SCHEMA.offsets.tolist(), strict=True):
        for place in range(len(column.categories)):
            other = X.clone()
            # From a missing value no category is made.
            known = X[:, first : first + len(column.categories)].sum(1) > 0
            other[known, first : first + column.slots] = 0
            other[known, first + place] = 1
            best = torch.maximum(best, loss(net(other), Y))
    wrong = net(X).argmax(1) != Y
    torch.testing.assert_close(found.loss[~found.success | wrong], best[~found.success | wrong].detach())


def test_ranges_in_the_tables_own_units() -> None:
    age = SCHEMA.columns[0]
    middle = (age.low + age.high) / 2
    attack = RowAttack(SCHEMA, PGD(Ball("linf", 0.9), steps=5), ranges=(("age", age.low, middle),))
    before, after = SCHEMA.units(X)["age"], SCHEMA.units(attack(victim(), X, Y, generator=0).x)["age"]
    inside = before <= middle
    assert (after[inside] <= middle + 1e-6).all()
    assert after[~inside] == pytest.approx(before[~inside], abs=1e-4)


def test_every_attack_heeds_what_the_victim_says_may_change() -> None:
    free = ROWS.changeable.free
    for attack in (PGD(Ball("linf", EPS), steps=4), PGD(Ball("l2", EPS), steps=4), APGD(Ball("l1", EPS), steps=4)):
        moved = attack(victim(free), X, Y, generator=0).x - X
        assert bool((moved[:, ~free] == 0).all())
        assert bool((moved[:, free] != 0).any())
    mask = torch.zeros(SCHEMA.width, dtype=torch.bool)
    mask[[0, SCHEMA.width - 1]] = True
    moved = PGD(Ball("linf", EPS), steps=4)(victim(free), X, Y, generator=0, mask=mask).x - X
    assert moved.abs().sum(0).nonzero()[:, 0].tolist() == [0]
    with pytest.raises(DataError, match="changeable has shape"):
        PGD(Ball("linf", EPS))(victim(free[1:]), X, Y)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"immutable": ("aeg",)}, "did you mean 'age'"),
        ({"ranges": (("color", 0, 1),)}, "numeric column"),
        ({"ranges": (("age", 3, 1),)}, "low at most high"),
        ({"categories": -1}, "at least 0"),
        ({"attack": PGD(Ball("l2", 1.0))}, "norm is 'linf'"),
    ],
)
def test_bad_settings(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        RowAttack(SCHEMA, **settings)


def test_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="for this schema"):
        RowAttack(SCHEMA)(victim(), X[:, :-1])


@pytest.mark.parametrize(
    "attack",
    [
        PGD(Ball("linf", EPS), steps=5),
        APGD(Ball("l2", 0.5), steps=5),
        Noise(Ball("linf", EPS)),
        PGD(Ball("linf", 0.01), steps=5),
        DDN(Ball("l2", 1.0), steps=10).everywhere(),
    ],
    ids=repr,
)
def test_any_attack_moves_whole_numbers_by_whole_numbers_and_nothing_that_is_missing(attack: InputAttack) -> None:
    count = len(SCHEMA.numeric)
    found = attack(victim(ROWS.changeable), X, Y, generator=0)
    assert is_row(found.x)
    assert bool((found.x[:, count:] == X[:, count:]).all()), "categories and gaps stay"
    moved = (found.x - X)[:, :count]
    missing = X[:, count : 2 * count].bool()
    assert bool(missing.any())
    assert bool((moved[missing] == 0).all())
    age = next(place for place, column in enumerate(SCHEMA.numeric) if column.name == "age")
    years = moved[:, age] * (SCHEMA.numeric[age].high - SCHEMA.numeric[age].low)
    assert abs(years - years.round()).max() < 1e-4
    if attack.ball.norm == "linf":
        assert moved.abs().max() <= attack.ball.eps + 1e-6
        assert bool((years != 0).any()) == (attack.ball.eps == EPS), "a hundredth of the range is no whole year"
    with victim().held() as held, torch.no_grad():
        assert torch.equal(held(found.x).argmax(1) != Y, found.success)


def test_a_step_that_a_search_stops_short_of_is_taken_where_it_succeeds_inside_the_ball() -> None:
    class Above(nn.Module):
        """Says 1 from 0.45 on: a search of the nearest point ends there, and steps of a quarter lie at 0.25 and 0.5."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(x), x - 0.45], 1)

    steps = Changeable(torch.ones(1, dtype=torch.bool), torch.tensor([0.25]), torch.tensor([-1]))
    x, y = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    found = DDN(Ball("l2", 1.0), steps=30).everywhere()(Victim(Above(), changeable=steps), x, y, generator=0)
    assert found.x.item() == 0.5
    assert bool(found.success.all())
    within = PGD(Ball("linf", 0.48), steps=10)(Victim(Above(), changeable=steps), x, y, generator=0)
    assert within.x.item() == 0.25, "0.5 lies outside the ball"
    assert not bool(within.success.any())


def test_days_are_moved_by_days_and_radii_are_told_in_whole_steps() -> None:
    days = [f"2024-01-{1 + 7 * place % 28:02}" for place in range(20)]
    held = {"day": days, "count": [place % 9 for place in range(20)], "size": [place / 7 for place in range(20)]}
    source = TableSource({**held, "answer": [place % 2 for place in range(20)]}, target="answer", part="all")
    day, count, size = (next(one for one in source.schema.numeric if one.name == name) for name in held)
    assert (day.step, count.step, size.step) == (86400, 1, 0)
    told = source.radius_in_units(0.1)
    assert told.column("changes by at most") == ("2 d", "0", "0.271")
    timed = TableSource(
        {**held, "day": [f"{one} 10:30" for one in days], "answer": [place % 2 for place in range(20)]},
        target="answer",
        part="all",
    )
    assert timed.schema.numeric[0].step == 0
