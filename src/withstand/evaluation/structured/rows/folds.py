"""Which labelled rows heads are fitted to, and which are judged: a test part, or folds where rows are few.

Sizes: `N` labelled rows.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import KFold, LeaveOneOut, StratifiedKFold
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.findings.finding import Check
from withstand.core.roles import Source

MOST_FOLDS = 10
LEAST = 4
"""Rows that a head needs to be fitted to."""


@dataclass(frozen=True)
class Split:
    """Training rows and judged rows, one after the other, and who judges whom.

    Attributes:
        parts: the training rows, and the test rows.
        y: classes int64, or numbers, of all of them, `(N,)`.
        classes: the names of the classes; none for numbers.
        folds: (rows to fit to, rows to judge), int64 places among all; one for a test part.
        note: how few rows were judged; "" for a test part.
    """

    parts: tuple[Source, Source]
    y: Tensor
    classes: tuple[str, ...]
    folds: tuple[tuple[Tensor, Tensor], ...]
    note: str = ""

    @property
    def judged(self) -> Tensor:
        """The judged rows, in the order of the folds, int64."""
        return torch.cat([rows for _, rows in self.folds])

    @property
    def folded(self) -> bool:
        """Whether rows are judged by several fits."""
        return bool(self.note)

    @property
    def known(self) -> Tensor:
        """Places of the rows that a constant answer is taken from: training rows, all of them in folds."""
        return torch.arange(len(self.y)) if self.folded else self.folds[0][0]

    @property
    def enough(self) -> bool:
        """Whether there are rows enough to fit heads to."""
        return min(len(fitted) for fitted, _ in self.folds) >= LEAST

    def each(self, given: Callable[[Source], Tensor]) -> Tensor:
        """Return what is made of each part, one after the other."""
        return torch.cat([given(part) for part in self.parts])

    @property
    def counted(self) -> tuple[int, int]:
        """How many rows are fitted to, in folds at most, and how many are judged."""
        return max(len(fitted) for fitted, _ in self.folds), sum(len(judged) for _, judged in self.folds)

    def checks(self) -> tuple[Check, ...]:
        """Return what is to be said of few rows, and of rows of one class."""
        made = [Check("there are rows enough for a test part", None, self.note)] if self.folded else []
        if not self.enough:
            made.append(Check("there are rows enough for heads", None, f"they need {LEAST} to be fitted to: left out"))
        alone = (
            sum(bool((self.y[fitted] == self.y[fitted][0]).all()) for fitted, _ in self.folds) if self.classes else 0
        )
        if alone and self.enough:
            said = f"{alone} of {len(self.folds)} fits have rows of one class, which they always name"
            made.append(Check("fitted rows have two classes", None, said))
        return tuple(made)


def split(train: Source, test: Source, *, few: int, seed: int) -> Split:
    """Return training rows and test rows as they are, or, of fewer than `few` in all, in folds.

    Folds: of each class about as many rows, as many folds as the largest class has rows, 10 at most; without classes as
    many as rows, 10 at most. Classes of one row each are left out one row at a time.

    Raises:
        DataError: neither labels nor numbers are known, or no row is.
    """
    answers = [answers_of(part) for part in (train, test)]
    y, count = torch.cat(answers), len(answers[0])
    whole = len(y)
    classes = tuple(train.classes) or tuple(map(str, range(0 if y.is_floating_point() else int(y.max()) + 1)))
    if whole >= few or whole < 2:
        return Split((train, test), y, classes, ((torch.arange(count), torch.arange(count, whole)),))
    kind, folds = _folds(y, seed)
    note = (
        f"all {whole} rows with an answer are judged by heads fitted to the others, {kind}; "
        f"the encoder has seen {count} of them, without their answers"
    )
    return Split((train, test), y, classes, folds, note)


def answers_of(source: Source) -> Tensor:
    """Return a source's labels, else the numbers to predict.

    Raises:
        DataError: neither is known.
    """
    if source.labels is not None:
        return source.labels
    if source.targets is None:
        raise DataError("this table has no target: name the column to predict with --target")
    return source.targets


def _folds(y: Tensor, seed: int) -> tuple[str, tuple[tuple[Tensor, Tensor], ...]]:
    """Return how rows are folded, in words, and the folds."""
    most = len(y) if y.is_floating_point() else int(torch.bincount(y).max())
    count, places = min(most, MOST_FOLDS), np.arange(len(y))
    words = f"in {count} folds"
    if count == len(y) or count < 2:
        way, words = LeaveOneOut(), "one left out at a time"
    else:
        kind = KFold if y.is_floating_point() else StratifiedKFold
        way = kind(count, shuffle=True, random_state=seed % 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer rows than folds is in some of them only
        found = list(way.split(places, y.numpy()))
    return words, tuple((torch.from_numpy(fitted), torch.from_numpy(judged)) for fitted, judged in found)
