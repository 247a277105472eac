"""The audit's decisive stage: AutoAttack on the headline's ball, given what the curves' attacks left.

Sizes: `N` audited samples, `M` of them left.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from withstand.attacks.autoattack import AutoAttack, outcome
from withstand.attacks.curve import Curve
from withstand.attacks.ensemble import Progress, Prover, Worst
from withstand.core.finding import Cell, Check, Table
from withstand.core.victim import Victim
from withstand.evaluation.under_attack import Case


@dataclass(frozen=True)
class Aids:
    """What an audit can be given besides its settings.

    Attributes:
        surrogate: another model of the same inputs and labels, whose attacks are carried over to the victim.
        prover: samples that it proves to hold are counted as proven, and AutoAttack leaves them alone.
        state: a file from which AutoAttack goes on after a kill.
        progress: is told after each of AutoAttack's batches.
    """

    surrogate: Victim | None = None
    prover: Prover | None = None
    state: Path | None = None
    progress: Callable[[Progress], None] | None = None


@dataclass(frozen=True)
class Attacked:
    """What was found within one norm.

    Attributes:
        curve: what broke at which radius.
        names: of the attacks, by `curve.winner`.
    """

    curve: Curve
    names: tuple[str, ...]


@dataclass(frozen=True)
class Decided:
    """What AutoAttack added.

    Attributes:
        worst: its outcome on the `M` samples that it was given.
        total: the audited samples, `N`.
    """

    worst: Worst
    total: int

    def checks(self) -> tuple[Check, ...]:
        """Return what its outcome says of itself."""
        return outcome(self.worst, self.total)

    @property
    def proven(self) -> float:
        """The share of all samples that are proven to hold."""
        return int(self.worst.proven.sum()) / self.total

    def table(self) -> Table:
        """Return what each attack did, in order."""
        rows: list[tuple[Cell, ...]] = []
        for tally in self.worst.tallies:
            rows.append((tally.name, tally.tried, tally.broken, tally.broken / self.total, tally.error or None))
        return Table(("attack", "tried on", "broke", "share of all samples broken", "could not run"), tuple(rows))


def decide(
    case: Case, ensemble: AutoAttack, aids: Aids, found: Attacked | None
) -> tuple[Attacked | None, Decided | None]:
    """Run AutoAttack on the samples that hold at the headline's radius, and count what it breaks among the broken.

    Args:
        case: what is audited.
        ensemble: AutoAttack on the headline's ball.
        aids: prover, state and progress.
        found: what the curve's attacks broke within the headline's norm; None where the victim gives no gradients,
            and only black-box attacks will run.
    """
    eps = case.ball.eps
    rows = torch.arange(len(case.x), device=case.x.device)
    if found is not None:
        rows = rows[found.curve.holds(eps)]
    if not len(rows):
        return found, None
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
    decided = Decided(worst, len(case.x))
    if found is None:
        return None, decided
    fell = worst.winner >= 0
    curve = found.curve.broken(rows[fell], eps, worst.x[fell], worst.winner[fell] + len(found.names))
    return Attacked(curve, (*found.names, *ensemble.attacks())), decided


def _of_all(progress: Callable[[Progress], None], given: float) -> Callable[[Progress], None]:
    """Return what tells `progress` the share of all samples, where only a part was given to AutoAttack."""
    return lambda now: progress(replace(now, accuracy=now.accuracy * given))
