"""Values of tables that are no text files, written as texts: short numbers, dates as ISO 8601 has them."""

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.data.tables.arrow import columns_in
from withstand.data.tables.frame import is_frame

Texts: TypeAlias = npt.NDArray[np.object_]
"""A column's fields, `(N,)`, each a string; "" where a value is missing."""
_EXACT = 2.0**53


def texts_in(data: Any) -> tuple[dict[str, Texts], dict[str, str]]:
    """Return the columns of a table in memory as texts, and of those that have none what they hold.

    Strings stay as they stand: "1.50" is no 1.5. A time at midnight of every row is a date.

    Args:
        data: a data frame of any library, a mapping of columns, an array with named fields or with two axes.

    Raises:
        DataError: another object, no column of texts, no rows, columns of unequal length or that share a name.
    """
    found: dict[str, Texts] = {}
    unread: dict[str, str] = {}
    for name, column in _columns(data):
        values = [None if type(value).__name__ == "NAType" else value for value in _values(column)]  # pandas' NA
        odd = next((value for value in values if not isinstance(value, _KNOWN)), None)
        if odd is not None:
            unread[name] = f"objects of type {type(odd).__name__}"
            continue
        days = bool(values) and all(_is_midnight(value) for value in values)
        found[name] = np.empty(len(values), dtype=object)
        found[name][:] = [_word(value, days=days) for value in values]
    lengths = {name: len(texts) for name, texts in found.items()}
    if not lengths or not all(lengths.values()):
        told = "".join(f"; {name!r} holds {what}" for name, what in list(unread.items())[:3])
        raise DataError(f"the table has {len(lengths) + len(unread)} columns and no rows of texts{told}")
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise DataError(f"column {name!r} has {length} rows, column {first!r} has {lengths[first]}")
    return found, unread


_KNOWN = (
    *(str, bool, int, float, Decimal, datetime.date, datetime.time, datetime.timedelta, type(None)),
    *(np.bool_, np.integer, np.floating, np.datetime64, np.timedelta64),
)


def _columns(data: Any) -> list[tuple[str, Any]]:
    if is_frame(data):
        return list(columns_in(data))
    if isinstance(data, np.ndarray) and data.dtype.names:
        return [(name, data[name]) for name in data.dtype.names]
    if isinstance(data, np.ndarray) and data.ndim == 2:
        return [(f"column {place}", data[:, place]) for place in range(data.shape[1])]
    if isinstance(data, Mapping):
        return [(str(name), column) for name, column in data.items()]
    raise DataError(
        f"a {type(data).__name__} is no table: give a file, a data frame, a mapping of columns, or an array with rows "
        "and columns"
    )


def _values(column: Any) -> Sequence[Any]:
    """Return a column's values as Python's or NumPy's objects, which keep a number's own precision."""
    if hasattr(column, "to_pylist"):
        return _of_arrow(column)
    if hasattr(column, "to_numpy"):  # a series in a mapping
        column = column.to_numpy()
    held = column if isinstance(column, np.ndarray) else None
    if held is not None and held.dtype.kind in "Mm" and held.ndim == 1:
        return list(held.astype(f"{held.dtype.kind}8[us]").tolist())
    return list(column)


def _of_arrow(column: Any) -> Sequence[Any]:
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _of_arrow(column.cast(kind.value_type))
    if types.is_timestamp(kind):
        column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    elif types.is_duration(kind):
        column = column.cast(pyarrow.duration("us"), safe=False)
    elif types.is_time(kind):
        column = column.cast(pyarrow.time64("us"), safe=False)
    values = column.to_pylist()
    if types.is_float32(kind) or types.is_float16(kind):
        narrow = kind.to_pandas_dtype()
        values = [None if value is None else narrow(value) for value in values]
    return list(values)


def _is_midnight(value: Any) -> bool:
    if value is None or value != value:
        return True
    if not isinstance(value, datetime.datetime):
        return False
    return value.tzinfo is None and value.time() == datetime.time()


def _word(value: Any, *, days: bool) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating):
        whole = float(value)
        return str(int(whole)) if whole.is_integer() and abs(whole) <= _EXACT else str(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if days else value.isoformat(" ")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
