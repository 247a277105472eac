"""Schema: what a table's columns are, learnt from training rows alone, and rows as numbers in [0, 1].

A row becomes W slots: first a value for each of the Dn numeric columns (0 at training's least, 1 at its largest, cut
off beyond), then a flag for each of them that says that the value is missing, then for each categorical column one slot
a category, one for a missing value and one for a category that training did not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.part import Part
from withstand.core.victims.changeable import Changeable
from withstand.data.tables.distinct import Codes, narrow
from withstand.data.tables.frame import Frame, Numbers, Values, Words, missing, number, rounded, short
from withstand.data.tables.written.dates import moments
from withstand.data.tables.written.reading import Written

Kind: TypeAlias = Literal["numeric", "categorical"]
DAY = 86400
"""Seconds."""
RESERVED = 2
"""Slots of a categorical column besides its categories: a missing value, a category never seen in training."""


@dataclass(frozen=True)
class Column(Part):
    """One column, as training rows showed it.

    Args:
        name: its name.
        kind: "numeric" or "categorical".
        low: least training value of a numeric column.
        high: largest one.
        whole: a numeric column's training values are whole numbers.
        categories: a categorical column's categories, sorted.
        missing: the share of training rows without a value.
        written: how a numeric column's numbers or dates were written; None where that was not kept.
        days: a column of dates has no times of day.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    categories: tuple[str, ...] = ()
    missing: float = 0.0
    written: Written | None = None
    days: bool = False

    @property
    def step(self) -> float:
        """The steps in which its numbers lie, in its units; 0 for any number, and for times of day."""
        if self.dated:
            return float(DAY) if self.days else 0.0
        return float(self.whole)

    def within(self, eps: float) -> float:
        """Return the most that a number may change within a share of the range, in its units: whole steps."""
        change = eps * (self.high - self.low)
        return change if not self.step else int(change / self.step * (1 + 1e-5)) * self.step

    @property
    def dated(self) -> bool:
        """Whether it holds dates, as seconds since 1970."""
        return self.written is not None and bool(self.written.date)

    def shown(self, value: float) -> str:
        """Return a number of this column as people read it: a date, or with its sign."""
        if self.dated:
            moment = np.datetime64(round(value), "s")
            return str(moment.astype("datetime64[D]") if value % DAY == 0 else moment).replace("T", " ")
        sign = "" if self.written is None else self.written.sign
        return f"{value:g} {sign}".rstrip() if not self.whole else f"{value:.0f} {sign}".rstrip()

    @property
    def slots(self) -> int:
        """How many slots of a row are this column's."""
        return 2 if self.kind == "numeric" else len(self.categories) + RESERVED


@dataclass(frozen=True)
class Coded:
    """Rows of a table, compact.

    Attributes:
        values: numeric columns in [0, 1], float32 `(N, Dn)`; 0 where missing.
        missing: where a numeric value is missing, bool `(N, Dn)`.
        codes: categorical columns' places among their slots, int8 or int16 `(N, Dc)`.
        notes: what had to be bent to fit, by column.
    """

    values: Tensor
    missing: Tensor
    codes: Tensor
    notes: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.values)


# Not slots=True: the cached properties live in the instance.
@dataclass(frozen=True)
class Schema(Part):
    """The columns that are learnt from, numeric ones first, and what became of the others.

    Args:
        columns: in the order of slots and tokens.
        left_out: (column, reason) of each column that is not learnt from.
        target: the column that is predicted, or None.
        classes: the target's classes, sorted; empty for a number.
    """

    columns: tuple[Column, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kinds = [column.kind for column in self.columns]
        if not kinds or kinds != sorted(kinds, reverse=True) or set(kinds) - {"numeric", "categorical"}:
            raise DataError(f"a schema needs columns, the numeric ones first, then the categorical ones, not {kinds}")

    @cached_property
    def numeric(self) -> tuple[Column, ...]:
        """The numeric columns."""
        return tuple(column for column in self.columns if column.kind == "numeric")

    @cached_property
    def categorical(self) -> tuple[Column, ...]:
        """The categorical columns."""
        return tuple(column for column in self.columns if column.kind == "categorical")

    @cached_property
    def width(self) -> int:
        """W, the slots of a row."""
        return sum(column.slots for column in self.columns)

    @cached_property
    def offsets(self) -> Tensor:
        """The first slot of each categorical column, int64 `(Dc,)`."""
        sizes = torch.tensor([0, *(column.slots for column in self.categorical)], dtype=torch.int64)
        return 2 * len(self.numeric) + sizes.cumsum(0)[:-1]

    @cached_property
    def fields(self) -> dict[str, tuple[int, ...]]:
        """The slots of each column, by name."""
        count = len(self.numeric)
        found: dict[str, tuple[int, ...]] = {
            column.name: (place, count + place) for place, column in enumerate(self.numeric)
        }
        for column, first in zip(self.categorical, self.offsets.tolist(), strict=True):
            found[column.name] = tuple(range(first, first + column.slots))
        return found

    def code(self, frame: Frame) -> Coded:
        """Return rows as this schema has them.

        Raises:
            DataError: a column is missing, or holds words where training had numbers.
        """
        notes: list[tuple[str, str]] = []
        for column in self.columns:
            if column.name not in frame.columns:
                held = f"holds {frame.unread[column.name]} in" if column.name in frame.unread else "is lacking in"
                raise DataError(f"column {short(column.name)}, which was learnt from, {held} this table")
        count = len(frame)
        # One column after the other, for each comes in double precision.
        values = np.empty((count, len(self.numeric)), np.float32)
        gone = np.empty(values.shape, bool)
        codes = np.empty((count, len(self.categorical)), narrow(max([column.slots for column in self.columns])))
        for place, column in enumerate(self.numeric):
            scaled = self._scaled(column, frame.columns[column.name], frame.written.get(column.name), notes)
            gone[:, place] = np.isnan(scaled)
            values[:, place] = scaled
        values[gone] = 0.0
        for place, column in enumerate(self.categorical):
            codes[:, place] = self._coded(column, frame.columns[column.name], notes)
        return Coded(torch.from_numpy(values), torch.from_numpy(gone), torch.from_numpy(codes), tuple(notes))

    def expand(self, coded: Coded, rows: Tensor) -> Tensor:
        """Return the chosen rows as slots, float32 `(B, W)`."""
        count = len(self.numeric)
        out = torch.zeros(len(rows), self.width)
        out[:, :count] = coded.values[rows]
        out[:, count : 2 * count] = coded.missing[rows]
        return out.scatter_(1, coded.codes[rows] + self.offsets, 1.0)

    def units(self, x: Tensor) -> dict[str, Numbers | list[str | None]]:
        """Return rows of slots `(B, W)` in the table's own units: numbers with NaN, or words with None."""
        count = len(self.numeric)
        found: dict[str, Numbers | list[str | None]] = {}
        for place, column in enumerate(self.numeric):
            value = x[:, place].double() * (column.high - column.low) + column.low
            found[column.name] = torch.where(x[:, count + place] > 0.5, torch.nan, value).numpy()
        for column, first in zip(self.categorical, self.offsets.tolist(), strict=True):
            names: list[str | None] = [*column.categories, None, "(another)"]
            found[column.name] = [names[code] for code in x[:, first : first + column.slots].argmax(1).tolist()]
        return found

    def _scaled(self, column: Column, values: Values, written: Written | None, notes: list[tuple[str, str]]) -> Numbers:
        said, signs = written or Written(), (column.written or Written()).sign
        if column.written is not None and column.dated != bool(said.date):  # runs of old do not say
            values = dates_of(values) if column.dated else values
            if isinstance(values, Words) or not column.dated:
                ours, theirs = ("dates", "none") if column.dated else ("no dates", "dates")
                raise DataError(f"column {short(column.name)} was {ours} in training and holds {theirs} now")
        if signs and said.sign and signs != said.sign:
            raise DataError(f"column {short(column.name)} was in {signs} in training and is in {said.sign} now")
        if signs != said.sign:
            here, there = signs or "no sign", said.sign or "no sign"
            notes.append((column.name, f"{there} stands with its numbers, where training had {here}"))
        if isinstance(values, Words):
            read = rounded(values)
            if read is None:
                shown = ", ".join(map(short, values.names[:3]))
                raise DataError(f"column {short(column.name)} was numbers in training and holds words now: {shown}")
            values = read
        gone = 0 if column.missing else int(np.isnan(values).sum())
        scaled: Numbers = values - column.low
        del values  # nobody else may hold it
        scaled /= column.high - column.low
        beyond = int((scaled < 0).sum()) + int((scaled > 1).sum())
        if beyond:
            notes.append((column.name, f"{beyond} value(s) beyond training's range, cut off at {_span(column)}"))
        if gone:
            notes.append((column.name, f"{gone} missing value(s), where training had none"))
        return np.clip(scaled, 0.0, 1.0, out=scaled)

    def _coded(self, column: Column, values: Values, notes: list[tuple[str, str]]) -> Codes:
        words = as_words(values)
        exact = {name: place for place, name in enumerate(column.categories)}
        gone, another = len(exact), len(exact) + 1
        # 1 and 1.0 are one category, however either was written.
        place_of = {**{canonical(name): place for name, place in exact.items()}, **exact}
        moved = np.full(len(words.names) + 1, gone, narrow(column.slots))
        places = (
            place_of[name] if name in place_of else place_of.get(canonical(name), another) for name in words.names
        )
        moved[:-1] = np.fromiter(places, moved.dtype, len(words.names))
        codes: Codes = moved[words.codes]
        strange = int((codes == another).sum())
        if strange:
            shown = next(name for name, code in zip(words.names, moved, strict=False) if code == another)
            notes.append((column.name, f"{strange} value(s) that training did not have, such as {short(shown)}"))
        if not column.missing and bool((codes == gone).any()):
            notes.append((column.name, f"{int((codes == gone).sum())} missing value(s), where training had none"))
        return codes


def canonical(word: str) -> str:
    """Return the shortest text of a number that a word writes, else the word."""
    value = number(word)
    return word if value is None or not np.isfinite(value) else _numeral(value)


def _numeral(value: float) -> str:
    return str(int(value)) if value % 1 == 0 else repr(float(value))


def dates_of(values: Values) -> Values:
    """Return numbers such as 20241231 as the dates that they write, in seconds; words where one is none."""
    if isinstance(values, Words):
        return values
    gone = np.isnan(values)
    kept = values[~gone]
    as_text = Words(np.zeros(0, np.int8), ())
    if not len(kept) or (np.trunc(kept) != kept).any() or kept.min() < 1e7 or kept.max() >= 1e8:
        return as_text
    days = kept.astype(np.int64)
    found = moments([f"{day // 10000:04}-{day // 100 % 100}-{day % 100}" for day in days.tolist()], "ymd")
    if found is None:
        return as_text
    every: Numbers = np.full(len(values), np.nan)
    every[~gone] = found
    return every


def as_words(values: Values) -> Words:
    """Return a column as words: whole numbers without a point, others with all the digits that tell them apart."""
    if isinstance(values, Words):
        return values
    found, codes = np.unique(values[~np.isnan(values)], return_inverse=True)
    every = np.full(len(values), -1, dtype=np.int64)
    every[~missing(values)] = codes
    return Words.of(every, [_numeral(value) for value in found])


def _span(column: Column) -> str:
    return f"[{column.shown(column.low)}, {column.shown(column.high)}]"


def changes_of(schema: Schema, immutable: Mapping[str, object] | tuple[str, ...] = ()) -> Changeable:
    """Return what of rows of slots `(N, W)` an attacker can change: the values of numeric columns.

    Not of those that are immutable, nor where they are missing; whole numbers by whole numbers, and days by days.
    """
    free = torch.zeros(schema.width, dtype=torch.bool)
    step, unless = torch.zeros(schema.width, dtype=torch.float64), torch.full((schema.width,), -1)
    for place, column in enumerate(schema.numeric):
        free[place] = column.name not in immutable
        step[place] = column.step / (column.high - column.low)
        unless[place] = len(schema.numeric) + place
    return Changeable(free, step, unless)
