"""Tables of interactions: which column is the user, which the item, which the time.

Sizes: M interactions, U users, I items.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, nearest
from withstand.data.tables.encoding import beginning
from withstand.data.tables.files import is_table_file, read_file
from withstand.data.tables.frame import Frame, Values, Words, frame_of, is_frame, missing, number
from withstand.data.tables.written.reading import Reading
from withstand.data.tables.written.settle import settled

Whole: TypeAlias = npt.NDArray[np.int64]

USERS = ("user", "userid", "customer", "customerid", "visitor", "visitorid", "reviewer", "reviewerid", "member")
ITEMS = ("item", "itemid", "movie", "movieid", "product", "productid", "book", "bookid", "isbn", "article", "articleid",
         "song", "songid", "track", "trackid", "asin", "sku")  # fmt: skip
TIMES = ("timestamp", "time", "date", "datetime", "unixreviewtime", "ts")
VALUES = ("rating", "score", "stars", "event", "weight", "count", "quantity", "clicks")


@dataclass(frozen=True)
class Columns:
    """What each column is.

    Attributes:
        user: the column that names who.
        item: the column that names what.
        time: the column that says when; None without.
        value: the column that says how much it was liked; None without.
    """

    user: str
    item: str
    time: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class Interactions:
    """Who took what.

    Attributes:
        user: each interaction's place in `users`, `(M,)`.
        item: the item's name, its place in `items`, `(M,)`.
        time: float64 `(M,)`, None where nobody knows.
        users: names.
        items: names of those that occur.
        notes: what had to be decided, in words.
    """

    user: Whole
    item: Whole
    time: npt.NDArray[np.float64] | None
    users: tuple[str, ...]
    items: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.user)


def columns_of(names: Iterable[str]) -> Columns | None:
    """Return what the columns are where that is certain: one user, one item, and at most a value and a time beside."""
    found: dict[str, list[str]] = {"user": [], "item": [], "time": [], "value": []}
    for name in names:
        bare = _bare(name)
        kinds = {"user": USERS, "item": ITEMS, "time": TIMES, "value": VALUES}
        kind = next((kind for kind, known in kinds.items() if bare in known), None)
        if kind is None:
            return None
        found[kind].append(name)
    if len(found["user"]) != 1 or len(found["item"]) != 1 or len(found["time"]) > 1 or len(found["value"]) > 1:
        return None
    return Columns(found["user"][0], found["item"][0], *(next(iter(found[kind]), None) for kind in ("time", "value")))


def read_interactions(
    data: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    least: float | None = None,
) -> tuple[Interactions, Columns]:
    """Return the interactions that a table holds, each pair of user and item once, and which columns they are.

    Args:
        data: a file or a data frame.
        user: the column of users; found by its name if None, as the others.
        item: of items.
        time: of times.
        least: the least value, a rating say, from which an interaction counts; None for all.

    Raises:
        DataError: columns that cannot be told, a missing user or item, values that are no numbers.
    """
    frame = read_named(data, [name for name in (user, item) if name is not None], (*USERS, *ITEMS))
    columns = _chosen(frame, user, item, time)
    kept = np.ones(len(frame), dtype=bool)
    notes: list[str] = []
    for name in (columns.user, columns.item):
        gone = missing(frame.columns[name])
        if gone.any():
            notes.append(f"{int(gone.sum()):,} rows without a {name} left out")
        kept &= ~gone
    if least is not None:
        if columns.value is None or isinstance(frame.columns[columns.value], Words):
            raise DataError(f"least={least} is of a column of ratings, and the table has none of numbers")
        values = np.asarray(frame.columns[columns.value])
        low, gone = values < least, np.isnan(values)
        notes.append(f"{int((low & kept).sum()):,} interactions below {least:g} left out, by column {columns.value!r}")
        if (gone & kept).any():
            notes.append(f"{int((gone & kept).sum()):,} without a {columns.value} left out")
        kept &= ~(low | gone)
    when = None if columns.time is None else frame.columns[columns.time]
    if isinstance(when, Words):
        raise DataError(f"column {columns.time!r} holds words such as {when.names[0]!r}, no times")
    if when is not None and np.isnan(when[kept]).any():
        notes.append(f"column {columns.time!r} lacks times: none is used")
        when = None
    if not kept.any():
        raise DataError("no interaction is left")
    users, who = ids_of(frame.columns[columns.user])
    items, what = ids_of(frame.columns[columns.item])
    who, what = who[kept], what[kept]
    at = None if when is None else when[kept]
    # Each pair once, at its first time.
    order = np.lexsort((np.arange(len(who)) if at is None else at, what, who))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(who[order]) != 0) | (np.diff(what[order]) != 0)
    if not fresh.all():
        notes.append(f"{int((~fresh).sum()):,} repeated interactions count once")
    rows = np.sort(order[fresh])
    who, users = _compact(who[rows], users)
    what, items = _compact(what[rows], items)
    return Interactions(who, what, None if at is None else at[rows], users, items, tuple(notes)), columns


def is_interactions(data: object) -> bool:
    """Say whether a table, by its first line or its columns, is one of interactions: certain or not at all."""
    if is_frame(data) or isinstance(data, Frame):
        names = list(frame_of(data).columns)
    elif is_table_file(data) and Path(str(data)).expanduser().is_file():
        names = _first_line(Path(str(data)).expanduser())
    else:
        return False
    return columns_of(names) is not None


def names_of(values: Values) -> tuple[tuple[str, ...], Whole]:
    """Return the names that a column holds, whole numbers without a point, and each row's place there; -1 missing."""
    if isinstance(values, Words):
        return tuple(values.names), values.codes
    gone = np.isnan(values)
    held, codes = np.unique(np.where(gone, 0, values), return_inverse=True)
    names = tuple(str(int(value)) if value.is_integer() else repr(value) for value in held.tolist())
    return names, np.where(gone, -1, codes).astype(np.int64)


def ids_of(values: Values) -> tuple[tuple[str, ...], Whole]:
    """Return what `names_of` does of a column that names users or items.

    Where the column was left as it stands and holds numbers alone, 5.0 is 5, for tables that had gaps once write it so,
    and 1.10 is not 1.1; they come in the order of numbers.
    """
    names, codes = names_of(values)
    numbers = [number(name) for name in names] if isinstance(values, Words) else [None]
    if None in numbers:
        return names, codes
    shown = [_POINT_ZERO.sub("", name) for name in names]
    order = sorted(set(shown), key=lambda name: (float(name), name))
    place = {name: rank for rank, name in enumerate(order)}
    moved = np.array([*(place[name] for name in shown), -1], dtype=np.int64)
    return tuple(order), moved[codes]


@dataclass(frozen=True)
class _Ids:
    """Names of columns that name something: those that are said, and those that are known, however they are written."""

    said: Sequence[str]
    known: Sequence[str]

    def __contains__(self, name: object) -> bool:
        return name in self.said or _bare(str(name)) in self.known


def read_named(data: Any, said: Sequence[str], known: Sequence[str] = ()) -> Frame:
    """Return a table whose columns of names are the words that stand in its file: 2024-01-05 and 1E5 are no numbers.

    Args:
        data: a file or a data frame.
        said: names of such columns.
        known: what they are called too, in small letters without spaces or marks.
    """
    if isinstance(data, str | Path):
        return read_file(Path(data).expanduser(), Reading(words=_Ids(said, known)))[0]
    return settled(frame_of(data, _Ids(said, known)), Reading(words=_Ids(said, known)))


_POINT_ZERO = re.compile(r"(?<=\d)\.0*$")


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _compact(codes: Whole, names: tuple[str, ...]) -> tuple[Whole, tuple[str, ...]]:
    held, fresh = np.unique(codes, return_inverse=True)
    return fresh.astype(np.int64), tuple(names[place] for place in held.tolist())


def _chosen(frame: Frame, user: str | None, item: str | None, time: str | None) -> Columns:
    names = list(frame.columns)
    for name in (user, item, time):
        if name is not None and name not in names:
            raise DataError(f"there is no column {name!r}: {nearest(name, names)}")
    found: dict[str, str | None] = {"user": user, "item": item, "time": time, "value": None}
    kinds = {"user": USERS, "item": ITEMS, "time": TIMES, "value": VALUES}
    for kind, known in kinds.items():
        fits = [name for name in names if _bare(name) in known]
        if found[kind] is None:
            if len(fits) > 1 and kind != "value":
                raise DataError(f"columns {fits} may all be the {kind}: say which by {kind}=")
            found[kind] = fits[0] if fits else None
    if found["user"] is None or found["item"] is None:
        lacking = " and ".join(kind for kind in ("user", "item") if found[kind] is None)
        raise DataError(f"no column is known to be the {lacking} among {names[:8]}: say which by user= and item=")
    return Columns(found["user"], found["item"], found["time"], found["value"])


def _first_line(path: Path) -> list[str]:
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        try:
            lines = beginning(path).splitlines() or [""]
        except DataError:  # what reads it says why it is no text
            return []
        if re.fullmatch(r'"?sep=."?', lines[0], re.IGNORECASE):  # as Excel declares a separator
            lines = lines[1:] or [""]
        line = lines[0]
        mark = max(",\t;|", key=line.count)
        return [name.strip().strip("\"'") for name in line.split(mark)] if mark in line else []
    try:
        return list(read_file(path)[0].columns)
    except DataError:
        return []
