"""What a table's encoder is worth: heads on its features, on raw columns and on an untrained encoder's; and which
columns its answers hang on.

Sizes: `N` rows, `D` columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.derived.subset import Subset, labelled
from withstand.data.tables.source import TableSource
from withstand.evaluation.features import embed, place_of
from withstand.evaluation.small import small_rows
from withstand.evaluation.structured.rows.folds import Split, split
from withstand.evaluation.structured.rows.native import native
from withstand.evaluation.structured.rows.scores import unit_of
from withstand.evaluation.structured.rows.shown import (
    FEATURES,
    RAW,
    UNTRAINED,
    by_input,
    by_score,
    checks,
    figures,
    told,
)
from withstand.evaluation.structured.rows.trial import HeadTrial, Input, Judged, constants
from withstand.evaluation.structured.table_heads import Answers, Head, HeadName
from withstand.models.tables.encoder import TableEncoder

Embedder = Callable[[Tensor], Tensor]
NATIVE = "native columns"
"""Raw columns, categories as categories."""


@dataclass(frozen=True)
class TableHeads(Evaluator):
    """Fit heads on frozen features, and the same heads on raw columns and on an untrained encoder's features.

    Classes are judged by accuracy, AUROC, average precision, F1, balanced accuracy, log loss and the expected
    calibration error; numbers by RMSE, MAE and R². Scores that the judged rows leave undefined are left out, and a
    check says why. Beside them stands a constant answer: the most frequent class of the training rows with the classes'
    shares as probabilities; their mean, and their median.

    Args:
        heads: which; the ft-transformer needs an encoder that gives tokens, and is not fitted on raw columns.
        labelled: training rows with a label, drawn by the seed; None for all up to `limit`.
        limit: most training rows.
        tested: most test rows.
        seed: of the choice of rows, and of heads.
        seeds: fits of heads that hang on their seed, whose mean and spread are given: of all of them but boosting on
            features. With more than one, boosting stops by a tenth of the training rows that its seed holds out.
        tuned: the perceptron has the width and rate that do best on held-out training rows, chosen for raw columns and
            for the encoder's features; on an untrained encoder's it has those of the latter.
        native: boosting on raw columns takes categories as such and knows what is missing, in place of slots.
        few: with fewer rows with an answer than this, in both parts together, all of them are judged, in folds, by
            one seed's fits; not where `labelled` says how many there are.
    """

    heads: tuple[HeadName, ...] = ("linear", "mlp", "boosting")
    labelled: int | None = None
    limit: int = 8_000
    tested: int = 4_000
    seed: int = 0
    seeds: int = 1
    tuned: bool = False
    native: bool = False
    few: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.heads:
            raise ConfigError(f"heads needs one at least, and seeds must be 1 or more, not {self.heads}, {self.seeds}")

    @classmethod
    def example(cls) -> Self:
        return cls(("linear", "boosting"))

    def example_trial(self) -> Trial:
        return Trial(nn.Flatten(), small_rows(), nn.Flatten())

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Return the finding "table-heads".

        Args:
            subject: the encoder.
            source: training rows, with labels or numbers to predict.
            test: rows to judge on; the other part of a table when None.
            control: an untrained encoder.
        """
        few = 0 if self.labelled else self.few
        rows = _split(source, test, self.labelled or self.limit, self.tested, few, self.seed)
        inputs = {FEATURES: Input(rows.each(lambda part: embed(subject, part).x))}
        inputs[RAW] = Input(raw := rows.each(_raw))
        if control is not None:
            inputs[UNTRAINED] = Input(rows.each(lambda part: embed(control, part).x))
        given = dict(inputs)
        if self.native and isinstance(source, TableSource):
            given[NATIVE] = Input(*native(source.schema, raw, len(rows.parts[0])))
        token = subject.hidden if isinstance(subject, TableEncoder) and subject.pool in ("flatten", "columns") else None
        trial = HeadTrial(rows, seeds=1 if rows.folded else self.seeds, tuned=self.tuned)
        found: dict[tuple[str, str], Judged] = {}
        for name in self.heads if rows.enough else ():
            head = Head(name, token=token, seed=self.seed, early=self.seeds > 1)
            for on in inputs:
                if name == "ft-transformer" and on == RAW:
                    continue
                taken = NATIVE if name == "boosting" and on == RAW and NATIVE in given else on
                # Boosting on hundreds of features takes most of the time, and is no baseline.
                repeated = on == RAW or name != "boosting"
                same = found[name, FEATURES].head if on == UNTRAINED else None
                found[name, on] = trial.judge(same or head, given[taken], repeated=repeated, chosen=same is not None)
        constant = constants(rows)
        first = next(iter(constant.values())).main
        return Finding(
            name="table-heads",
            figures=figures(found, constant),
            headline=f"{first}, {self.heads[0]} on features" if found else f"{first}, {next(iter(constant))}",
            tables={
                **({first: by_input(self.heads, tuple(inputs), found)} if found else {}),
                "scores": by_score(found, constant),
            },
            checks=(*rows.checks(), *checks(found, constant)),
            protocol={
                "probe": describe(self),
                "head": describe(Head(self.heads[0], token=token, seed=self.seed)),
                "training rows": rows.counted[0],
                "test rows": rows.counted[1],
                "measured": "share of right classes" if rows.classes else "root mean squared error, target's units",
                **({"rows": rows.note} if rows.folded else {}),
                **({"spread": "standard deviation over seeds"} if trial.seeds > 1 else {}),
                **told(found, rows),
            },
        )


@dataclass(frozen=True)
class ColumnImportance(Evaluator):
    """What a linear head on the features loses when one column is shuffled over the judged rows.

    Args:
        limit: most training rows.
        tested: most test rows.
        seed: of the choice of rows and of the shuffling.
        few: as for `TableHeads`.
    """

    limit: int = 4_000
    tested: int = 1_000
    seed: int = 0
    few: int = 0

    def example_trial(self) -> Trial:
        return Trial(nn.Flatten(), small_rows())

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Return the finding "columns"; arguments as for `TableHeads`, `control` is not used.

        Of too few rows to fit a head to it holds no figures, and a check says so.
        """
        rows = _split(source, test, self.limit, self.tested, self.few, self.seed)
        if not rows.enough:
            return Finding(name="columns", checks=rows.checks(), protocol={"probe": describe(self)})
        features, x, seen = rows.each(lambda part: embed(subject, part).x), rows.each(_raw), rows.judged
        answers, truth = Answers(rows.y, len(rows.classes)), Answers(rows.y[seen], len(rows.classes))
        trial = HeadTrial(rows)
        heads = trial.fitted(Head("linear", seed=self.seed), Input(features))
        whole = truth.score(trial.predicted(heads, features).answer)
        sign = 1 if answers.classes else -1
        lost: dict[str, float] = {}
        for name, slots in source.fields.items():
            order = permutation(len(seen), self.seed, "shuffled", name)
            mixed = x[seen]
            mixed[:, list(slots)] = x[seen][order][:, list(slots)]
            with torch.no_grad():
                shuffled = features.clone().index_copy_(0, seen, _embedded(subject, mixed))
            lost[name] = sign * (whole - truth.score(trial.predicted(heads, shuffled).answer))
        what = "accuracy lost" if answers.classes else "RMSE gained"
        measured = "accuracy" if answers.classes else "RMSE"
        unit, better = unit_of(measured)
        described = _described(source)
        table = [(name, *described.get(name, ("", None)), value) for name, value in sorted(lost.items(), key=_largest)]
        return Finding(
            name="columns",
            figures={measured: Measure(whole, unit, better, of=len(seen))},
            headline=measured,
            tables={
                "importance of columns": Table(
                    ("column", "kind", "missing", f"{what} when shuffled"),
                    tuple(table),
                    units={"missing": "share", f"{what} when shuffled": unit},
                ),
                **_bent(source),
            },
            checks=rows.checks(),
            protocol={
                "probe": describe(self),
                "training rows": rows.counted[0],
                "test rows": len(seen),
                "head": "linear, on all features",
            },
        )


def spread(subject: Embedder, source: Source | None, most: int = 2_000) -> float:
    """Return the mean over features of their standard deviation across rows: near 0 where all rows look the same."""
    if source is None:
        raise DataError("name the rows to look at")
    return float(embed(subject, chosen(source, most, 0)).x.std(0, correction=0).mean())


def chosen(source: Source, most: int, seed: int) -> Source:
    """Return at most so many samples, drawn by the seed; the source itself where that is all."""
    if most >= len(source):
        return source
    return Subset(source, permutation(len(source), seed, "chosen")[:most].sort().values)


def _split(source: Source, test: Source | None, most: int, tested: int, few: int, seed: int) -> Split:
    """Return at most so many training rows and test rows with an answer, or folds of fewer than `few`."""
    if test is None:
        if not isinstance(source, TableSource) or source.part == "all":
            raise DataError("name the rows to judge on")
        test = source.other("test")
    return split(
        chosen(labelled(source), most, seed),
        chosen(labelled(test), tested, seed),
        few=few if most > few else 0,
        seed=seed,
    )


def _raw(source: Source) -> Tensor:
    return source[torch.arange(len(source))].x.float()


def _embedded(subject: Embedder, x: Tensor) -> Tensor:
    there = place_of(subject)
    return torch.cat([subject(part.to(there)).float().cpu() for part in torch.split(x, 1024)])


def _largest(item: tuple[str, float]) -> float:
    return -item[1]


def _described(source: Source) -> dict[str, tuple[str, float | None]]:
    if not isinstance(source, TableSource):
        return {}
    return {column.name: (column.kind, source.missing[column.name]) for column in source.schema.columns}


def _bent(source: Source) -> dict[str, Table]:
    """Return what did not fit, in columns left out and in test rows."""
    if not isinstance(source, TableSource):
        return {}
    found = {"columns left out": source.skipped, "where test rows do not fit training": source.other("test").notes}
    return {name: Table(("column", "what"), tuple(rows)) for name, rows in found.items() if rows}
