"""How a text file of rows is written: its encoding, and what separates its fields.

Nothing here takes fields apart: Arrow's own parser is tried with each separator, and what comes out decides.
"""

import codecs
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand.core.errors import DataError, MissingExtra
from withstand.data.tables.frame import NUMBER

NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "whitespace"}
"""Separators that are found, by what they are called."""
COMMA_NUMBER = NUMBER.replace(r"\.", ",")
"""A number with a decimal comma."""
_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
_SPACE = re.compile(r'("(?:[^"\n]|"")*+")|[ \t\v\f]+')
_ENDS = re.compile(r"(?m)^ | $")
# The look-behind keeps long runs of spaces linear.
_COMMENT = re.compile(r"(?m)^[ \t]*[#%][^\n]*\n?|(?<![ \t])[ \t]+#[^\n]*")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        encoding: Python's name of its encoding.
        delimiter: what separates fields; " " is any run of whitespace where `loose`.
        skipped: lines before the rows: 1 where the first says `sep=`.
        loose: lines that begin with # or % are comments, as in edge lists.
    """

    encoding: str
    delimiter: str
    skipped: int = 0
    loose: bool = False

    def __str__(self) -> str:
        coded = {"utf-8-sig": "", "utf-8": "", "cp1252": ", no UTF-8, so read as Windows-1252"}
        name = NAMES.get(self.delimiter, repr(self.delimiter))
        return f"{name}-separated{coded.get(self.encoding, f', {self.encoding}')}"


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


def read_cells(path: Path, delimiter: str | None = None, *, loose: bool = False) -> Cells:
    """Return a file's fields.

    Args:
        path: the file.
        delimiter: what separates fields; None finds it among comma, semicolon, tab and bar.
        loose: also take any whitespace for a separator, and lines that begin with # or % for comments.

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
    encoding = _encoding(path)
    with path.open("rb") as file:
        if loose and file.read(14) == b"%%MatrixMarket":
            raise DataError(f"{str(path)!r} is a Matrix Market file: read it with scipy.io.mmread and give the matrix")
    try:
        base = Dialect(encoding, ",", loose=loose)
        declared = _declared(path, encoding)
        if declared is not None:
            base = replace(base, delimiter=declared, skipped=1)
        found = base if declared is not None and delimiter is None else _find(path, base)
        chosen = found if delimiter is None else replace(base, delimiter=_usable(delimiter))
        table, ragged = _parse(path, chosen)
    except UnicodeError:
        raise DataError(f"{str(path)!r} is no whole {encoding} text: save it as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if ragged.count:
        raise DataError(f"{str(path)!r} has {ragged}")
    if table is None or not table.num_rows:
        raise DataError(f"{str(path)!r} is empty, or holds one line that does not end")
    if table.num_columns == 1 and found.delimiter != chosen.delimiter and _width(path, found) > 1:
        raise DataError(
            f"{str(path)!r} read with delimiter {chosen.delimiter!r} has one column, "
            f"{table.column(0)[0].as_py()[:60]!r}: it seems {found}, delimiter={found.delimiter!r}"
        )
    _refuse_open_quote(path, table)
    return Cells(table.columns, chosen, _comments(path, chosen) if loose else 0)


def _encoding(path: Path) -> str:
    """Return a file's encoding: by its mark, by zero bytes between letters, else UTF-8, else Windows-1252."""
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
        for mark, name in _MARKS.items():
            if head.startswith(mark):
                return name
        if b"\0" in head:
            return _wide(path, head)
        decoder = codecs.getincrementaldecoder("utf-8")()
        odd: list[bytes] = []
        block, valid = head, True
        while block:
            if b"\0" in block:
                raise DataError(f"{str(path)!r} holds zero bytes: it is no text")
            if valid:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    valid = False
            if len(odd) < 64 and (high := block.translate(None, bytes(range(128)))):
                odd.append(block if len(high) < len(block) else high)
            block = file.read(_BLOCK)
        if valid:
            try:
                decoder.decode(b"", True)
            except UnicodeDecodeError:
                valid = False
    if valid:
        return "utf-8"
    if _is_western(b"".join(odd)):
        return "cp1252"
    raise DataError(f"{str(path)!r} is neither UTF-8, UTF-16 nor Windows-1252 text: save it as UTF-8")


def _wide(path: Path, head: bytes) -> str:
    """Return which UTF-16 has no mark and these zero bytes: those of Latin letters stand at every second place."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    raise DataError(f"{str(path)!r} holds zero bytes: it is no text")


def _is_western(data: bytes) -> bool:
    """Say whether bytes above 127 stand as in Windows-1252: all of them defined, and few three in a row."""
    high = len(data.translate(None, bytes(range(128))))
    if any(bytes([value]) in data for value in (0x81, 0x8D, 0x8F, 0x90, 0x9D)):
        return False
    together = sum(len(run) for run in re.findall(rb"[\x80-\xff]{3,}", data))
    return together <= 0.5 * high


def _declared(path: Path, encoding: str) -> str | None:
    """Return the separator that a first line such as `sep=;` declares, as Excel writes and reads it."""
    with path.open(encoding=encoding, newline="") as file:
        line = file.readline(16)
    found = re.fullmatch(r'"?sep=(.)"?[\r\n]*', line, re.IGNORECASE)
    return None if found is None else found[1]


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
                f"{str(row.text)[:60]!r}"
            )
        self.count += 1
        return "skip"

    def __str__(self) -> str:
        return f"{self.count} ragged row(s): the first{self.where}"


def _find(path: Path, base: Dialect) -> Dialect:
    """Return the dialect whose separator cuts the beginning of the file into rows of one length.

    Where several do, the one under which the largest share of columns holds numbers (a comma there may be a decimal
    one); then a tab, which hardly stands in text; then a semicolon, for commas stand in its fields more often than the
    other way. Where none does, the one that cuts most rows alike.
    """
    order = ["\t", ";", "|", ","] if path.suffix.lower() != ".csv" else [";", "\t", "|", ","]
    best: tuple[tuple[float, ...], Dialect] | None = None
    for place, delimiter in enumerate([*order, " "] if base.loose else order):
        dialect = replace(base, delimiter=delimiter)
        table, ragged = _parse(path, dialect, sample=True)
        if table is None:
            continue
        width, alike = table.num_columns, table.num_rows / max(1, table.num_rows + ragged.count)
        if width < 2:
            continue
        tab_first = path.suffix.lower() == ".tsv" and delimiter == "\t"
        certain = alike == 1 and delimiter != " "
        rank = (certain, alike == 1, tab_first, _numeric(table, delimiter) if alike == 1 else alike, -place)
        if best is None or rank > best[0]:
            best = rank, dialect
    return replace(base, delimiter="," if not base.loose else " ") if best is None else best[1]


def _numeric(table: Any, delimiter: str) -> float:
    """Return the share of columns whose fields, from the second row on, are numbers wherever they are not empty."""
    from pyarrow import compute

    pattern = rf"^\s*({NUMBER}|{COMMA_NUMBER})?\s*$" if delimiter != "," else rf"^\s*({NUMBER})?\s*$"
    rows = table.slice(1) if table.num_rows > 1 else table
    held = [compute.all(compute.match_substring_regex(column, pattern)).as_py() for column in rows.columns]
    return sum(map(bool, held)) / len(held)


def _width(path: Path, dialect: Dialect) -> int:
    table, _ = _parse(path, dialect, sample=True)
    return 0 if table is None else int(table.num_columns)


def _parse(path: Path, dialect: Dialect, *, sample: bool = False) -> tuple[Any, _Ragged]:
    """Return the fields as strings, or None where there is no row, and what rows do not fit."""
    import pyarrow

    for block in (_SAMPLE if sample else _BLOCK, max(_BLOCK, path.stat().st_size * 4 + 64)):
        ragged = _Ragged()
        try:
            return _parsed(path, dialect, ragged, block, sample), ragged
        except pyarrow.ArrowInvalid as error:
            # Perhaps a row longer than a block: once more with a block that holds the file.
            if not any(told in str(error) for told in ("Empty CSV", "straddl", "out of sync")):
                raise
            last = error
    if "Empty CSV" in str(last):
        return None, ragged
    raise DataError(f"{str(path)!r} has a row or a quote that does not end")


def _parsed(path: Path, dialect: Dialect, ragged: _Ragged, block: int, sample: bool) -> Any:
    import pyarrow
    from pyarrow import csv

    def opened(handler: Callable[[Any], str], types: dict[str, Any] | None = None) -> dict[str, Any]:
        # One thread, for only then are ragged rows numbered.
        return {
            "input_file": _Cleaned(path, dialect) if dialect.loose else str(path),
            "read_options": csv.ReadOptions(
                use_threads=False,
                autogenerate_column_names=True,
                skip_rows=dialect.skipped,
                encoding="utf8" if dialect.loose or dialect.encoding.startswith("utf-8") else dialect.encoding,
                block_size=block,
            ),
            "parse_options": csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=handler
            ),
            "convert_options": csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        }

    with csv.open_csv(**opened(lambda row: "skip")) as reader:
        names = reader.schema.names
    settings = opened(ragged, dict.fromkeys(names, pyarrow.string()))
    if not sample:
        return csv.read_csv(**settings)
    with csv.open_csv(**settings) as reader:
        return pyarrow.Table.from_batches([reader.read_next_batch()])


class _Cleaned(io.RawIOBase):
    """A file as UTF-8 without comments and, where whitespace separates, with one space for any run of it."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        super().__init__()
        self._file = path.open(encoding=dialect.encoding)
        for _ in range(dialect.skipped):
            self._file.readline()
        self._squeezed = dialect.delimiter == " "
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer: a short read would be a small block, and rows must not be longer than two."""
        while len(self._rest) < len(buffer) and (text := self._file.read(_BLOCK)):
            text += self._file.readline()
            self._rest += self._clean(text if text.endswith("\n") else f"{text}\n").encode()
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def _clean(self, text: str) -> str:
        text = _COMMENT.sub("", text)
        return _ENDS.sub("", _SPACE.sub(lambda found: found[1] or " ", text)) if self._squeezed else text

    def close(self) -> None:
        self._file.close()
        super().close()


def _comments(path: Path, dialect: Dialect) -> int:
    with path.open(encoding=dialect.encoding) as file:
        return sum(line.lstrip(" \t").startswith(("#", "%")) for line in file)


def _refuse_open_quote(path: Path, table: Any) -> None:
    """Refuse a quote that nothing closes: all lines after it became one field."""
    if not table.num_rows or "\n" not in table.columns[-1][-1].as_py():
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 256))
        tail = file.read().replace(b"\0", b"").rstrip()
    if not tail.endswith(b'"'):
        raise DataError(f"{str(path)!r} has a quote that nothing closes: the lines after it became one field")


def _usable(delimiter: str) -> str:
    named = {name: sign for sign, name in NAMES.items()} | {"\\t": "\t"}
    sign = named.get(delimiter, delimiter)
    if len(sign) != 1 or sign in '"\r\n' or not sign.isascii():
        raise DataError(f"delimiter {delimiter!r} must be one character, or {', '.join(NAMES.values())}")
    return sign
