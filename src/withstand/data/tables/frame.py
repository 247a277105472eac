"""Frame: a table's columns in memory, whatever held them: an array, a mapping, a data frame, Arrow, text.

What differs stays different: a column is numbers only where double precision holds each of its values, so that codes of
17 digits and codes with leading zeros are words.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.data.tables.columns import Chosen, Columns
from withstand.data.tables.distinct import Codes, narrow

Numbers: TypeAlias = npt.NDArray[np.float64]
MISSING = ("", "?", "NA", "N/A", "#N/A", "NaN", "nan", "<NA>", "null", "NULL")
"""Words that stand for a missing value, where text alone can say so."""
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
"""A number, as a regular expression that Python and Arrow read alike."""
DATE = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?"
"""A date, perhaps with a time, as ISO 8601 writes it."""
INFINITY = "[+-]?(inf|Inf|INF|infinity|Infinity)"
CODE = r"[+-]?0\d.*"
"""Digits after a leading zero: no number, for the zero would be lost."""
_EXACT = 2**53
"""Up to here double precision holds every whole number."""


@dataclass(frozen=True)
class Words:
    """A column of words.

    Attributes:
        codes: each row's place in `names`, of any signed type, `(N,)`; -1 where the value is missing.
        names: the words that occur, sorted.
    """

    codes: Codes
    names: Sequence[str]

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Words":
        return Words(self.codes[rows], self.names)

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, codes: Codes, names: Sequence[str], *, gone: Sequence[str] = MISSING) -> "Words":
        """Return words from codes into any names: stripped, sorted, equal ones as one, those in `gone` as -1.

        Of words whose missing ones are known, `gone` is the empty word alone, and they are not stripped.
        """
        stripped = [name.strip() for name in names] if gone is MISSING else list(names)
        known = sorted(set(stripped) - set(gone))
        place = {name: number for number, name in enumerate(known)}
        # The last entry is what code -1 reads: a missing value.
        moved = np.array([*(place.get(name, -1) for name in stripped), -1], dtype=narrow(len(known)))
        return cls(moved[codes], tuple(known))


Values: TypeAlias = Numbers | Words


@dataclass(frozen=True)
class Frame:
    """Columns of equal length, by name: numbers with NaN where a value is missing, or words.

    Attributes:
        columns: what can be learnt from.
        unread: what the other columns hold, such as lists.
    """

    columns: Mapping[str, Values]
    unread: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def rows(self, chosen: npt.NDArray[Any]) -> "Frame":
        """Return the chosen rows, by mask or places; nothing is copied before a column is asked for."""
        if chosen.dtype == bool and chosen.all():
            return self
        return Frame(Chosen(self.columns, chosen), self.unread)

    def only(self, names: Iterable[str]) -> "Frame":
        """Return some of the columns, so that the others can go."""
        if isinstance(self.columns, Columns):
            return Frame(self.columns.only(names), self.unread)
        return Frame({name: self.columns[name] for name in names}, self.unread)

    def numbered(self) -> "Frame":
        """Return the columns named by their place: x0, x1, ..."""
        return Frame({f"x{place}": values for place, values in enumerate(self.columns.values())}, self.unread)

    def without(self, name: str) -> "Frame":
        """Return the other columns."""
        return self.only(other for other in self.columns if other != name)


def missing(values: Values) -> npt.NDArray[np.bool_]:
    """Return where a column's values are missing, `(N,)`."""
    return values.codes < 0 if isinstance(values, Words) else np.isnan(values)


def distinct(values: Values) -> int:
    """Return how many different values a column has, missing ones not counted."""
    return int(occurring(values).sum()) if isinstance(values, Words) else len(np.unique(values[~np.isnan(values)]))


def occurring(words: Words) -> npt.NDArray[np.bool_]:
    """Return which of its names a column's rows hold, `(K,)`."""
    found = np.zeros(len(words.names) + 1, dtype=bool)
    found[words.codes] = True  # a missing value's code is -1, the last place
    return found[:-1]


def is_frame(data: object) -> bool:
    """Say whether an object is a data frame of any library, or an Arrow table."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__dataframe__")


def frame_of(data: object) -> Frame:
    """Return the columns of a two-axis array, a mapping of columns, or any data frame.

    Raises:
        DataError: another object, no rows, no column of numbers, words, booleans or times, columns of unequal length
            or that share a name.
        MissingExtra: a data frame, and pyarrow is not installed.
    """
    if isinstance(data, Frame):
        return data
    if is_frame(data):
        from withstand.data.tables.arrow import arrow_columns

        return checked(arrow_columns(data))
    if isinstance(data, np.ndarray) and data.dtype.names:
        return checked({name: values_of(data[name], name) for name in data.dtype.names})
    if isinstance(data, np.ndarray) and data.ndim == 2:
        return checked({f"column {place}": values_of(data[:, place], str(place)) for place in range(data.shape[1])})
    if isinstance(data, Mapping):
        return checked({str(name): values_of(_array(column), str(name)) for name, column in data.items()})
    shape = f" of shape {data.shape}" if isinstance(data, np.ndarray) else ""
    raise DataError(
        f"a {type(data).__name__}{shape} is no table: give a file, a data frame, a mapping of columns, or an array "
        "with rows and columns"
    )


def _array(column: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(column)
    except ValueError:  # lists of unequal length
        found = np.empty(len(column), dtype=object)
        found[:] = list(column)
        return found


def values_of(column: npt.NDArray[Any], name: str) -> Values | str:
    """Return one column, numbers or words, from an array of one axis, or what else it holds; None and NaN are missing.

    Raises:
        DataError: another number of axes.
    """
    if column.ndim != 1:
        raise DataError(f"column {name!r} has shape {column.shape}: a column has one axis")
    if column.dtype.kind in "iu":
        return whole_numbers(column)
    if column.dtype.kind == "f":
        return column.astype(np.float64)
    if column.dtype.kind in "Mm":
        return seconds(column)
    if column.dtype.kind == "b":
        return Words.of(column.astype(np.int64), ("false", "true"))
    if column.dtype.kind not in "OU":
        return str(column.dtype)
    kept = [None if value is None or value != value else value for value in column.tolist()] if _plain(column) else None
    if kept is None:
        kinds = sorted({type(value).__name__ for value in column.tolist() if value is not None})
        return f"objects of type {', '.join(kinds[:3])}"
    if column.dtype.kind == "O" and all(value is None or _is_number(value) for value in kept):
        return _numbers(kept)
    names, codes = np.unique(np.array(["" if value is None else str(value) for value in kept]), return_inverse=True)
    return as_numbers(Words.of(codes.astype(np.int64), names.tolist()))


def _plain(column: npt.NDArray[Any]) -> bool:
    """Say whether an array holds words, numbers, truth values and gaps alone."""
    return column.dtype.kind == "U" or all(
        value is None or isinstance(value, str | np.str_ | bool | np.bool_) or _is_number(value)
        for value in column.tolist()
    )


def _is_number(value: object) -> bool:
    kinds = int | float | Decimal | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool | np.bool_)


def _numbers(values: Sequence[Any]) -> Values:
    """Return numbers of any kind, or words where double precision would not tell them apart."""
    held = {value for value in values if value is not None}
    inexact = [value for value in held if not isinstance(value, float | np.floating) and abs(value) > _EXACT]
    if all(float(value) == value for value in inexact) and len(set(map(float, held))) == len(held):
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)
    names, codes = np.unique(np.array(["" if value is None else str(value) for value in values]), return_inverse=True)
    return Words.of(codes.astype(np.int64), names.tolist())


def whole_numbers(column: npt.NDArray[Any]) -> Values:
    """Return whole numbers as they are, or as words where double precision cannot hold one of them."""
    if not len(column) or (column.max() <= _EXACT and column.min() >= -_EXACT):
        return column.astype(np.float64)
    held, codes = np.unique(column, return_inverse=True)
    if all(int(float(value)) == value for value in held.tolist()):
        return column.astype(np.float64)
    return Words.of(codes.astype(np.int64), [str(value) for value in held.tolist()])


def as_numbers(words: Words) -> Values:
    """Return numbers where every word is one that double precision holds, and else the words."""
    found = [_number(name) for name in words.names]
    if None in found:
        return words
    read = np.array([*found, np.nan], dtype=np.float64)
    return read[words.codes] if words.names else np.full(len(words), np.nan)


def rounded(words: Words) -> Numbers | None:
    """Return numbers where every word is written as one, however many digits it has; None where one is not."""
    if not all(_NUMBER.fullmatch(name) for name in words.names):
        return None
    return np.array([*map(float, words.names), np.nan])[words.codes]


_NUMBER, _CODE, _INFINITY = (re.compile(pattern, re.ASCII) for pattern in (NUMBER, CODE, INFINITY))


def _number(text: str) -> float | None:
    """Return the number that a text writes; None for words, and for digits that a number would not keep."""
    if not (_NUMBER.fullmatch(text) or _INFINITY.fullmatch(text)) or _CODE.fullmatch(text):
        return None
    return float(text) if not text.lstrip("+-").isdigit() or is_exact(text) else None


def is_exact(text: str) -> bool:
    """Say whether double precision holds a whole number."""
    return len(text) <= 15 or (len(text) < 300 and int(float(text)) == int(text))


def seconds(column: npt.NDArray[Any]) -> Numbers:
    """Return times or spans of time as seconds, NaN where there is none."""
    unit = "datetime64[us]" if column.dtype.kind == "M" else "timedelta64[us]"
    found = column.astype(unit).astype(np.int64) / 1e6
    return np.where(np.isnat(column), np.nan, found)


def checked(columns: Mapping[str, Values | str]) -> Frame:
    """Return columns as a frame; those that hold something else are named in `unread`.

    Raises:
        DataError: no rows, none that can be read, or columns of unequal length.
    """
    unread = {} if isinstance(columns, Columns) else _unread(columns)
    held = columns if isinstance(columns, Columns) else Columns()
    for name, values in columns.items() if held is not columns else ():
        if not isinstance(values, str):
            held[name] = values
    if unread and not held:
        shown = "; ".join(f"{name!r} holds {what}" for name, what in list(unread.items())[:3])
        raise DataError(f"the table has no column of numbers, words, booleans or times: {shown}")
    lengths = held.lengths
    if not lengths or not all(lengths.values()):
        raise DataError(f"the table has {len(columns)} columns and no rows")
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise DataError(f"column {name!r} has {length} rows, column {first!r} has {lengths[first]}")
    return Frame(held, unread)


def _unread(columns: Mapping[str, Values | str]) -> dict[str, str]:
    return {name: values for name, values in columns.items() if isinstance(values, str)}


def short(text: str, most: int = 60) -> str:
    """Return a text in quotes, its beginning where it is long."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")
