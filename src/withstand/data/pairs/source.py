"""Records of one or two tables as a source: each value as its characters, so that views can misspell them.

Sizes: `N` records, `A` attributes (columns that are compared), `L` characters of a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Indices, Source
from withstand.data.derived.subset import held_out
from withstand.data.pairs.named import ANSWERS, ENTITY_SETS, Known, named_pairs
from withstand.data.pairs.texts import TextTable, column_named, common_columns, plain, read_texts
from withstand.data.shared.digest import as_indices, digest
from withstand.data.tables.written.reading import Reading

Part: TypeAlias = Literal["train", "test", "all"]
_IDS = ("id", "_id", "ids")
"""Names, without case, of columns that number rows."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a source's records that people judged.

    Attributes:
        left: each pair's first record, int64 `(M,)`, a place in the source.
        right: its second, likewise.
        match: whether they are the same, bool `(M,)`.
        split: "train", "valid" or "test" of each.
    """

    left: Tensor
    right: Tensor
    match: Tensor
    split: npt.NDArray[np.str_]

    def part(self, split: str) -> "Pairs":
        """Return the pairs of one split."""
        chosen = torch.from_numpy(self.split == split)
        return Pairs(self.left[chosen], self.right[chosen], self.match[chosen], self.split[chosen.numpy()])

    def __len__(self) -> int:
        return len(self.match)


class RecordSource(Source):
    """Records of one table, or of two with columns in common; a sample is int64 `(A, L)`.

    A sample holds code points, 0 after a value's end; a value that is missing is all 0. Values are compared in lower
    case with single spaces. Records without a value in any compared column are no samples, and `skipped` counts them,
    with everything else that is not compared.

    Args:
        table: the name of a set (see `named.ENTITY_SETS`), which has two tables and known pairs; a CSV, Parquet or
            Feather file, a data frame, a mapping of columns.
        other: the second table; None looks for duplicates within one.
        part: "train", "test" or "all". Of a named set these are the records of its training and validation pairs, and
            of its test pairs: a record may be in both; no known pair is learnt from. Of other tables `fraction` is
            held out.
        id: the column that names rows, in every table; it is not compared. If None, a column called id is taken, where
            it names each row alone.
        ignore: columns that are not compared.
        length: L, the characters of a value that are compared.
        fraction: the share of the test part.
        seed: chooses which records those are.
        delimiter: what separates the fields of a text file; found by itself when None.
        header: whether a text file's first line names the columns; found by itself when None.
        columns: the columns to compare, as an earlier run did; in place of all that the tables have in common.

    Attributes:
        tables: the tables as they were read, one or two.
        rows: each record's row in its table, int64 `(N,)`.
        places: its row where the tables stand one under another, likewise.
        columns: names of the compared columns, as the first table writes them.
        pairs: the pairs that people judged, of a named set; else None.

    Raises:
        DataError: a table that cannot be read, no column in common, no value in any record, a column asked for that
            repeats its ids.
        ConfigError: an unknown column or part.
    """

    kind = "record"

    def __init__(
        self,
        table: Any,
        other: Any = None,
        *,
        part: Part = "all",
        id: str | None = None,
        ignore: Sequence[str] = (),
        length: int = 96,
        fraction: float = 0.2,
        seed: int = 0,
        delimiter: str | None = None,
        header: bool | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        if part not in ("train", "test", "all"):
            raise ConfigError(f"unknown part {part!r}: 'train', 'test' or 'all'")
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction={fraction} must lie between 0 and 1: it is the share that is held out")
        if length < 8:
            raise ConfigError(f"length must be at least 8 characters of a value, not {length}")
        self._length, self.part = length, part
        self.tables, known = self._open(table, other, Reading(delimiter, header))
        answers = ANSWERS.get(self.name, ()) if known is not None else ()
        skipped: list[tuple[str, str]] = [(name, "holds the answer: records that match share it") for name in answers]
        skipped += [(f"{name} of {one.name}", why) for one in self.tables for name, why in one.left_out]
        self._ids, self._id_columns = _ids(self.tables, id, skipped)
        names = _compared(self.tables, (*sorted(self._id_columns), *ignore), skipped)
        if columns:
            names = _as_before(names, columns)
        self.columns = tuple(ours[0] for ours in names)
        self._texts = [
            np.concatenate([one.columns[name] for one, name in zip(self.tables, ours, strict=True)]) for ours in names
        ]
        codes = np.stack(
            [self._coded(name, texts, skipped) for name, texts in zip(self.columns, self._texts, strict=True)], 1
        )
        self._known_at = np.flatnonzero(codes[:, :, 0].any(1))
        if not len(self._known_at):
            raise DataError(f"no record of {self.name} has a value in {', '.join(self.columns)}")
        if len(self._known_at) < len(codes):
            empty = len(codes) - len(self._known_at)
            skipped.append((f"{empty:,} record(s)", "no value in any compared column"))
        chosen = self._chosen(known, len(codes), fraction, seed)
        if not len(chosen):
            raise DataError(f"{self.name} has no {part} records")
        self._codes = codes[chosen]
        lengths = np.array([len(one) for one in self.tables])
        starts = np.concatenate([[0], lengths.cumsum()])[:-1]
        self._table = torch.from_numpy((chosen >= lengths[0]).astype(np.int64))
        self.rows = torch.from_numpy(chosen - starts[self._table.numpy()])
        self.places = torch.from_numpy(chosen)
        self.names = tuple(self.name_of(int(t), int(r)) for t, r in zip(self._table, self.rows, strict=True))
        self.pairs = None if known is None else _pairs(known, chosen, len(self.tables[0]), part)
        self.skipped = tuple(skipped)

    @classmethod
    def example(cls) -> Self:
        left = {
            "name": ["blue lantern cafe", "old mill inn", "harbour grill", "", "casa verde", "the green door"],
            "city": ["boston", "salem", "boston", "", "austin", "salem"],
            "phone": ["617-555-0101", "978-555-0102", "", "", "512-555-0104", "978-555-0105"],
        }
        right = {
            "Name": ["blue lantern café", "old mill", "casa verde", "noodle bar"],
            "City": ["boston", "salem", "austin", "boston"],
            "Phone": ["617 555 0101", "978/555-0102", "512-555-0104", "617-555-0199"],
        }
        return cls(left, right, length=24)

    def _open(self, table: Any, other: Any, reading: Reading) -> tuple[tuple[TextTable, ...], Known | None]:
        if isinstance(table, str) and table in ENTITY_SETS:
            if other is not None:
                raise ConfigError(f"{table!r} is a set of two tables by itself: name no other")
            left, right, known = named_pairs(table)
            self.name, self.origin = table, left.origin
            return (left, right), known
        tables = tuple(read_texts(one, reading) for one in (table, other) if one is not None)
        self.name = "+".join(one.name for one in tables)
        self.origin = " and ".join(one.origin for one in tables)
        return tables, None

    def _coded(self, name: str, texts: npt.NDArray[np.object_], skipped: list[tuple[str, str]]) -> Any:
        """Return a column's code points, uint32 `(N, L)`."""
        values = [plain(text) for text in texts.tolist()]
        cut = sum(len(value) > self._length for value in values)
        if cut:
            skipped.append((name, f"{cut:,} value(s) are compared by their first {self._length} characters"))
        held = np.array([value[: self._length].replace("\0", " ") for value in values], dtype=f"<U{self._length}")
        return held.view("<u4").reshape(len(values), self._length)

    def _chosen(self, known: Known | None, count: int, fraction: float, seed: int) -> npt.NDArray[np.int64]:
        """Return the places, in the tables one after another, of this part's records."""
        usable = np.zeros(count, dtype=bool)
        usable[self._known_at] = True
        if self.part == "all":
            return np.flatnonzero(usable)
        if known is None:
            if len(self._known_at) < 2:
                raise DataError(f"{self.name} has {len(self._known_at)} record(s): two are needed to hold one out")
            test = held_out(len(self._known_at), None, fraction, seed).numpy()
            held: npt.NDArray[np.int64] = self._known_at[test if self.part == "test" else ~test]
            return held
        side = (known.split == "test") == (self.part == "test")
        wanted = np.zeros(count, dtype=bool)
        wanted[known.left[side]] = True
        wanted[known.right[side] + len(self.tables[0])] = True
        return np.flatnonzero(wanted & usable)

    def name_of(self, table: int, row: int) -> str:
        """Return what a row is called: its table's letter where there are two, and its id or its number from 1 on."""
        ids = self._ids[table]
        word = str(row + 1) if ids is None else str(ids[row])
        return word if len(self.tables) == 1 else f"{'AB'[table]}:{word}"

    def texts(self, record: int) -> tuple[str, ...]:
        """Return a record's values in the compared columns, as they were read."""
        return tuple(str(column[self.places[record]]) for column in self._texts)

    @cached_property
    def whole_texts(self) -> list[str]:
        """Each record's values in the compared columns as one text, as they are compared, whatever their length."""
        return [" ".join(filter(None, map(plain, self.texts(record)))) for record in range(len(self))]

    def union(self) -> dict[str, npt.NDArray[np.object_]]:
        """Return every column but ids, the tables one under another; "" where a table has no such column."""
        kept = [table.without(sorted(self._id_columns)) for table in self.tables]
        if len(kept) == 1:
            return dict(kept[0].columns)
        both = common_columns(*kept)
        empty = [np.full(len(table), "", dtype=object) for table in kept]
        found = {}
        for name, texts in kept[0].columns.items():
            theirs = dict(both).get(name)
            found[name] = np.concatenate([texts, empty[1] if theirs is None else kept[1].columns[theirs]])
        alone = [name for name in kept[1].columns if name not in {theirs for _, theirs in both}]
        return found | {name: np.concatenate([empty[0], kept[1].columns[name]]) for name in alone}

    def called(self, place: int) -> str:
        """Return what the row at a place of the tables, one under another, is called."""
        first = len(self.tables[0])
        return self.name_of(0, place) if place < first else self.name_of(1, place - first)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(torch.from_numpy(self._codes[chosen.numpy()].astype(np.int64)), chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._codes.shape[1:]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"table": self._table}

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        return {name: (place,) for place, name in enumerate(self.columns)}

    def other(self, part: Part) -> "RecordSource":
        """Return another part of the same tables."""
        return RecordSource(**{**self._init_args, "part": part})

    def like(self, data: Any, split: str = "all") -> "RecordSource | None":
        """Return other tables' records, by the same columns: one table, a pair of them, or a named set."""
        part: Part = "train" if split == "train" else "test" if split == "test" else "all"
        if isinstance(data, RecordSource):
            return data if part == "all" else data.other(part)
        table, other = data if isinstance(data, tuple | list) and len(data) == 2 else (data, None)
        return RecordSource(table, other, part=part, length=self._length, columns=self.columns)

    def fingerprint(self) -> str:
        return digest(self, *self.columns, str(self._table.tolist()))


def _ids(
    tables: Sequence[TextTable], asked: str | None, skipped: list[tuple[str, str]]
) -> tuple[list[npt.NDArray[np.object_] | None], set[str]]:
    """Return each table's ids, None where rows are called by their number, and the columns that hold ids."""
    found: list[npt.NDArray[np.object_] | None] = []
    columns: set[str] = set()
    for table in tables:
        name = next((one for one in table.columns if one.casefold() in _IDS), None)
        if asked is not None:
            name = column_named(table, asked)
        if name is None:
            found.append(None)
            continue
        ids = table.columns[name]
        values, counts = np.unique(ids.astype(str), return_counts=True)
        repeated = [str(value) or "(empty)" for value in values[(counts > 1) | (values == "")]]
        columns.add(name)
        if repeated and asked is not None:
            raise DataError(
                f"id {name!r} of {table.name} does not name rows: {repeated[0]!r} stands in several or none"
            )
        if repeated:
            why = f"repeats {len(repeated):,} id(s), the first {repeated[0]!r}: rows go by their numbers"
            skipped.append((f"{name} of {table.name}", why))
        else:
            skipped.append((f"{name} of {table.name}", "names rows, and is not compared"))
        found.append(None if repeated else ids)
    return found, columns


def _compared(
    tables: Sequence[TextTable], left_out: Sequence[str], skipped: list[tuple[str, str]]
) -> list[tuple[str, ...]]:
    """Return the columns to compare, as each table writes them."""
    for name in left_out:
        if not any(name in table.columns for table in tables):
            column_named(tables[0], name)
    kept = [table.without(left_out) for table in tables]
    for table in kept:
        if not table.columns:
            raise DataError(f"{table.name} has no column to compare besides {', '.join(left_out)}")
    names: list[tuple[str, ...]]
    if len(kept) == 1:
        names = [(name,) for name in kept[0].columns]
    else:
        names = [tuple(pair) for pair in common_columns(kept[0], kept[1])]
        for place, table in enumerate(kept):
            alone = [name for name in table.columns if name not in {pair[place] for pair in names}]
            skipped.extend((f"{name} of {table.name}", "the other table has no such column") for name in alone)
    filled = [
        ours for ours in names
        if all((table.columns[name] != "").any() for table, name in zip(tables, ours, strict=True))
    ]  # fmt: skip
    skipped.extend((ours[0], "no value at all in a table") for ours in names if ours not in filled)
    if not filled:
        raise DataError(f"every column that could be compared is empty: {', '.join(ours[0] for ours in names)}")
    return filled


def _as_before(names: list[tuple[str, ...]], wanted: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the columns that an earlier run compared, in its order."""
    known = {ours[0].casefold(): ours for ours in names}
    lacking = [name for name in wanted if name.casefold() not in known]
    if lacking:
        raise DataError(f"these records have no value in {', '.join(lacking)}, which the run compares")
    return [known[name.casefold()] for name in wanted]


def _pairs(known: Known, chosen: npt.NDArray[np.int64], first: int, part: Part) -> Pairs:
    """Return the known pairs of the chosen records: of a part, that part's alone."""
    place = {int(row): number for number, row in enumerate(chosen)}
    side = np.ones(len(known.match), dtype=bool) if part == "all" else (known.split == "test") == (part == "test")
    rows = [
        (place[left], place[right + first], match, split)
        for left, right, match, split in zip(
            known.left[side].tolist(),
            known.right[side].tolist(),
            known.match[side].tolist(),
            known.split[side].tolist(),
            strict=True,
        )
        if left in place and right + first in place
    ]
    left, right, match, split = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Pairs(
        torch.tensor(left, dtype=torch.int64),
        torch.tensor(right, dtype=torch.int64),
        torch.tensor(match, dtype=torch.bool),
        np.array(split, dtype=str),
    )
