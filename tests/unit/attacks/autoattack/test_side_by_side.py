"""Several classes aimed at in the same passes: what is found is what one after the other would find."""

import copy

import pytest
import torch
from torch import Tensor

import withstand.attacks.autoattack.apgd as apgd
import withstand.attacks.autoattack.fab as fab
from victims import digits
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.objectives import DLR
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

ATTACKS = {
    "apgd-t": APGD(Ball("linf", 0.12), DLR(), steps=12, targets=5),
    "apgd-t, dropping": APGD(Ball("linf", 0.12), DLR(), steps=12, targets=5, drop_finished=True),
    "apgd-t, l2": APGD(Ball("l2", 0.8), DLR(), steps=12, targets=5, drop_finished=True),
    "fab-t": FAB(Ball("linf", 0.12), steps=8, targets=5),
    "fab-t, dropping": FAB(Ball("l2", 0.8), steps=8, targets=5, drop_finished=True),
}


def exact_digits() -> tuple[Victim, Tensor, Tensor]:
    """Return the digits in double precision: a slope near 0 has no sign that the size of a batch could turn."""
    victim, x, y = digits()
    return Victim(copy.deepcopy(victim.model).double()), x.double(), y


@pytest.mark.thorough
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("masked", [False, True])
def test_side_by_side_is_one_after_the_other(name: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, x, y = exact_digits()
    x, y = x[:24], y[:24]
    mask = torch.arange(8)[:, None] < 6 if masked else None
    found = []
    for at_once in (0, 50, 1000):
        for module in (apgd, fab):
            monkeypatch.setattr(module, "AT_ONCE", at_once)
        attack: InputAttack = ATTACKS[name]
        found.append(attack(victim, x, y, generator=3, mask=mask))
    alone, *together = found
    assert 0 < alone.success.float().mean() < 1
    for one in together:
        assert torch.equal(one.success, alone.success)
        assert torch.allclose(one.x, alone.x, atol=1e-5)
        assert (one.queries >= alone.queries).all()


def test_what_an_earlier_class_has_is_not_sought_for_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    victim, x, y = exact_digits()
    attack = APGD(Ball("linf", 0.12), DLR(), steps=20, targets=5, drop_finished=True)
    short = attack(victim, x[:10], y[:10], generator=3)
    monkeypatch.setattr(apgd, "_open_for", lambda rows, success, count: ~success)
    long = attack(victim, x[:10], y[:10], generator=3)
    assert 0 < short.success.sum() < 10
    assert torch.equal(short.success, long.success)
    torch.testing.assert_close(short.x, long.x, rtol=0, atol=1e-5)
    assert torch.equal(short.queries[~short.success], long.queries[~short.success])
    assert short.queries.sum() < long.queries.sum()


def test_the_first_run_that_succeeds_ends_the_later_ones() -> None:
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 7, 8])  # samples 0, 1, 2 in three parts, one run over already
    success = torch.tensor([False, False, False, True, False, False, True, False])
    assert apgd._open_for(rows, success, 3).tolist() == [True, True, True, False, True, True, False, True]
