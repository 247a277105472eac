"""The fields of a text file as they stand there, cut by Arrow."""

import io
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from withstand.core.errors import DataError, MissingExtra
from withstand.data.tables.dialect import GROUP, SAMPLE, Dialect, Sample, cleaned, find_dialect, squeezed, usable
from withstand.data.tables.encoding import find_encoding, said_encoding
from withstand.data.tables.frame import short

_BLOCK = 1 << 21
"""Bytes that are cut into fields at a time: larger ones take more memory, smaller ones more steps."""


@dataclass(frozen=True)
class Cells:
    """The fields of a file as they stand there, without padding around them.

    Attributes:
        columns: one Arrow array of strings a column; the first line is among its rows.
        dialect: how the file is written.
        comments: how many lines were comments.
    """

    columns: list[Any]
    dialect: Dialect
    comments: int = 0

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def first(self) -> list[str]:
        """The first line's fields."""
        return [column[0].as_py().strip() for column in self.columns]


def read_cells(path: Path, delimiter: str | None = None, *, loose: bool = False, encoding: str | None = None) -> Cells:
    """Return a file's fields.

    Args:
        path: the file.
        delimiter: what separates fields; None finds it among comma, semicolon, tab and bar.
        loose: also take any whitespace for a separator, and lines that begin with # or % for comments.
        encoding: as Python names it; None finds it.

    Raises:
        DataError: a missing, empty or binary file, one in no known encoding, ragged rows, an open quote, a delimiter
            that does not separate.
        MissingExtra: pyarrow is not installed.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "pyarrow", "table") from error
    with path.open("rb") as file:
        if loose and file.read(14) == b"%%MatrixMarket":
            raise DataError(f"{str(path)!r} is a Matrix Market file: read it with scipy.io.mmread and give the matrix")
    try:
        coded = find_encoding(path) if encoding is None else said_encoding(path, encoding)
        base = Dialect(coded, delimiter="," if delimiter is None else usable(delimiter), loose=loose)
        sample = Sample.of(path, base)
        if sample.declared is not None:
            base = replace(base, delimiter=base.delimiter if delimiter else sample.declared, skipped=1)
        found = find_dialect(path, sample, base)
        chosen = found if delimiter is None and sample.declared is None else base
        width = sample.cut(chosen.delimiter).width
        seems = sample.cut(found.delimiter)
        if width == 1 and seems.width > 1 and seems.alike == 1:
            raise DataError(
                f"{str(path)!r} read with delimiter {chosen.delimiter!r} has one column, "
                f"{short(sample.text.partition(chr(10))[0])}: it seems {found}, delimiter={found.delimiter!r}"
            )
        columns, ragged = _parse(path, chosen, width)
    except UnicodeError:
        said = "its encoding" if encoding is None else encoding
        raise DataError(f"{str(path)!r} is no whole text in {said}: save it as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if ragged.count:
        raise DataError(f"{str(path)!r} has {ragged}")
    if not columns or not len(columns[0]):
        raise DataError(f"{str(path)!r} is empty")
    _refuse_open_quote(path, columns[-1])
    return Cells(columns, chosen, _comments(path, chosen) if loose else 0)


@dataclass
class _Ragged:
    """Rows with another number of fields than the first one."""

    count: int = 0
    where: str = ""

    def __call__(self, row: Any) -> str:
        if not self.count:
            line = "" if row.number is None else f", line {row.number}"
            self.where = (
                f"{line}, has {row.actual_columns} fields where {row.expected_columns} are expected: "
                f"{short(str(row.text))}"
            )
        self.count += 1
        return "skip"

    def __str__(self) -> str:
        return f"{self.count} ragged row(s): the first{self.where}"


def _parse(path: Path, dialect: Dialect, width: int) -> tuple[list[Any], _Ragged]:
    """Return the columns of fields as strings, and what rows do not fit."""
    import pyarrow

    columns: list[Any] = []
    ragged = _Ragged()
    quotes = dialect.loose or _holds_quotes(path)
    for first in range(0, width, GROUP):  # a column being read takes kilobytes, whatever it holds
        names = [f"f{place}" for place in range(first, min(width, first + GROUP))]
        ragged = _Ragged()
        try:
            table = _parsed(path, dialect, ragged, width, names, _BLOCK, quotes=quotes)
        except pyarrow.ArrowInvalid as error:
            if not any(told in str(error) for told in ("Empty CSV", "straddl", "out of sync")):
                raise
            # Perhaps a row longer than a block: once more with a block that holds the file.
            ragged = _Ragged()
            size = path.stat().st_size
            whole = (size if dialect.encoding.startswith("utf-8") else size * 3 // 2) + 64
            table = _parsed(path, dialect, ragged, width, names, whole, quotes=quotes)
        columns += table.columns
        if ragged.count:
            break
    return columns, ragged


def _holds_quotes(path: Path) -> bool:
    """Say whether a quote stands anywhere in a file, in any encoding: without one, every line break ends a row."""
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(partial(file.read, _BLOCK), b""))


def _parsed(
    path: Path,
    dialect: Dialect,
    ragged: _Ragged,
    width: int,
    names: list[str],
    block: int,
    *,
    quotes: bool,
) -> Any:
    import pyarrow
    from pyarrow import csv

    return csv.read_csv(
        _Cleaned(path, dialect) if dialect.loose else str(path),
        # One thread, for only then are ragged rows numbered.
        read_options=csv.ReadOptions(
            use_threads=False,
            column_names=[f"f{place}" for place in range(width)],
            skip_rows=0 if dialect.loose else dialect.skipped,
            encoding="utf8" if dialect.loose or dialect.encoding.startswith("utf-8") else dialect.encoding,
            block_size=block,
        ),
        parse_options=csv.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=quotes, invalid_row_handler=ragged
        ),
        convert_options=csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pyarrow.string()), strings_can_be_null=False
        ),
    )


class _Cleaned(io.RawIOBase):
    """A file as UTF-8 without comments and, where whitespace separates, with one space for any run of it."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        super().__init__()
        self._file, self._dialect = path.open(encoding=dialect.encoding), dialect
        for _ in range(dialect.skipped):
            self._file.readline()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer: a short read would be a small block, and rows must not be longer than two."""
        filled = 0
        while filled < len(buffer):
            if not self._rest and not self._next():
                break
            taken = self._rest[: len(buffer) - filled]
            buffer[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._rest = self._rest[len(taken) :]
        return filled

    def _next(self) -> bool:
        """Clean some more lines; there are none left where this is False."""
        while text := self._file.read(SAMPLE):
            text += self._file.readline()
            text = cleaned(text, self._dialect)
            text = squeezed(text) if self._dialect.delimiter == " " else text
            if text:
                self._rest = memoryview((text if text.endswith("\n") else f"{text}\n").encode())
                return True
        return False

    def close(self) -> None:
        self._file.close()
        super().close()


def _comments(path: Path, dialect: Dialect) -> int:
    with path.open(encoding=dialect.encoding) as file:
        return sum(line.lstrip(" \t").startswith(("#", "%")) for line in file)


def _refuse_open_quote(path: Path, last: Any) -> None:
    """Refuse a quote that nothing closes: all lines after it became one field."""
    if "\n" not in last[-1].as_py():
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 256))
        tail = file.read().replace(b"\0", b"").rstrip()
    if not tail.endswith(b'"'):
        raise DataError(f"{str(path)!r} has a quote that nothing closes: the lines after it became one field")
