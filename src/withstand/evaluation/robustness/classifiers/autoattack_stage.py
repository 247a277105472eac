"""The audit's decisive stage: AutoAttack on the headline's ball, given what nothing before it broke.

Sizes: `N` audited samples, `M` of them left.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.autoattack import AutoAttack, outcome
from withstand.attacks.autoattack.ensemble import AttackProgress, ProverFunction, Worst
from withstand.core.findings.finding import Cell, Check, Table
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit_case import Case
from withstand.evaluation.robustness.classifiers.breaks import Breaks
from withstand.evaluation.statistics.intervals import shares

AGAIN = "a second look"
"""What broke a sample that a victim which draws at random got right once, and wrong the next time."""


@dataclass(frozen=True)
class Aids:
    """What an audit can be given besides its settings.

    Attributes:
        surrogate: another model of the same inputs and labels, whose attacks are carried over to the victim.
        learnt: an attack that was learnt beforehand, untargeted, run at every radius of the headline's norm.
        prover: samples that it proves to hold are counted as proven, and AutoAttack leaves them alone.
        state: a file from which AutoAttack goes on after a kill.
        progress: is told after each of AutoAttack's batches.
    """

    surrogate: Victim | None = None
    learnt: InputAttack | None = None
    prover: ProverFunction | None = None
    state: Path | None = None
    progress: Callable[[AttackProgress], None] | None = None


@dataclass(frozen=True)
class Decided:
    """What AutoAttack added.

    Attributes:
        worst: its outcome on the `M` samples that it was given.
        rows: their places, `(M,)`.
        total: the audited samples, `N`.
    """

    worst: Worst
    rows: Tensor
    total: int

    def checks(self) -> tuple[Check, ...]:
        """Return what its outcome says of itself."""
        return outcome(self.worst, self.total)

    @property
    def proven(self) -> Tensor:
        """The places of the samples that are proven to hold."""
        return self.rows[self.worst.proven]

    def table(self) -> Table:
        """Return what each attack did, in order."""
        rows: list[tuple[Cell, ...]] = []
        for tally in self.worst.tallies:
            ran = bool(tally.tried)
            broken = tally.broken if ran else None
            share = tally.broken / self.total if ran else None
            rows.append((tally.name, tally.tried, broken, share, tally.error or None))
        columns = ("attack", "tried on", "broke", "share of all samples newly broken", "could not run")
        return Table(columns, tuple(rows), units=shares(columns[3]))


def decide(case: Case, ensemble: AutoAttack, aids: Aids, found: Breaks) -> Decided | None:
    """Run AutoAttack on the samples that nothing broke at the headline's ball, and count what it breaks.

    Args:
        case: what is audited.
        ensemble: AutoAttack on the headline's ball.
        aids: prover, state and progress.
        found: what was broken before.
    """
    norm, eps = case.ball.norm, case.ball.eps
    rows = found.holds(norm, eps).nonzero().squeeze(1)
    if not len(rows):
        return None
    worst = ensemble(
        case.victim,
        case.x[rows],
        None if case.y is None else case.y[rows],
        generator=case.draws.child("ensemble")[rows],
        batch=case.batch,
        state=aids.state,
        prover=aids.prover,
        progress=None if aids.progress is None else _of_all(aids.progress, len(rows) / len(case.x)),
        checks=False,
    )
    lost = rows[~worst.right]
    found.add(AGAIN, case.ball, lost, case.x[lost])
    for place, tally in enumerate(worst.tallies):
        if tally.tried:
            found.tried(tally.name, norm, eps)
        broke = worst.winner == place
        found.add(tally.name, case.ball, rows[broke], worst.x[broke])
    return Decided(worst, rows, len(case.x))


def _of_all(progress: Callable[[AttackProgress], None], given: float) -> Callable[[AttackProgress], None]:
    """Return what tells `progress` the share of all samples, where only a part was given to AutoAttack."""
    return lambda now: progress(replace(now, accuracy=now.accuracy * given))
