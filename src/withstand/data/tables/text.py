"""Tables in text files: fields become columns of numbers or words, and every decision on the way is said."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError
from withstand.data.tables.arrow import field_words, holds_text, plain_values, text_values
from withstand.data.tables.cells import Cells, read_cells
from withstand.data.tables.columns import Columns
from withstand.data.tables.dialect import COMMA_NUMBER
from withstand.data.tables.frame import MISSING, Frame, Numbers, Values, Words, checked, maybe_thousands, short
from withstand.data.tables.header import has_header
from withstand.data.tables.written.reading import Reading, Written
from withstand.data.tables.written.settle import Evidence, listed, settle

_THOUSANDS = r"[+-]?[1-9]\d{0,2}(,\d{3})+"


def read_text(path: Path, reading: Reading) -> tuple[Frame, str]:
    """Return a file's columns, and what is to be said of the reading.

    Raises:
        DataError: all that `read_cells` and `has_header` refuse, repeated names, a header and no rows.
    """
    cells = read_cells(path, reading.delimiter, encoding=reading.encoding)
    read = dict[int, Numbers]()
    names, columns, said = name_columns(path, cells, reading.header, reading.known, read)
    dialect = cells.dialect
    del cells  # so that nothing holds a column's text once its values are there
    frame = read_fields(names, columns, reading, semicolons=dialect.delimiter == ";", read=read)
    return replace(frame, notes=()), "; ".join((str(dialect), said, *frame.notes))


def read_fields(
    names: Sequence[str],
    columns: list[Any],
    reading: Reading,
    *,
    semicolons: bool = False,
    read: dict[int, Numbers] | None = None,
) -> Frame:
    """Return columns of fields as numbers, dates and words, with what is to be said of them as its notes.

    Args:
        names: of the columns.
        columns: Arrow strings in chunks; emptied on the way.
        reading: what is said of them.
        semicolons: whether semicolons separate fields.
        read: values of columns, by place, that are known to be plain numbers; emptied on the way.
    """
    from pyarrow import default_memory_pool

    broken = _with_breaks(names, columns)
    found, written, open_ = Columns(), dict[str, Written](), dict[str, Words]()
    for place, name in enumerate(names):
        numbers = None if read is None else read.pop(place, None)
        values, how = _values(columns[place], reading, as_words=name in reading.words, numbers=numbers)
        columns[place] = None
        found[name] = values
        if how is not None:
            written[name] = how
        if isinstance(values, Words) and name not in reading.words:
            open_[name] = values
    commas = [name for name, how in written.items() if how.decimal == ","]
    evidence = Evidence(
        points=bool(open_) and any(_has_decimals(found[name]) for name in names if name not in written),
        commas=bool(commas),
        semicolons=semicolons,
    )
    turned = settle(open_, reading, evidence)
    for name, numbers in turned.values.items():
        found[name] = numbers
    notes = [*([f"decimal commas in {listed(commas)}"] if commas else []), *turned.notes]
    if broken:
        notes.append(f"line breaks inside fields of {listed(broken)}")
    default_memory_pool().release_unused()
    return checked(found, {**written, **turned.written}, tuple(notes))


def _values(
    column: Any, reading: Reading, *, as_words: bool, numbers: Numbers | None = None
) -> tuple[Values, Written | None]:
    """Return a column's values where it tells them by itself, else its words, and how what it tells is written."""
    if as_words:
        return field_words(column), None
    values, dated = plain_values(column) if numbers is None else (numbers, False)
    if dated:
        return values, Written(date="ymd")
    if isinstance(values, Words):
        if reading.decimal != "." and _surely_commas(column):
            return text_values(column, ","), Written(",")
    elif maybe_thousands(values, column):
        return field_words(column), None
    return values, None


def _surely_commas(column: Any) -> bool:
    return _all_match(column, COMMA_NUMBER, ",") and not _all_match(column, rf"{_THOUSANDS}|[+-]?\d+", ",")


def _has_decimals(values: Values) -> bool:
    return not isinstance(values, Words) and bool((np.trunc(values) != values)[~np.isnan(values)].any())


def name_columns(
    path: Path, cells: Cells, header: bool | None, known: Sequence[str] = (), read: dict[int, Numbers] | None = None
) -> tuple[list[str], list[Any], str]:
    """Return the columns' names, their fields below the header, and whether there was one, in words.

    Args:
        path: the file.
        cells: its fields.
        header: whether the first line names the columns; None finds out.
        known: as for `has_header`.
        read: likewise; of the fields that are returned.

    Raises:
        DataError: a doubtful header, repeated names, no rows.
    """
    first = cells.first
    below = [column.slice(1) for column in cells.columns]
    try:
        named = has_header(first, below, known, read) if header is None else header
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from None
    if not named:
        if read:
            read.clear()  # they lack the first line
        return [f"column {place + 1}" for place in range(len(first))], cells.columns, "no header: columns are numbered"
    names = [name or f"column {place + 1}" for place, name in enumerate(first)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{str(path)!r} has more than one column {short(repeated[0])}: rename them in its first line")
    if not len(below[0]):
        raise DataError(f"{str(path)!r} has a header and no rows")
    bare = [name for name, written in zip(names, first, strict=True) if not written]
    called = f", all but {len(bare)}, which its place names: {listed(bare)}" if bare else ""
    return names, below, f"the first line names the columns{called}"


def _all_match(column: Any, pattern: str, somewhere: str) -> bool:
    """Say whether all fields that are not missing match a pattern, and some field holds another."""
    from pyarrow import array, compute

    if not any(holds_text(chunk, somewhere) for chunk in column.chunks):
        return False
    for chunk in column.chunks:
        texts = compute.utf8_trim_whitespace(chunk)
        fits = compute.or_(
            compute.match_substring_regex(texts, f"^({pattern})$"), compute.is_in(texts, array(MISSING))
        )  # fmt: skip
        if not compute.all(fits, min_count=0).as_py():
            return False
    return True


def _with_breaks(names: Sequence[str], columns: Sequence[Any]) -> list[str]:
    return [
        name
        for name, column in zip(names, columns, strict=True)
        if any(holds_text(chunk, "\n") for chunk in column.chunks)
    ]
