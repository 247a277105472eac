"""Frame: a table's columns in memory, whatever held them: an array, a mapping, a data frame, Arrow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, MissingExtra

Numbers: TypeAlias = npt.NDArray[np.float64]
MISSING = ("", "?", "NA", "N/A", "#N/A", "NaN", "nan", "<NA>", "null", "NULL")
"""Words that stand for a missing value."""


@dataclass(frozen=True)
class Words:
    """A column of words.

    Attributes:
        codes: each row's place in `names`, int64 `(N,)`; -1 where the value is missing.
        names: the words that occur, sorted.
    """

    codes: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Words":
        return Words(self.codes[rows], self.names)

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, codes: npt.NDArray[np.int64], names: Sequence[str]) -> "Words":
        """Return words from codes into any names: stripped, sorted, equal ones as one, missing ones as -1."""
        stripped = [name.strip() for name in names]
        known = sorted(set(stripped) - set(MISSING))
        place = {name: number for number, name in enumerate(known)}
        # The last entry is what code -1 reads: a missing value.
        moved = np.array([*(place.get(name, -1) for name in stripped), -1], dtype=np.int64)
        return cls(moved[codes], tuple(known))


Values: TypeAlias = Numbers | Words


@dataclass(frozen=True)
class Frame:
    """Columns of equal length, by name: numbers with NaN where a value is missing, or words."""

    columns: dict[str, Values]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def rows(self, chosen: npt.NDArray[Any]) -> "Frame":
        """Return the chosen rows, by mask or places."""
        return Frame({name: values[chosen] for name, values in self.columns.items()})

    def numbered(self) -> "Frame":
        """Return the columns named by their place: x0, x1, ..."""
        return Frame({f"x{place}": values for place, values in enumerate(self.columns.values())})

    def without(self, name: str) -> "Frame":
        """Return the other columns."""
        return Frame({other: values for other, values in self.columns.items() if other != name})


def missing(values: Values) -> npt.NDArray[np.bool_]:
    """Return where a column's values are missing, `(N,)`."""
    return values.codes < 0 if isinstance(values, Words) else np.isnan(values)


def distinct(values: Values) -> int:
    """Return how many different values a column has, missing ones not counted."""
    kept = values.codes[values.codes >= 0] if isinstance(values, Words) else values[~np.isnan(values)]
    return len(np.unique(kept))


def is_frame(data: object) -> bool:
    """Say whether an object is a data frame of any library, or an Arrow table."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__dataframe__")


def frame_of(data: object) -> Frame:
    """Return the columns of a two-axis array, a mapping of columns, or any data frame.

    Raises:
        DataError: another object, no rows, columns of unequal length, of a type that is none of numbers, words,
            booleans and times, or that share a name.
        MissingExtra: a data frame, and pyarrow is not installed.
    """
    if isinstance(data, Frame):
        return data
    if is_frame(data):
        return _checked(_from_arrow(_to_arrow(data)))
    if isinstance(data, np.ndarray) and data.dtype.names:
        return _checked({name: values_of(data[name], name) for name in data.dtype.names})
    if isinstance(data, np.ndarray) and data.ndim == 2:
        return _checked({f"column {place}": values_of(data[:, place], str(place)) for place in range(data.shape[1])})
    if isinstance(data, Mapping):
        return _checked({str(name): values_of(np.asarray(column), str(name)) for name, column in data.items()})
    shape = f" of shape {data.shape}" if isinstance(data, np.ndarray) else ""
    raise DataError(
        f"a {type(data).__name__}{shape} is no table: give a file, a data frame, a mapping of columns, or an array "
        "with rows and columns"
    )


def values_of(column: npt.NDArray[Any], name: str) -> Values:
    """Return one column, numbers or words, from an array of one axis; None and NaN are missing."""
    if column.ndim != 1:
        raise DataError(f"column {name!r} has shape {column.shape}: a column has one axis")
    if column.dtype.kind in "iuf":
        return column.astype(np.float64)
    if column.dtype.kind in "Mm":
        return _seconds(column)
    if column.dtype.kind == "b":
        return Words.of(column.astype(np.int64), ("false", "true"))
    gone = [value is None or (isinstance(value, float) and value != value) for value in column.tolist()]
    if column.dtype.kind == "O" and all(
        empty or isinstance(value, int | float | np.number) for value, empty in zip(column, gone, strict=True)
    ):
        return np.array([np.nan if empty else value for value, empty in zip(column, gone, strict=True)], np.float64)
    texts = np.array(["" if empty else str(value) for value, empty in zip(column, gone, strict=True)], dtype=np.str_)
    names, codes = np.unique(texts, return_inverse=True)
    return as_numbers(Words.of(codes.astype(np.int64), names.tolist()))


def as_numbers(words: Words) -> Values:
    """Return numbers where every word is one, and else the words."""
    try:
        read = np.array([float(name) for name in words.names] + [np.nan])
    except ValueError:
        return words
    return read[words.codes] if words.names else np.full(len(words), np.nan)


def _seconds(column: npt.NDArray[Any]) -> Numbers:
    """Return times as seconds, NaN where there is none."""
    unit = "datetime64[us]" if column.dtype.kind == "M" else "timedelta64[us]"
    seconds = column.astype(unit).astype(np.int64) / 1e6
    return np.where(np.isnat(column), np.nan, seconds)


def _to_arrow(data: Any) -> Any:
    try:
        import pyarrow
        from pyarrow import interchange
    except ImportError as error:
        raise MissingExtra("reading data frames", "pyarrow", "table") from error
    try:
        if type(data).__module__.partition(".")[0] == "pandas":
            data = data.rename(columns=str) if hasattr(data, "columns") else data.to_frame()
            return pyarrow.Table.from_pandas(data, preserve_index=False)
        if hasattr(data, "__arrow_c_stream__"):
            return pyarrow.table(data)
        return interchange.from_dataframe(data)
    except (pyarrow.ArrowException, NotImplementedError, ValueError, TypeError) as error:
        raise DataError(f"the data frame cannot be read: {' '.join(str(error).split())}") from None


def _from_arrow(table: Any) -> dict[str, Values]:
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise DataError(f"the table has more than one column {repeated[0]!r}: rename them")
    return {name: arrow_values(table.column(name), name) for name in table.column_names}


def arrow_values(column: Any, name: str) -> Values:
    """Return one Arrow column as numbers or words."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind):
        column, kind = column.cast(pyarrow.string()), pyarrow.string()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        numbers = column.cast(pyarrow.float64(), safe=False).to_numpy()
        return np.array(numbers, dtype=np.float64)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _seconds(column.cast(pyarrow.timestamp("us")).to_numpy())
    if types.is_string(kind) or types.is_large_string(kind) or kind == pyarrow.string_view():
        coded = column.cast(pyarrow.string()).combine_chunks().dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return as_numbers(Words.of(codes, coded.dictionary.to_pylist()))
    raise DataError(f"column {name!r} holds {kind}: numbers, words, booleans and times can be read; leave it out")


def _checked(columns: dict[str, Values]) -> Frame:
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or not all(lengths.values()):
        raise DataError(f"the table has {len(columns)} columns and no rows")
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise DataError(f"column {name!r} has {length} rows, column {first!r} has {lengths[first]}")
    for name, values in columns.items():
        if not isinstance(values, Words) and bool(np.isinf(values).any()):
            raise DataError(f"column {name!r} holds infinity, first in row {int(np.isinf(values).argmax())}")
    return Frame(columns)
