from dataclasses import replace

import pytest
import torch
from torch import Tensor

from victims import digits
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.shortcuts.giving_up import CLIMB, Growth, hopeless, too_far
from withstand.attacks.autoattack.square import Square
from withstand.attacks.objectives import DLR, CrossEntropy
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

ATTACKS: dict[str, APGD | FAB | Square] = {
    "APGD-T": APGD(Ball(), DLR(), targets=9, drop_finished=True),
    "FAB-T": FAB(Ball(), targets=9, drop_finished=True),
    "Square": Square(Ball(), queries=2000),
}


def some_digits(count: int = 48) -> tuple[Victim, Tensor, Tensor]:
    victim, x, y = digits()
    return victim, x[:count], y[:count]


def test_a_run_is_given_up_where_it_lacks_more_than_the_limit() -> None:
    first, gain = torch.tensor([-5.0, -5.0, -5.0, -5.0, -5.0]), torch.tensor([-4.2, -3.9, -4.96, 1.0, -6.0])
    assert hopeless(gain, first, 0.22).tolist() == [True, False, False, False, False]
    assert hopeless(gain, first, 0.6).tolist() == [True, True, False, False, False]
    assert not hopeless(gain, first, 0.1).any()


def test_limits_fall_as_the_end_comes_nearer() -> None:
    shares, values = zip(*CLIMB, strict=True)
    assert list(shares) == sorted(shares)
    assert list(values) == sorted(values, reverse=True)
    gain, first = torch.full((1,), -2.0), torch.full((1,), -3.0)
    by_share = [bool(hopeless(gain, first, step / 100)) for step in range(101)]
    assert by_share == sorted(by_share)


def test_a_search_is_given_up_by_its_own_growth() -> None:
    """Rows: slow and far, slow and near, as far but fast, nothing gained, broken."""
    growth = Growth(torch.tensor([-4.0, -2.3, -4.0, -4.0, -4.0]), 5000)
    early = torch.tensor([-2.2, -0.5, -3.5, -4.0, -3.0])
    late = torch.tensor([-2.0, -0.3, -2.0, -4.0, 0.5])
    assert not growth.hopeless(500, early).any()
    assert not growth.hopeless(700, early).any()
    assert growth.hopeless(1000, late).tolist() == [True, False, False, False, False]
    growth.keep(torch.tensor([False, True, True, False, False]))
    assert growth.hopeless(5000, late[1:3]).tolist() == [True, True]


def test_a_boundary_is_too_far_by_where_it_was_found_and_by_what_was_foretold() -> None:
    size = torch.tensor([2.1, 1.9, 2.1, torch.inf])
    foretold = torch.tensor([1.3, 1.3, 1.2, 9.0])
    assert too_far(size, foretold, 1.0, 10).tolist() == [True, False, False, False]
    assert too_far(size, foretold, 1.0, 20).tolist() == [True, True, False, False]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("eps", [0.04, 0.08, 0.14])
def test_what_succeeds_is_the_same_in_fewer_queries(name: str, eps: float) -> None:
    victim, x, y = some_digits()
    plain = ATTACKS[name].at(eps)
    short = replace(plain, give_up=True)
    full, found = plain(victim, x, y, generator=0), short(victim, x, y, generator=0)
    assert 0 < full.success.sum() < len(x)
    assert torch.equal(found.success, full.success)
    holds = ~full.success
    assert found.queries[holds].sum() < (0.9 if eps < 0.05 else 1.0) * full.queries[holds].sum()
    assert (found.queries <= full.queries).all()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ATTACKS)
def test_alone_and_in_company_a_sample_is_given_up_alike(name: str) -> None:
    victim, x, y = some_digits(12)
    attack = replace(ATTACKS[name].at(0.05), give_up=True)
    together, apart = attack(victim, x, y, generator=0), attack(victim, x, y, generator=0, batch=5)
    torch.testing.assert_close(together.x, apart.x, rtol=0, atol=1e-3)
    holds = ~together.success
    assert torch.equal(holds, ~apart.success)
    assert torch.equal(together.queries[holds], apart.queries[holds])


@pytest.mark.thorough
@pytest.mark.parametrize(
    "attack",
    [
        APGD(Ball(eps=0.05), CrossEntropy(), drop_finished=True),  # its zero is no boundary
        APGD(Ball("l2", 0.3), DLR(), targets=9, drop_finished=True),
        FAB(Ball("l2", 0.3), targets=9, drop_finished=True),
        Square(Ball(eps=0.05), CrossEntropy(), queries=1000),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_where_limits_were_not_measured_nothing_is_given_up(attack: APGD | FAB | Square) -> None:
    victim, x, y = some_digits(12)
    full = attack(victim, x, y, generator=0)
    found = replace(attack, give_up=True)(victim, x, y, generator=0)
    assert torch.equal(found.x, full.x)
    assert torch.equal(found.queries, full.queries)


def test_a_victim_whose_slope_is_zero_gets_all_steps() -> None:
    victim, x, y = some_digits(8)
    blind = Victim(lambda x: victim(x.detach()) + 0 * x.sum())
    attack = ATTACKS["APGD-T"].at(0.05)
    full = attack(blind, x, y, generator=0)
    stuck = full.queries == full.queries.max()
    found = replace(attack, give_up=True)(blind, x, y, generator=0)
    assert stuck.any()
    assert torch.equal(found.queries[stuck], full.queries[stuck])


@pytest.mark.thorough
@pytest.mark.parametrize("eps", [0.05, 0.12])
def test_fast_and_plain_autoattack_leave_the_same(eps: float) -> None:
    victim, x, y = some_digits(32)
    fast, plain = (AutoAttack(Ball(eps=eps), search=how)(victim, x, y, checks=False) for how in ("fast", "plain"))
    assert torch.equal(fast.holds, plain.holds)
    assert 0 < fast.holds.sum() < 32
    assert fast.queries[fast.holds].sum() < 0.7 * plain.queries[plain.holds].sum()
