"""What a table's encoder is worth: heads on its features, on raw columns and on an untrained encoder's; and which
columns its answers hang on.

Sizes: `N` rows, `D` columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import DataError
from withstand.core.findings.finding import Better, Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.derived.subset import Subset, labelled
from withstand.data.tables.source import TableSource
from withstand.evaluation.features import embed, place_of
from withstand.evaluation.small import small_rows
from withstand.evaluation.structured.table_heads import Answers, Head, HeadName
from withstand.models.tables.encoder import TableEncoder

Embedder = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TableHeads(Evaluator):
    """Fit heads on frozen features, and the same heads on raw columns and on an untrained encoder's features.

    Args:
        heads: which; the ft-transformer needs an encoder that gives tokens, and is not fitted on raw columns.
        labelled: training rows with a label, drawn by the seed; None for all up to `limit`.
        limit: most training rows.
        tested: most test rows.
        seed: of the choice of rows, and of heads.
    """

    heads: tuple[HeadName, ...] = ("linear", "mlp", "boosting")
    labelled: int | None = None
    limit: int = 8_000
    tested: int = 4_000
    seed: int = 0

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
        train = chosen(labelled(source), self.labelled or self.limit, self.seed)
        judged = _test(source, test, self.tested, self.seed)
        answers, truth = answers_of(train), answers_of(judged)
        measured = "accuracy" if answers.classes else "RMSE"
        inputs: dict[str, tuple[Tensor, Tensor]] = {"features": (embed(subject, train).x, embed(subject, judged).x)}
        inputs["raw columns"] = _raw(train), _raw(judged)
        if control is not None:
            inputs["untrained features"] = embed(control, train).x, embed(control, judged).x
        token = subject.hidden if isinstance(subject, TableEncoder) and subject.pool in ("flatten", "columns") else None
        rows: list[tuple[Cell, ...]] = []
        for name in self.heads:
            head = Head(name, token=token, seed=self.seed)
            found = [
                None if name == "ft-transformer" and on == "raw columns" else truth.score(head.fit(x, answers)(seen))
                for on, (x, seen) in inputs.items()
            ]
            rows.append((name, *found))
        unit, better = _kind(answers)
        figures = {
            f"{measured}, {row[0]} on {on}": Measure(float(value), unit, better, of=len(judged))
            for row in rows
            for on, value in zip(inputs, row[1:], strict=True)
            if value is not None
        }
        for name in self.heads:
            if control is not None:
                own = f"{measured}, {name} on features"
                untrained = figures.pop(f"{measured}, {name} on untrained features")
                figures[own] = replace(figures[own], control=untrained)
        return Finding(
            name="table-heads",
            figures=figures,
            headline=f"{measured}, {self.heads[0]} on features",
            tables={
                measured: Table(
                    ("head", *(f"on {on}" for on in inputs)),
                    tuple(rows),
                    units={f"on {on}": unit for on in inputs},
                )
            },
            protocol={
                "probe": describe(self),
                "head": describe(Head(self.heads[0], token=token, seed=self.seed)),
                "training rows": len(train),
                "test rows": len(judged),
                "measured": "share of right classes" if answers.classes else "root mean squared error, target's units",
            },
        )


@dataclass(frozen=True)
class ColumnImportance(Evaluator):
    """What a linear head on the features loses when one column is shuffled over the test rows.

    Args:
        limit: most training rows.
        tested: most test rows.
        seed: of the choice of rows and of the shuffling.
    """

    limit: int = 4_000
    tested: int = 1_000
    seed: int = 0

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
        """Return the finding "columns"; arguments as for `TableHeads`, `control` is not used."""
        train = chosen(labelled(source), self.limit, self.seed)
        judged = _test(source, test, self.tested, self.seed)
        answers, truth = answers_of(train), answers_of(judged)
        head = Head("linear", seed=self.seed).fit(embed(subject, train).x, answers)
        whole = truth.score(head(embed(subject, judged).x))
        x = _raw(judged)
        sign = 1 if answers.classes else -1
        lost: dict[str, float] = {}
        for name, slots in source.fields.items():
            order = permutation(len(x), self.seed, "shuffled", name)
            mixed = x.clone()
            mixed[:, list(slots)] = x[order][:, list(slots)]
            with torch.no_grad():
                lost[name] = sign * (whole - truth.score(head(_embedded(subject, mixed))))
        what = "accuracy lost" if answers.classes else "RMSE gained"
        measured, (unit, better) = "accuracy" if answers.classes else "RMSE", _kind(answers)
        described = _described(source)
        rows = [(name, *described.get(name, ("", None)), value) for name, value in sorted(lost.items(), key=_largest)]
        return Finding(
            name="columns",
            figures={measured: Measure(whole, unit, better, of=len(judged))},
            headline=measured,
            tables={
                "importance of columns": Table(
                    ("column", "kind", "missing", f"{what} when shuffled"),
                    tuple(rows),
                    units={"missing": "share", f"{what} when shuffled": unit},
                ),
                **_bent(source),
            },
            protocol={
                "probe": describe(self),
                "training rows": len(train),
                "test rows": len(judged),
                "head": "linear, on all features",
            },
        )


def _kind(answers: Answers) -> tuple[str, Better]:
    """Return the unit of what is measured, and which way is better."""
    return ("share", "higher") if answers.classes else ("the target's", "lower")


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


def answers_of(source: Source) -> Answers:
    """Return a source's labels, else the numbers to predict.

    Raises:
        DataError: neither is known.
    """
    if source.labels is not None:
        return Answers(source.labels)
    if source.targets is None:
        raise DataError("this table has no target: name the column to predict with --target")
    return Answers(source.targets)


def _test(source: Source, test: Source | None, most: int, seed: int) -> Source:
    if test is None:
        if not isinstance(source, TableSource):
            raise DataError("name the rows to judge on")
        test = source.other("test")
    return chosen(labelled(test), most, seed)


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
