"""Tables in files: text of any usual dialect, Parquet and Feather, read by Arrow."""

from pathlib import Path
from typing import Any

from withstand.core.errors import DataError, MissingExtra
from withstand.data.tables.frame import Frame, frame_of
from withstand.data.tables.text import read_text
from withstand.data.tables.written.reading import Reading
from withstand.data.tables.written.settle import has_texts, settled

TEXT = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".parquet", ".pq", ".feather")
"""Endings of files that hold tables."""


def is_table_file(data: object) -> bool:
    """Say whether this names a file that holds a table, by its ending."""
    return isinstance(data, str | Path) and Path(data).suffix.lower() in SUFFIXES


def read_file(path: Path, reading: Reading | None = None) -> tuple[Frame, str]:
    """Return a file's columns, and what is to be said of the reading.

    Args:
        path: the file.
        reading: how a text file is to be read; what it does not say is found out.

    Raises:
        DataError: a missing or damaged file, ragged rows, a delimiter that does not separate, a doubtful header.
        MissingExtra: pyarrow is not installed.
    """
    if path.suffix.lower() in TEXT:
        _check(path)
        import pyarrow

        try:
            return read_text(path, reading or Reading())
        except (pyarrow.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
    table = read_arrow(path)
    try:
        frame = frame_of(table, () if reading is None else reading.words)
        if reading is None:
            return frame, ""
        reading.refuse(repr(str(path)), texts=has_texts(frame))
        frame = settled(frame, reading)
        return frame, "; ".join(frame.notes)
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from None


def read_arrow(path: Path) -> Any:
    """Return the table of a Parquet or Feather file as Arrow holds it.

    Raises:
        DataError: a missing or damaged file, or another ending.
        MissingExtra: pyarrow is not installed.
    """
    _check(path)
    import pyarrow
    from pyarrow import feather, parquet

    try:
        return feather.read_table(path) if path.suffix.lower() == ".feather" else parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())[:200]}")


def _check(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{str(path)!r} is no table: allowed are {', '.join(SUFFIXES)}")
    try:
        import pyarrow  # noqa: F401 - asked for before anything is read
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "pyarrow", "table") from error
