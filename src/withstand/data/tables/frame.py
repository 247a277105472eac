"""Frame: a table's columns in memory, whatever held them: an array, a mapping, a data frame, Arrow, text.

What differs stays different: a column is numbers only where double precision holds each of its values, so that codes of
17 digits and codes with leading zeros are words.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.data.tables.columns import Chosen, Columns
from withstand.data.tables.distinct import Codes, narrow
from withstand.data.tables.written.numbers import look
from withstand.data.tables.written.reading import Written

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
        typed: the column's type says that they are categories, whatever they look like.
    """

    codes: Codes
    names: Sequence[str]
    typed: bool = False

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Words":
        return replace(self, codes=self.codes[rows])

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, codes: Codes, names: Sequence[str], *, gone: Sequence[str] = MISSING, typed: bool = False) -> "Words":
        """Return words from codes into any names: stripped, sorted, equal ones as one, those in `gone` as -1.

        Of words whose missing ones are known, `gone` is the empty word alone, and they are not stripped.
        """
        stripped = [name.strip() for name in names] if gone is MISSING else list(names)
        known = sorted(set(stripped) - set(gone))
        place = {name: number for number, name in enumerate(known)}
        # The last entry is what code -1 reads: a missing value.
        moved = np.array([*(place.get(name, -1) for name in stripped), -1], dtype=narrow(len(known)))
        return cls(moved[codes], tuple(known), typed)


Values: TypeAlias = Numbers | Words


@dataclass(frozen=True)
class Frame:
    """Columns of equal length, by name: numbers with NaN where a value is missing, or words.

    Attributes:
        columns: what can be learnt from.
        unread: what the other columns hold, such as lists.
        written: how columns are written that hold dates, or numbers with decimal commas or signs.
        notes: what is to be told of the reading.
    """

    columns: Mapping[str, Values]
    unread: dict[str, str] = field(default_factory=dict)
    written: Mapping[str, Written] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def rows(self, chosen: npt.NDArray[Any]) -> "Frame":
        """Return the chosen rows, by mask or places; nothing is copied before a column is asked for."""
        if chosen.dtype == bool and chosen.all():
            return self
        return replace(self, columns=Chosen(self.columns, chosen))

    def only(self, names: Iterable[str]) -> "Frame":
        """Return some of the columns, so that the others can go."""
        if isinstance(self.columns, Columns):
            return replace(self, columns=self.columns.only(names))
        return replace(self, columns={name: self.columns[name] for name in names})

    def numbered(self) -> "Frame":
        """Return the columns named by their place: x0, x1, ..."""
        names = {name: f"x{place}" for place, name in enumerate(self.columns)}
        written = {names[name]: how for name, how in self.written.items() if name in names}
        return replace(self, columns={names[name]: self.columns[name] for name in names}, written=written)

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


def frame_of(data: object, words: Container[str] = ()) -> Frame:
    """Return the columns of a two-axis array, a mapping of columns, or any data frame.

    Args:
        data: one of these.
        words: names of columns whose strings stay as they are, though they may all write numbers: 1.10 is not 1.1.

    Raises:
        DataError: another object, no rows, no column of numbers, words, booleans or times, columns of unequal length
            or that share a name.
        MissingExtra: a data frame, and pyarrow is not installed.
    """
    if isinstance(data, Frame):
        return data
    if is_frame(data):
        from withstand.data.tables.arrow import arrow_columns

        return checked(*arrow_columns(data, words))
    columns: dict[str, npt.NDArray[Any]] | None = None
    if isinstance(data, np.ndarray) and data.dtype.names:
        columns = {name: data[name] for name in data.dtype.names}
    elif isinstance(data, np.ndarray) and data.ndim == 2:
        columns = {f"column {place}": data[:, place] for place in range(data.shape[1])}
    elif isinstance(data, Mapping):
        columns = {str(name): _array(column) for name, column in data.items()}
    if columns is not None:
        dates = {name: Written(date="ymd") for name, column in columns.items() if column.dtype.kind == "M"}
        return checked({name: values_of(column, as_words=name in words) for name, column in columns.items()}, dates)
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


def values_of(column: npt.NDArray[Any], *, as_words: bool = False) -> Values | str:
    """Return one column, numbers or words, from an array, or what else it holds; None and NaN are missing.

    Args:
        column: `(N,)`.
        as_words: strings stay as they are, though they may all write numbers.
    """
    if column.ndim != 1:
        return f"values of shape {column.shape[1:]}"
    if column.dtype.kind in "iu":
        return whole_numbers(column)
    if column.dtype.kind == "f":
        return column.astype(np.float64)
    if column.dtype.kind in "Mm":
        return seconds(column)
    if column.dtype.kind == "b":
        return Words.of(column.astype(np.int64), ("false", "true"), typed=True)
    if column.dtype.kind not in "OU":
        return str(column.dtype)
    kept = [None if value is None or value != value else value for value in column.tolist()] if _plain(column) else None
    if kept is None:
        kinds = sorted({type(value).__name__ for value in column.tolist() if value is not None})
        return f"objects of type {', '.join(kinds[:3])}"
    if column.dtype.kind == "O" and all(value is None or _is_number(value) for value in kept):
        return _numbers(kept)
    names, codes = np.unique(np.array(["" if value is None else str(value) for value in kept]), return_inverse=True)
    found = Words.of(codes.astype(np.int64), names.tolist())
    return found if as_words else as_numbers(found)


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
    return Words.of(codes.astype(np.int64), [str(value) for value in held.tolist()], typed=True)


def as_numbers(words: Words) -> Values:
    """Return numbers where every word is one that double precision holds, and else the words.

    Texts such as 1.234 alone stay words too, for they may be thousands: `settle` decides.
    """
    if words.typed:
        return words
    found: list[float] = []
    for name in words.names:
        value = number(name)
        if value is None:
            return words
        found.append(value)
    if not found:
        return np.full(len(words), np.nan)
    read = np.array([*found, np.nan], dtype=np.float64)
    return words if maybe_thousands(read[:-1], words.names) else read[words.codes]


def maybe_thousands(values: Numbers, texts: Any) -> bool:
    """Say whether points in the texts of these numbers, all as in 1.234, may part thousands.

    Args:
        values: distinct ones, or all.
        texts: theirs; or Arrow's column of them, with missing ones.
    """
    some = _broken(values[:1024])
    if len(some) and not _three_decimals(some):  # most columns show it soon
        return False
    broken = _broken(values)
    # Few columns go on from here, where each text is looked at.
    if len(broken) and not _three_decimals(broken):
        return False
    if hasattr(texts, "to_pylist"):
        from pyarrow import compute

        if not len(broken) and not compute.any(compute.match_substring(texts, ".")).as_py():
            return False
        texts = (text for one in texts.unique().to_pylist() if (text := one.strip()) not in MISSING)
    seen = look(texts)
    return seen is not None and seen.open == "."


def _broken(values: Numbers) -> Numbers:
    """Return the sizes of numbers that are not whole."""
    broken = values[np.trunc(values) != values]
    found: Numbers = np.abs(broken[~np.isnan(broken)]).astype(np.float64)
    return found


def _three_decimals(broken: Numbers) -> bool:
    """Say whether numbers all stand between 1 and 1000, and have three decimals."""
    if broken.min() < 1 or broken.max() >= 1000:
        return False
    return bool(np.abs(broken * 1000 - np.round(broken * 1000)).max() < 1e-6)


def rounded(words: Words) -> Numbers | None:
    """Return numbers where every word is written as one, however many digits it has; None where one is not."""
    if not all(_NUMBER.fullmatch(name) for name in words.names):
        return None
    return np.array([*map(float, words.names), np.nan])[words.codes]


_NUMBER, _CODE, _INFINITY = (re.compile(pattern, re.ASCII) for pattern in (NUMBER, CODE, INFINITY))


def number(text: str) -> float | None:
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


def checked(
    columns: Mapping[str, Values | str], written: Mapping[str, Written] | None = None, notes: tuple[str, ...] = ()
) -> Frame:
    """Return columns as a frame; those that hold something else are named in `unread`.

    Args:
        columns: what was read.
        written: how, as for `Frame`.
        notes: likewise.

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
    return Frame(held, unread, written or {}, notes)


def _unread(columns: Mapping[str, Values | str]) -> dict[str, str]:
    return {name: values for name, values in columns.items() if isinstance(values, str)}


def short(text: str, most: int = 60) -> str:
    """Return a text in quotes, its beginning where it is long."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")
