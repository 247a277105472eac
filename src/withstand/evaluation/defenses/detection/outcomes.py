"""What a defense says of clean and of attacked samples, and the figures and tables that follow.

Sizes: `N` samples. An attacked sample counts as handled when it is rejected or still classified right; a clean one only
when it is accepted and classified right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from withstand.attacks.paired import stronger
from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Check, Table
from withstand.core.roles import Defense
from withstand.evaluation.defenses.detection.roc import auroc, rejected_at
from withstand.evaluation.statistics.intervals import Share, columns, shares

GRID = tuple(place / 40 for place in range(41))
"""False-positive rates at which ROC curves are drawn."""


@dataclass(frozen=True)
class Judged:
    """What a defense says of samples, one row each: predictions, whether they are right, the score, the verdict."""

    predicted: Tensor
    right: Tensor
    score: Tensor
    accepted: Tensor

    def take(self, rows: Tensor | slice) -> "Judged":
        """Return some of the rows."""
        return Judged(self.predicted[rows], self.right[rows], self.score[rows], self.accepted[rows])


def judge(defense: Defense, x: Tensor, y: Tensor) -> Judged:
    """Return what a defense says of labelled samples, on the CPU.

    Raises:
        DataError: it rejects nothing, or has no threshold yet.
    """
    outcome = defense(x)
    if outcome.score is None:
        raise DataError(f"{type(defense).__name__} scores and rejects nothing: detection is judged on detectors")
    if outcome.accepted is None:
        raise DataError(f"{type(defense).__name__} rejects nothing: fit its threshold on clean inputs first")
    predicted = outcome.logits.argmax(1)
    return Judged(predicted.cpu(), (predicted == y).cpu(), outcome.score.cpu(), outcome.accepted.cpu())


@dataclass(frozen=True)
class Attempt:
    """An attack on the first samples, and what the defense says of what it found.

    Attributes:
        name: of the attack.
        aware: whether it knew the defense.
        clean: the verdicts on the clean samples.
        worse: those on the attacked ones.
        x: the attacked samples.
    """

    name: str
    aware: bool
    clean: Judged
    worse: Judged
    x: Tensor

    @property
    def deceived(self) -> Tensor:
        """Which samples the classifier got right before and gets wrong now, bool `(N,)`."""
        return self.clean.right & ~self.worse.right

    @property
    def handled(self) -> Tensor:
        """Which samples are right and accepted when clean, and right or rejected under attack, bool `(N,)`."""
        return self.clean.right & self.clean.accepted & (self.worse.right | ~self.worse.accepted)


def attack_table(clean: Judged, attempts: Sequence[Attempt], fpr: float) -> Table:
    """Return one row an attack; AUROC and rates are of the samples that it deceived against all right clean ones."""
    rate = f"rejected at {100 * fpr:g} % false positives"
    rows = []
    for one in attempts:
        positives, fooled = clean.score[clean.right], one.worse.score[one.deceived]
        rows.append(
            (
                one.name,
                "yes" if one.aware else "no",
                len(one.clean.right),
                int(one.deceived.sum()),
                number(auroc(positives, fooled)),
                number(rejected_at(positives, fooled, [fpr])[0]),
                Share.of(one.clean.right & one.worse.right).value,
                *Share.of(one.handled).cells,
            )
        )
    heads = (
        "attack", "knows the defense", "samples", "deceived", "AUROC", rate, "accuracy without rejection",
        *columns("accuracy with rejection"),
    )  # fmt: skip
    return Table(heads, tuple(rows), units=shares(*heads[4:8]))


def roc_table(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> Table:
    """Return ROC curves by name, each from the scores of clean samples and of those that deceive."""
    drawn = {name: pair for name, pair in pairs.items() if len(pair[0]) and len(pair[1])}
    rows = tuple(zip(GRID, *(rejected_at(*pair, GRID) for pair in drawn.values()), strict=True))
    return Table(
        ("false-positive rate", *drawn),
        rows,
        x="false-positive rate",
        units={"false-positive rate": "ratio"} | shares(*drawn),
    )


def number(value: float) -> float | None:
    """Return a number, or None where it is not defined."""
    return None if value != value else value


def worst(attempts: Sequence[Attempt], of: Callable[[Attempt], Tensor]) -> Tensor:
    """Return which samples meet a condition under every attack; attacks on fewer samples cut the others short."""
    conditions = [of(one) for one in attempts]
    few = min(map(len, conditions))
    return reduce(torch.logical_and, (condition[:few] for condition in conditions))


def rate_check(clean: Judged, fpr: float, calibration: int) -> Check:
    """Check that as many clean samples are rejected as the threshold was set for, up to chance."""
    found, count = 1 - clean.accepted.double().mean().item(), len(clean.accepted)
    slack = 3 * (fpr * (1 - fpr) * (1 / count + 1 / max(calibration, 1))) ** 0.5
    detail = f"{found:.1%} of {count} clean samples are rejected, {fpr:.1%} were meant to be, give or take {slack:.1%}"
    return Check("as many clean inputs are rejected as meant", abs(found - fpr) <= slack, detail)


def strength_check(attempts: Sequence[Attempt]) -> Check:
    """Check that attacks which know the defense defeat more samples than those that do not, beyond chance."""
    name = "attacks that know the defense are the stronger ones"
    aware = [one for one in attempts if one.aware]
    if not aware:
        return Check(name, None, "none was run: what the defense withstands is not known")
    left = worst(aware, lambda one: one.handled)
    blind = worst([one for one in attempts if not one.aware], lambda one: one.handled)[: len(left)]
    clean = aware[0].clean.right & aware[0].clean.accepted
    after, before = (clean & ~one for one in (left, blind))
    detail = f"they defeat {int(after.sum())} of {int(clean.sum())} samples, the others {int(before.sum())}"
    return Check(name, stronger(after, before), detail)


def cells(classes: tuple[str, ...], labels: Tensor) -> list[Cell]:
    """Return class names."""
    return [classes[label] if label < len(classes) else str(label) for label in labels.tolist()]
