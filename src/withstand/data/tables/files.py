"""Tables in files: CSV with any of the usual delimiters, Parquet and Feather, read by Arrow."""

import csv
from pathlib import Path
from typing import Any

from withstand.core.errors import DataError, MissingExtra
from withstand.data.tables.frame import MISSING, Frame, frame_of

CSV = (".csv", ".tsv", ".txt")
SUFFIXES = (*CSV, ".parquet", ".pq", ".feather")
"""Endings of files that hold tables."""

_DELIMITERS = ",;\t|"
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def is_table_file(data: object) -> bool:
    """Say whether this names a file that holds a table, by its ending."""
    return isinstance(data, str | Path) and Path(data).suffix.lower() in SUFFIXES


def read_file(path: Path, delimiter: str | None = None) -> tuple[Frame, str]:
    """Return a file's columns, and what is to be said of the reading.

    Args:
        path: the file.
        delimiter: what separates a CSV's fields; None finds it among comma, semicolon, tab and bar.

    Raises:
        DataError: a missing or damaged file, ragged rows, a delimiter that does not separate.
        MissingExtra: pyarrow is not installed.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{str(path)!r} is no table: allowed are {', '.join(SUFFIXES)}")
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "pyarrow", "table") from error
    try:
        if path.suffix.lower() in CSV:
            table, note = _read_csv(path, delimiter)
        elif path.suffix.lower() == ".feather":
            from pyarrow import feather

            table, note = feather.read_table(path), ""
        else:
            from pyarrow import parquet

            table, note = parquet.read_table(path), ""
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())[:200]}") from None
    try:
        return frame_of(table), note
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from None


def _read_csv(path: Path, delimiter: str | None) -> tuple[Any, str]:
    import pyarrow
    from pyarrow import csv as arrow_csv

    lines = _first_lines(path)
    separator = _find_delimiter(lines) if delimiter is None else _usable(delimiter)
    first = next(csv.reader(lines, delimiter=separator))
    if len(first) == 1 and _find_delimiter(lines) != separator:
        other = _find_delimiter(lines)
        raise DataError(
            f"{str(path)!r} read with delimiter {separator!r} has one column, {first[0][:60]!r}: "
            f"it seems separated by {_NAMES[other]}s, delimiter={other!r}"
        )
    headless = any(map(_is_number, first))
    names = [f"column {place + 1}" for place in range(len(first))] if headless else [name.strip() for name in first]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{str(path)!r} has more than one column {repeated[0]!r}: rename them in its first line")
    ragged: list[Any] = []

    def collect(row: Any) -> str:
        ragged.append(row)
        return "skip"

    # One thread, for only then are ragged rows numbered.
    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=0 if headless else 1),
        parse_options=arrow_csv.ParseOptions(
            delimiter=separator, invalid_row_handler=collect, newlines_in_values='"' in "".join(lines)
        ),
        convert_options=arrow_csv.ConvertOptions(
            null_values=list(MISSING),
            strings_can_be_null=True,
            column_types=_text_where_padded(lines, names, separator),
        ),
    )
    if ragged:
        row = ragged[0]
        where = "" if row.number is None else f", line {row.number}"
        raise DataError(
            f"{str(path)!r} has {len(ragged)} ragged row(s): the first{where}, has {row.actual_columns} fields "
            f"where {row.expected_columns} are expected: {str(row.text)[:60]!r}"
        )
    if isinstance(table, pyarrow.Table) and not table.num_rows:
        raise DataError(f"{str(path)!r} has a header and no rows")
    return table, "no header, so columns are numbered" if headless else ""


def _first_lines(path: Path, most: int = 20) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for _, line in zip(range(most), file, strict=False)]
    except UnicodeDecodeError:
        raise DataError(f"{str(path)!r} is not UTF-8 text: save it as UTF-8") from None
    if not "".join(lines).strip():
        raise DataError(f"{str(path)!r} is empty")
    return lines


def _find_delimiter(lines: list[str]) -> str:
    """Return the delimiter that parts the first lines most often, and each alike; a comma where none does."""
    best, most = ",", 0
    for candidate in _DELIMITERS:
        counts = [len(row) for row in csv.reader(lines, delimiter=candidate) if row]
        usual = max(set(counts), key=counts.count)
        fields = usual if counts.count(usual) >= 0.8 * len(counts) else 0
        if fields > max(most, 1):
            best, most = candidate, fields
    return best


def _usable(delimiter: str) -> str:
    named = {name: sign for sign, name in _NAMES.items()} | {"\\t": "\t"}
    sign = named.get(delimiter, delimiter)
    if len(sign) != 1:
        raise DataError(f"delimiter {delimiter!r} must be one character, or comma, semicolon, tab or bar")
    return sign


def _text_where_padded(lines: list[str], names: list[str], delimiter: str) -> dict[str, Any]:
    """Return text as the type of columns whose fields are padded with spaces: numbers are found in them later."""
    import pyarrow

    rows = [row for row in csv.reader(lines, delimiter=delimiter) if len(row) == len(names)]
    padded = [any(row[place] != row[place].strip() for row in rows[1:]) for place in range(len(names))]
    return {name: pyarrow.string() for name, is_padded in zip(names, padded, strict=True) if is_padded}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
