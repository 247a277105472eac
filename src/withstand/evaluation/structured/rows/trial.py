"""Heads fitted to a table's rows and judged on others, once for each seed.

Sizes: `N` rows, `F` features, `C` classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import mean, stdev

import torch
from torch import Tensor

from withstand.evaluation.structured.rows.folds import Split
from withstand.evaluation.structured.rows.scores import Predicted, Scored, class_scores, number_scores
from withstand.evaluation.structured.table_heads import Answers, FittedHead, Head


@dataclass(frozen=True)
class Input:
    """What a head is fitted on.

    Attributes:
        x: features of all rows of a split, `(N, F)`.
        categories: which of them are places of categories; none where empty.
    """

    x: Tensor
    categories: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What was found of one head on one input.

    Attributes:
        scores: of each seed.
        right: which judged rows the first seed's fit names the class of, bool; None for numbers.
        head: how it was fitted; None of a constant answer.
        edges: that the best penalty is an end of its grid, in words, and in how many fits.
        folds: fits of a seed.
    """

    scores: tuple[Scored, ...]
    right: Tensor | None = None
    head: Head | None = None
    edges: Mapping[str, int] = field(default_factory=dict)
    folds: int = 1

    @property
    def main(self) -> str:
        """The score that stands first."""
        return next(iter(self.scores[0].values))

    def value(self, score: str) -> tuple[float, float | None] | None:
        """Return a score's mean and spread over seeds, None without several; None where it is not defined for each."""
        values = [one.values[score] for one in self.scores if score in one.values]
        if len(values) < len(self.scores):
            return None
        return mean(values), stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class HeadTrial:
    """Fits heads to rows and judges them.

    Args:
        rows: which rows are fitted to and judged.
        seeds: fits of a head that hangs on its seed.
        tuned: whether networks are tuned first.
    """

    rows: Split
    seeds: int = 1
    tuned: bool = False

    def fitted(self, head: Head, given: Input) -> list[FittedHead]:
        """Return a head fitted in each fold."""
        categories = given.categories or None
        return [
            _constant(answers) if _alone(answers) else head.fit(given.x[fitted], answers, categories=categories)
            for fitted, answers in ((fitted, self._answers(fitted)) for fitted, _ in self.rows.folds)
        ]

    def predicted(self, heads: list[FittedHead], x: Tensor) -> Predicted:
        """Return what fitted heads say of the judged rows, in the order of the folds."""
        judged = [x[rows] for _, rows in self.rows.folds]
        answer = torch.cat([head(some) for head, some in zip(heads, judged, strict=True)])
        if not self.rows.classes:
            return Predicted(answer)
        some = [_probabilities(head, part) for head, part in zip(heads, judged, strict=True)]
        return Predicted(answer, torch.cat(some))

    def judge(self, head: Head, given: Input, *, repeated: bool = True, chosen: bool = False) -> Judged:
        """Return a head's scores on one input.

        Args:
            head: what is fitted.
            given: what to.
            repeated: by as many seeds as its fits hang on.
            chosen: its settings are chosen already, and it is not tuned.
        """
        first, _ = self.rows.folds[0]
        if self.tuned and not chosen:
            head = head.tuned(given.x[first], self._answers(first))
        seeds = self.seeds if repeated and head.varies(self._answers(first)) else 1
        scores: list[Scored] = []
        edges: dict[str, int] = {}
        right: Tensor | None = None
        for seed in range(seeds):
            fits = self.fitted(replace(head, seed=head.seed + seed), given)
            for fit in fits:
                if fit.edge:
                    edges[fit.edge] = edges.get(fit.edge, 0) + 1
            said = self.predicted(fits, given.x)
            scores.append(scored(self.rows, said))
            if right is None and self.rows.classes:
                right = said.answer == self.rows.y[self.rows.judged]
        return Judged(tuple(scores), right, head, edges, len(self.rows.folds))

    def _answers(self, rows: Tensor) -> Answers:
        return Answers(self.rows.y[rows], len(self.rows.classes))


def scored(rows: Split, said: Predicted) -> Scored:
    """Return the scores of what is said of the judged rows."""
    truth = rows.y[rows.judged]
    if rows.classes:
        return class_scores(truth, said, rows.classes, ranked=not rows.folded)
    return number_scores(truth, said.answer)


def constants(rows: Split) -> dict[str, Judged]:
    """Return the scores of constant answers, by what they are called: the most frequent class, or mean and median."""
    known, count = rows.y[rows.known], len(rows.judged)
    if rows.classes:
        shares = torch.bincount(known, minlength=len(rows.classes)).double() / len(known)
        label = int(shares.argmax())
        said = Predicted(torch.full((count,), label), shares.expand(count, -1))
        right = rows.y[rows.judged] == label
        return {f"always {rows.classes[label]!r}": Judged((scored(rows, said),), right)}
    middles = {"mean": known.double().mean(), "median": known.double().quantile(0.5)}
    return {
        f"always the {name}, {float(value):.4g}": Judged((scored(rows, Predicted(value.expand(count))),))
        for name, value in middles.items()
    }


def _alone(answers: Answers) -> bool:
    return answers.classes > 0 and bool((answers.y == answers.y[0]).all())


def _probabilities(head: FittedHead, x: Tensor) -> Tensor:
    assert head.probabilities is not None
    return head.probabilities(x)


def _constant(answers: Answers) -> FittedHead:
    """Return a head that names the one class that its rows have."""
    label = int(answers.y[0])
    sure = torch.zeros(answers.classes, dtype=torch.float64).index_fill_(0, torch.tensor(label), 1.0)
    return FittedHead(lambda x: torch.full((len(x),), label), lambda x: sure.expand(len(x), -1))
