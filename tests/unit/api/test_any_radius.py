"""eps any: the distance of the nearest point in place of a radius; and balls in L0 by name."""

import pytest

from victims import small_net
from withstand.api.asked import attack_of
from withstand.api.settings import NamedAttack
from withstand.attacks.inputs.ddn import DDN
from withstand.attacks.inputs.nearest import EVERYWHERE
from withstand.attacks.inputs.sigma_zero import SigmaZero
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

VICTIM = Victim(small_net(), high=255.0)


def test_a_name_brings_its_own_norm() -> None:
    found = attack_of(VICTIM, NamedAttack("ddn", eps="any", steps=9), embedding=False)
    assert found == DDN(Ball("l2", EVERYWHERE), steps=9)
    assert attack_of(VICTIM, NamedAttack("sigma-zero", eps=4), embedding=False) == SigmaZero(Ball("l0", 4))
    ball = attack_of(VICTIM, NamedAttack("fmn", norm="l0", eps="3"), embedding=False).ball
    assert (ball.norm, ball.eps) == ("l0", 3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (NamedAttack("pgd", eps="any"), "pgd needs a radius: eps any is for attacks that seek the nearest point"),
        (NamedAttack("sigma-zero"), "l0 counts entries, and has no usual radius: give eps, a whole number, or any"),
        (NamedAttack("sigma-zero", eps="8/255"), "l0 counts entries, so eps must be a whole number of them"),
        (NamedAttack("sigma-zero", eps=0.5), "l0 counts entries, so eps must be a whole number, not 0.5"),
        (NamedAttack("apgd", norm="l0", eps=3), "APGD takes norm 'linf' or 'l2' or 'l1', not 'l0'"),
        (NamedAttack("ddn", norm="linf", eps="any"), "DDN takes norm 'l2', not 'linf'"),
    ],
)
def test_what_does_not_fit_is_refused(asked: NamedAttack, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        attack_of(VICTIM, asked, embedding=False)
