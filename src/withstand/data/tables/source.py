"""A table as a source: rows as numbers in [0, 1], their preprocessing learnt from training rows alone."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, LeftOut, nearest
from withstand.core.findings import finding
from withstand.core.roles import Indices, Source
from withstand.core.victims.changeable import Changeable
from withstand.data.derived.subset import held_out
from withstand.data.shared.digest import as_indices, digest
from withstand.data.tables.files import is_table_file, read_file
from withstand.data.tables.frame import Frame, Words, frame_of, missing, short
from withstand.data.tables.infer import Target, Task, find_target, fit_schema
from withstand.data.tables.named import TABLES, named_table
from withstand.data.tables.schema import Schema, changes_of
from withstand.data.tables.units.account import account_of
from withstand.data.tables.units.names import names_of_rows
from withstand.data.tables.units.radii import radii_of_columns
from withstand.data.tables.units.rows import rows_as_text
from withstand.data.tables.written.reading import Reading
from withstand.data.tables.written.settle import has_texts, settled

Part: TypeAlias = Literal["train", "test", "all"]
Table: TypeAlias = Any
"""The name of a table, a file, a data frame of any library, a mapping of columns, an array with rows and columns."""


class TableSource(Source):
    """Rows of a table, or of its training or test part.

    Kinds, ranges and categories come from training rows alone, whichever part this is. Columns that are constant,
    empty or free text are left out, and `skipped` says so. Rows whose target is missing have label -1, or NaN to
    predict: they are training rows, and no test rows. Missing values and
    categories that training did not have get slots of their own; values beyond training's range are cut off, and
    `notes` counts them.

    Args:
        table: the name of a set, a CSV, Parquet or Feather file, a data frame (pandas, polars, any with the
            interchange protocol), a mapping of columns, an array with rows and columns.
        part: "train", "test", or "all" to learn from every row and give every row.
        target: the column to predict, never a feature; a named set has its own.
        task: "classes", "number", or "auto": words and up to 20 different whole numbers are classes.
        kinds: what columns are where the inferred kind is wrong: "numeric", "categorical" or "date" (of digits such as
            20241231), by name.
        ignore: columns to leave out.
        immutable: columns that no attacker may change; categorical ones none can in any case.
        split: the column that says "train" or "test" of each row; without one, `fraction` is held out.
        fraction: the share of the test part, of every class where there are classes.
        seed: chooses which rows those are.
        delimiter: what separates the fields of a text file; found by itself when None.
        header: whether a text file's first line names the columns; found by itself when None.
        decimal: the mark before decimals in texts, "." or ",", where 1.234 leaves it open; found by itself when None.
        encoding: of a text file, as Python names it; found by itself when None.
        dates: the order of day, month and year in texts, "dmy", "mdy" or "ymd", where 01/02/2024 leaves it
            open; found by itself when None.
        schema: columns as an earlier run learnt them, in place of learning them here; all rows are given then.
        id: the column that names rows, never a feature; rows of a table that lacks it, read by an earlier run's schema,
            have no names.

    Attributes:
        rows: each row's place in the table, int64 `(N,)`.

    Raises:
        DataError: a table that cannot be read, and all that `fit_schema` and `find_target` refuse.
        ConfigError: an unknown column, kind or part.
    """

    kind = "row"
    levels = 100

    def __init__(
        self,
        table: Table,
        *,
        part: Part = "all",
        target: str | None = None,
        task: Task = "auto",
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        immutable: Sequence[str] = (),
        split: str | None = None,
        fraction: float = 0.2,
        seed: int = 0,
        delimiter: str | None = None,
        header: bool | None = None,
        decimal: str | None = None,
        encoding: str | None = None,
        dates: str | None = None,
        schema: Schema | None = None,
        id: str | None = None,
    ) -> None:
        if part not in ("train", "test", "all"):
            raise ConfigError(f"unknown part {part!r}: 'train', 'test' or 'all'")
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction={fraction} must lie between 0 and 1: it is the share that is held out")
        self.part = part
        said = {name for name, kind in (kinds or {}).items() if kind == "categorical"}
        said |= set() if id is None else {id}
        reading = Reading(delimiter, header, decimal, encoding, dates, words=frozenset(said))
        if schema is not None:
            written = {column.name: column.written for column in schema.columns if column.written is not None}
            words = frozenset(column.name for column in schema.categorical) | (said - set(schema.fields))
            reading = replace(reading, known=tuple(schema.fields), words=words, learnt=written)
        frame, target, split = self._open(table, target, split, id, reading)
        if target is None and schema is not None and schema.target is not None and schema.target in frame.columns:
            target = None if missing(frame.columns[schema.target]).all() else schema.target
        learnt = schema is not None and schema.target == target
        found = Target() if target is None else _target(frame, target, task, schema if learnt else None)
        tested = self._tested(frame, split, found, fraction, seed)
        training: Frame | None = None
        if schema is None:
            training = frame if part == "all" else frame.rows(~tested)
            if split is not None:
                training = training.without(split)
            schema = fit_schema(training, kinds=kinds, ignore=ignore, target=target, classes=found.classes, names=id)
            self._say_what_is_left_out(schema, ignore)
        elif kinds or ignore:
            raise ConfigError("a schema already says which columns are learnt from, and their kinds")
        training = None
        every = Frame({}) if id is None or id not in frame.columns else frame.only([id])
        frame = frame.only(name for name in frame.columns if name in schema.fields)  # the others' text is not needed
        chosen = {"train": ~tested, "test": tested, "all": np.ones(len(frame), dtype=bool)}[part]
        if not chosen.any():
            raise DataError(f"the table has no {part} rows")
        rows = frame.rows(chosen)
        self.rows = torch.from_numpy(chosen.nonzero()[0])
        self.schema, self._coded = schema, schema.code(rows)
        told: tuple[tuple[str, str], ...] = ()
        if id is not None and every.columns:
            self.names, told = names_of_rows(every.rows(chosen), id)
        elif id is not None:
            told = ((id, "is lacking, so that rows have no names"),)
        self.notes = (*self._coded.notes, *told)
        self._target = _rows(found, torch.from_numpy(chosen))
        self._missing = {name: float(missing(rows.columns[name]).mean()) for name in schema.fields}
        self._immutable = self._known(immutable)
        self.skipped = (*self.skipped, *schema.left_out)
        self.account = tuple(account_of(schema, self._target, len(self), len(frame)))

    @classmethod
    def example(cls) -> Self:
        count, draws = 16, np.random.default_rng(0)
        columns = {
            "age": draws.integers(18, 80, count),
            "color": np.array(["red", "green", "blue", ""])[np.arange(count) % 4],
            "weight": np.where(np.arange(count) % 5 == 0, np.nan, draws.normal(70, 9, count)),
            "height": draws.normal(170, 9, count),
            "answer": np.array(["no", "yes"])[draws.permutation(count) % 2],
        }
        return cls(columns, target="answer")

    def _open(
        self, table: Table, target: str | None, split: str | None, name: str | None, reading: Reading
    ) -> tuple[Frame, str | None, str | None]:
        """Return the columns, the target and the split column; name and origin are noted."""
        if isinstance(table, str) and table in TABLES:
            reading.refuse(f"the set {table!r}")
            known = named_table(table)
            self.name, self.origin = table, known.origin
            frame, target, split = known.frame, target or known.target, split or known.split
        elif isinstance(table, str | Path):
            if not Path(table).is_file() and not is_table_file(table):
                hint = nearest(str(table), TABLES)
                raise DataError(f"{str(table)!r} is neither a file nor the name of a table: {hint}")
            frame, note = read_file(Path(table).expanduser(), reading)
            self.name = Path(table).stem
            self.origin = f"the file {table}" + (f" ({note})" if note else "")
        else:
            frame = frame_of(table, reading.words)
            reading.refuse(f"a {type(table).__name__}", texts=has_texts(frame))
            frame = settled(frame, reading)
            self.name = "table"
            self.origin = "; ".join((self.origin, *frame.notes))
        wanted = None if reading.known else name
        for what, column in (("target", target), ("split", split), ("id", wanted)):
            if column is not None and column in frame.unread:
                raise DataError(f"{what} {column!r} holds {frame.unread[column]}: numbers or words are needed")
            if column is not None and column not in frame.columns:
                raise ConfigError(f"{what} {column!r} is no column of the table: {nearest(column, frame.columns)}")
        return frame, target, split

    def _say_what_is_left_out(self, schema: Schema, ignored: Sequence[str]) -> None:
        """Warn of columns that hold something and are not learnt from, though nobody asked for it."""
        left = [
            f"{short(name)[1:-1]}: {reason}"
            for name, reason in schema.left_out
            if name not in ignored and not reason.startswith(("constant", "every value"))
        ]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            warnings.warn(f"columns of {self.name} are left out: {'; '.join(left[:3])}{more}", LeftOut, stacklevel=3)

    def _tested(self, frame: Frame, split: str | None, target: Target, fraction: float, seed: int) -> Any:
        """Return which rows are the test part, bool `(N,)`."""
        if split is None:
            if len(frame) < 2 or self.part == "all":
                return np.zeros(len(frame), dtype=bool)
            return held_out(len(frame), target.labels, fraction, seed, target.known).numpy()
        values = frame.columns[split]
        if not isinstance(values, Words) or set(values.names) != {"train", "test"} or missing(values).any():
            names = list(values.names)[:4] if isinstance(values, Words) else []
            raise DataError(f"split column {split!r} must say 'train' or 'test' of each row, not {names}")
        return np.asarray(values.names)[values.codes] == "test"

    def _known(self, immutable: Sequence[str]) -> tuple[str, ...]:
        for name in immutable:
            if name not in self.schema.fields:
                raise ConfigError(f"immutable column {name!r} is not learnt from: {nearest(name, self.schema.fields)}")
        return tuple(immutable)

    def __len__(self) -> int:
        return len(self._coded)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        labels = self._target.labels
        return Batch(self.schema.expand(self._coded, chosen), chosen, None if labels is None else labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.schema.width,)

    @property
    def labels(self) -> Tensor | None:
        return self._target.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._target.classes

    @property
    def targets(self) -> Tensor | None:
        return self._target.values

    @property
    def fields(self) -> dict[str, tuple[int, ...]]:
        return self.schema.fields

    @property
    def changeable(self) -> Changeable:
        return changes_of(self.schema, self._immutable)

    @property
    def missing(self) -> dict[str, float]:
        """The share of these rows without a value, by column."""
        return self._missing

    def other(self, part: Part) -> "TableSource":
        """Return another part of the same table."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftOut)  # said of this part
            return TableSource(**{**self._init_args, "part": part})

    def whole(self) -> "TableSource":
        """Return every row, in the table's order, by the same schema."""
        return self._again(part="all")

    def like(self, data: Any, split: str = "all") -> "TableSource":
        """Return another table, its columns read by this one's schema; a table that is a source keeps its own."""
        part = cast(Part, split)
        if isinstance(data, TableSource):
            return data if part == "all" else data.other(part)
        return TableSource(data, part=part, schema=self.schema, id=self._init_args["id"])

    def called_by(self, column: str) -> "TableSource":
        return self._again(id=column)

    def _again(self, **changes: object) -> "TableSource":
        """Return the same table once more, by the same schema."""
        keep: dict[str, Any] = {**self._init_args, "schema": self.schema, "kinds": None, "ignore": ()}
        return TableSource(**{**keep, **changes})

    def radius_in_units(self, eps: float) -> finding.Table:
        return radii_of_columns(self.schema, self._coded, eps, self._immutable)

    def in_units(self, x: Tensor) -> Mapping[str, Sequence[str]]:
        return rows_as_text(self.schema, x)

    def fingerprint(self) -> str:
        values = self._target.values
        return digest(self, *([] if values is None else [values.numpy().tobytes().hex()]))


def _target(frame: Frame, name: str, task: Task, learnt: Schema | None) -> Target:
    """Return the target's values, what they are as it was learnt: label -1, or NaN, where it is missing."""
    values = frame.columns[name]
    gone = missing(values)
    if gone.all():
        raise DataError(f"target {name!r} is missing in every row")
    if learnt is not None and not learnt.classes and not isinstance(values, Words):
        return Target(values=torch.from_numpy(values.copy()))
    classes = () if learnt is None else learnt.classes
    found, known = find_target(frame.rows(~gone), name, task, classes), torch.from_numpy(~gone)
    if found.values is not None:
        whole = torch.full((len(frame),), torch.nan, dtype=torch.float64)
        return Target(values=whole.masked_scatter(known, found.values))
    assert found.labels is not None
    return replace(found, labels=torch.full((len(frame),), -1).masked_scatter(known, found.labels))


def _rows(target: Target, chosen: Tensor) -> Target:
    return replace(
        target,
        labels=None if target.labels is None else target.labels[chosen],
        values=None if target.values is None else target.values[chosen],
    )
