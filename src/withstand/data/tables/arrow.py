"""Columns of Arrow as numbers or words: of data frames with their own types, and of text."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from withstand.core.errors import DataError, MissingExtra
from withstand.data.tables.distinct import encode, without
from withstand.data.tables.frame import (
    CODE,
    DATE,
    INFINITY,
    MISSING,
    NUMBER,
    Numbers,
    Values,
    Words,
    as_numbers,
    is_exact,
    seconds,
    values_of,
    whole_numbers,
)
from withstand.data.tables.written.reading import Written


def arrow_columns(data: Any, words: Container[str] = ()) -> tuple[dict[str, Values | str], dict[str, Written]]:
    """Return a data frame's columns, or what else they hold, and which of them are dates; `words` as for `frame_of`.

    Raises:
        DataError: columns that share a name, a data frame that cannot be read.
        MissingExtra: pyarrow is not installed.
    """
    import pyarrow

    found: dict[str, Values | str] = {}
    dates: dict[str, Written] = {}
    for name, column in columns_in(data):
        try:
            if not isinstance(column, np.ndarray):
                found[name] = arrow_values(column, as_words=name in words)
                dates |= _dated({name: column})
                continue
        except (pyarrow.ArrowException, NotImplementedError, ValueError, TypeError):
            column = np.array([*column.to_pylist(), None], dtype=object)[:-1]
        found[name] = values_of(column, as_words=name in words)
    return found, dates


def columns_in(data: Any) -> Iterable[tuple[str, Any]]:
    """Return a data frame's columns by name as Arrow holds them, and as an array of objects one that it cannot hold.

    Raises:
        DataError: columns that share a name, a data frame that cannot be read.
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import interchange
    except ImportError as error:
        raise MissingExtra("reading data frames", "pyarrow", "table") from error
    try:
        if type(data).__module__.partition(".")[0] == "pandas":
            data = data if hasattr(data, "columns") else data.to_frame()
            _refuse_repeated([str(name) for name in data.columns])
            return _pandas_columns(data)
        table = pyarrow.table(data) if hasattr(data, "__arrow_c_stream__") else interchange.from_dataframe(data)
    except (pyarrow.ArrowException, NotImplementedError, ValueError, TypeError) as error:
        raise DataError(f"the data frame cannot be read: {' '.join(str(error).split())}") from None
    _refuse_repeated(table.column_names)
    return zip(table.column_names, table.columns, strict=True)


def _dated(columns: Mapping[str, Any]) -> dict[str, Written]:
    from pyarrow import types

    return {
        name: Written(date="ymd")
        for name, column in columns.items()
        if types.is_timestamp(column.type) or types.is_date(column.type)
    }


def _pandas_columns(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns of a pandas frame one by one, for one that Arrow cannot hold is no reason to drop the rest."""
    import pyarrow

    for place, name in enumerate(map(str, data.columns)):
        series = data.iloc[:, place]
        try:
            column = pyarrow.array(series, from_pandas=True)
            yield name, column if isinstance(column, pyarrow.ChunkedArray) else pyarrow.chunked_array([column])
        except (pyarrow.ArrowException, NotImplementedError, ValueError, TypeError):
            yield name, series.to_numpy(dtype=object)


def _refuse_repeated(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"the table has more than one column {repeated[0]!r}: rename them")


def arrow_values(column: Any, *, as_words: bool = False) -> Values | str:
    """Return one Arrow column as numbers or words, or what else it holds.

    A dictionary of strings or whole numbers is words, for whoever made it said that they are categories; other strings
    that all write numbers become numbers.
    """
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_dictionary(kind):
        plain = column.cast(kind.value_type)
        named = _is_text(kind.value_type) or types.is_integer(kind.value_type)
        return replace(_words(plain.cast(pyarrow.string())), typed=True) if named else arrow_values(plain)
    if types.is_boolean(kind):
        return replace(_words(column.cast(pyarrow.string())), typed=True)
    if types.is_integer(kind):
        numbers = whole_numbers(column.fill_null(0).to_numpy())
        gone = column.is_null().to_numpy()
        if isinstance(numbers, Words):
            return replace(numbers, codes=np.where(gone, -1, numbers.codes))
        return np.where(gone, np.nan, numbers)
    if types.is_floating(kind):
        return np.array(column.cast(pyarrow.float64()).to_numpy(), dtype=np.float64)
    if types.is_decimal(kind):
        return values_of(np.array([*column.to_pylist(), None], dtype=object)[:-1])
    if types.is_timestamp(kind) or types.is_date(kind):
        return seconds(column.cast(pyarrow.timestamp("us"), safe=False).to_numpy())
    if types.is_duration(kind):
        return seconds(column.cast(pyarrow.duration("us"), safe=False).to_numpy())
    if types.is_time(kind):
        since = column.cast(pyarrow.time64("us"), safe=False).cast(pyarrow.int64())
        return np.array(since.cast(pyarrow.float64()).to_numpy(), dtype=np.float64) / 1e6
    if _is_text(kind):
        found = _words(column.cast(pyarrow.string()))
        return found if as_words else as_numbers(found)
    return str(kind)


def _is_text(kind: Any) -> bool:
    import pyarrow
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or kind == pyarrow.string_view())


def _words(column: Any) -> Words:
    """Return strings whose missing values are known."""
    return Words(*without(*encode(column.fill_null(""), strip=False), ("",)))


def text_values(column: Any, decimal: str = ".") -> Values:
    """Return a column of fields as numbers, dates in seconds since 1970, or words.

    Args:
        column: Arrow strings, in chunks; `MISSING` says which stand for a missing value.
        decimal: the mark before decimals; "" reads no numbers.
    """
    return plain_values(column, decimal)[0]


def plain_values(column: Any, decimal: str = ".") -> tuple[Values, bool]:
    """Return what `text_values` does, and whether these are dates."""
    numbers = _converted(column, partial(_numbers, decimal=decimal), fast=decimal == ".") if decimal else None
    dated = numbers is None
    if numbers is None:
        numbers = _converted(column, partial(_dates, zones=set()))
    return (field_words(column), False) if numbers is None else (numbers, dated)


def field_words(column: Any) -> Words:
    """Return a column of fields as words, as they stand but for padding."""
    return Words(*without(*encode(column), MISSING))


def _converted(column: Any, convert: Callable[[Any], Any], *, fast: bool = False) -> Numbers | None:
    """Return a column's values, NaN where one is missing; None where a chunk has texts that cannot be converted.

    Args:
        column: Arrow strings in chunks.
        convert: reads texts, none of them missing.
        fast: chunks that `bare_numbers` reads are numbers, and `convert` would read them alike.
    """
    import pyarrow
    from pyarrow import compute

    read: Numbers = np.empty(len(column))
    first = 0
    for chunk in column.chunks:
        if fast and (at_once := bare_numbers(chunk)) is not None:
            read[first : first + len(chunk)] = at_once
            first += len(chunk)
            continue
        texts = compute.utf8_trim_whitespace(chunk)
        held = compute.invert(compute.is_in(texts, pyarrow.array(MISSING)))
        values = convert(texts.filter(held))
        if values is None:
            return None
        read[first : first + len(chunk)] = _spread(values, held.to_numpy(zero_copy_only=False))
        first += len(chunk)
    return read


_READ_TOO = (b"n", b"N", b" ", b"\t", b"\n", b"\v", b"\f", b"\r")
"""What else is in texts that Arrow reads as floats: nan, inf and, in some versions, spaces around a number."""


def bare_column(column: Any) -> Numbers | None:
    """Return a column of fields as numbers where `bare_numbers` reads all that are not missing, else None."""
    return _converted(column, bare_numbers, fast=True)


def bare_numbers(texts: Any) -> Numbers | None:
    """Return texts of digits, signs, points and exponents alone as numbers, NaN for empty ones.

    What nearly all columns of numbers are, without a regular expression a text. Of such texts Arrow reads those that
    `NUMBER` matches, and no others.

    Args:
        texts: Arrow strings, one array, none of them null.

    Returns:
        None where a text holds anything else, or is one that `_numbers` takes for no number.
    """
    import pyarrow

    data, ends = strings_of(texts)
    lengths = np.diff(ends)
    held = lengths > 0
    if not held.all():
        found = bare_numbers(texts.filter(pyarrow.array(held)))
        return None if found is None else _spread(found, held)
    if not len(texts):
        return np.empty(0)
    try:
        values: Numbers = texts.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowInvalid:
        return None
    own = memoryview(data)[ends[0] : ends[-1]].tobytes()
    if any(letter in own for letter in _READ_TOO):
        return None
    begins = ends[:-1]
    signs = (data[begins] < ord(".")).nonzero()[0]
    if len(signs):
        begins = begins.copy()
        begins[signs] += 1
    zeros = ((data[begins] == ord("0")) & (begins + 1 < ends[1:])).nonzero()[0]
    behind = data[begins[zeros] + 1]
    if ((behind >= ord("0")) & (behind <= ord("9"))).any():
        return None
    if lengths.max() >= 16:
        long = texts.filter(pyarrow.array(lengths >= 16)).to_pylist()
        if not all(is_exact(text) for text in long if text.lstrip("+-").isdigit()):
            return None
    return values


def _spread(values: Numbers, held: Any) -> Numbers:
    found = np.full(len(held), np.nan)
    found[held] = values
    return found


def strings_of(texts: Any) -> tuple[Any, Any]:
    """Return the bytes `(B,)` of an Arrow array of strings, and where each begins and the last ends, `(N + 1,)`."""
    _, offsets, data = texts.buffers()
    first, count = texts.offset, len(texts)
    ends = np.frombuffer(offsets, np.int32)[first : first + count + 1] if offsets else np.zeros(1, np.int32)
    return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8), ends


def holds_text(texts: Any, text: str) -> bool:
    """Say whether letters stand anywhere in the strings of an Arrow array, be it across two of them.

    For a first look: a search through all bytes at once takes a tenth of one string by string.
    """
    data, ends = strings_of(texts)
    return text.encode() in memoryview(data)[ends[0] : ends[-1]].tobytes()


def _numbers(texts: Any, decimal: str) -> Any:
    """Return texts that all write numbers which double precision holds; None where one does not."""
    import pyarrow
    from pyarrow import compute

    if decimal == ",":
        texts = compute.replace_substring(texts, ",", ".")
    at_once = bare_numbers(texts)
    if at_once is not None:
        return at_once
    written = compute.match_substring_regex(texts, f"^({NUMBER}|{INFINITY})$")
    if not compute.all(written, min_count=0).as_py():
        return None
    if compute.any(compute.match_substring_regex(texts, f"^{CODE}$")).as_py():
        return None
    long = texts.filter(compute.match_substring_regex(texts, r"^[+-]?\d{16,}$"))
    if not all(is_exact(text) for text in long.to_pylist()):
        return None
    return texts.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)


def _dates(texts: Any, zones: set[bool]) -> Any:
    """Return texts that all are dates, as seconds since 1970; None where one is not, or only some have a zone.

    Args:
        texts: a chunk of a column.
        zones: whether dates of earlier chunks have one.
    """
    import pyarrow
    from pyarrow import compute

    if not compute.all(compute.match_substring_regex(texts, f"^{DATE}$"), min_count=0).as_py():
        return None
    zoned = compute.match_substring_regex(texts, r"(Z|[+-]\d{2}:?\d{2})$")
    zones |= set(compute.unique(zoned).to_pylist())
    if len(zones) > 1:
        return None
    fine = compute.any(compute.match_substring_regex(texts, r"\.\d{7,}")).as_py()
    kind = pyarrow.timestamp("ns" if fine else "us", "UTC" if compute.any(zoned).as_py() else None)
    try:
        return seconds(texts.cast(kind).to_numpy(zero_copy_only=False))
    except pyarrow.ArrowInvalid:  # 30 February
        return None
