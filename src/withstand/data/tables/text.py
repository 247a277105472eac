"""Tables in text files: fields become columns of numbers or words, and every decision on the way is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from withstand.core.errors import ConfigError, DataError
from withstand.data.tables.arrow import text_values
from withstand.data.tables.cells import Cells, read_cells
from withstand.data.tables.columns import Columns
from withstand.data.tables.dialect import COMMA_NUMBER
from withstand.data.tables.frame import MISSING, NUMBER, short
from withstand.data.tables.header import has_header

Decimal = Literal[".", ","]
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(,\d{3})+"
_DOTTED = _THOUSANDS.replace(",\\d", "[.]\\d")


@dataclass(frozen=True)
class Reading:
    """How a text file is to be read, where it is not to be found out.

    Attributes:
        delimiter: what separates fields.
        header: whether the first line names the columns.
        decimal: the mark before decimals, "." or ",".
        known: names of columns that are expected.
    """

    delimiter: str | None = None
    header: bool | None = None
    decimal: str | None = None
    known: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"decimal must be '.' or ',', not {self.decimal!r}")

    def refuse(self, what: str) -> None:
        """Refuse what was said of a text file where there is none.

        Args:
            what: the table is, in words.

        Raises:
            ConfigError: names what was said.
        """
        said = [name for name in ("delimiter", "header", "decimal") if getattr(self, name) is not None]
        if said:
            raise ConfigError(f"{' and '.join(said)} say how a text file is to be read, and {what} is none")


def read_text(path: Path, reading: Reading) -> tuple[Columns, str]:
    """Return a file's columns, and what is to be said of the reading.

    Raises:
        DataError: all that `read_cells` and `has_header` refuse, repeated names, a header and no rows.
    """
    cells = read_cells(path, reading.delimiter)

    from pyarrow import default_memory_pool

    names, columns, said = name_columns(path, cells, reading.header, reading.known)
    dialect = cells.dialect
    del cells  # so that nothing holds a column's text once its values are there
    commas, doubtful = decimal_commas(columns, dialect.delimiter, reading.decimal)
    notes = [str(dialect), said]
    if commas:
        notes.append(f"decimal commas in {_listed([names[place] for place in sorted(commas)])}")
    if doubtful:
        shown = _listed([names[place] for place in sorted(doubtful)])
        notes.append(f"{shown} stays words, for its marks may be decimals or thousands: decimal says which")
    broken = _with_breaks(names, columns)
    if broken:
        notes.append(f"line breaks inside fields of {_listed(broken)}")
    found = Columns()
    for place, name in enumerate(names):
        found[name] = text_values(columns[place], decimal="," if place in commas else "" if place in doubtful else ".")
        columns[place] = None
    default_memory_pool().release_unused()
    return found, "; ".join(notes)


def name_columns(
    path: Path, cells: Cells, header: bool | None, known: Sequence[str] = ()
) -> tuple[list[str], list[Any], str]:
    """Return the columns' names, their fields below the header, and whether there was one, in words.

    Raises:
        DataError: a doubtful header, repeated names, no rows.
    """
    first = cells.first
    below = [column.slice(1) for column in cells.columns]
    try:
        named = has_header(first, below, known) if header is None else header
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from None
    if not named:
        return [f"column {place + 1}" for place in range(len(first))], cells.columns, "no header: columns are numbered"
    names = [name or f"column {place + 1}" for place, name in enumerate(first)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{str(path)!r} has more than one column {short(repeated[0])}: rename them in its first line")
    if not len(below[0]):
        raise DataError(f"{str(path)!r} has a header and no rows")
    return names, below, "the first line names the columns"


def decimal_commas(columns: Sequence[Any], delimiter: str, said: str | None) -> tuple[set[int], set[int]]:
    """Return which columns hold numbers with decimal commas, and which may do so, or have marks between thousands.

    Numbers such as 1,234 are read as decimals only where another column has decimal commas beyond doubt, or where
    semicolons separate, and no column has a decimal point; such as 1.234 only where no column has decimal commas.
    """
    if said == ".":
        return set(), set()
    found = {place for place, column in enumerate(columns) if _all_match(column, COMMA_NUMBER, ",")}
    if said == "," or not found:
        return found, set()
    dotted = {place for place, column in enumerate(columns) if _all_match(column, NUMBER, "[.]")}
    sure = {place for place in found if not _all_match(columns[place], rf"{_THOUSANDS}|[+-]?\d+", ",")}
    points = {place for place in dotted if not _all_match(columns[place], rf"{_DOTTED}|[+-]?\d+", "[.]")}
    if points:
        return sure, found - sure
    return (found, dotted) if sure or delimiter == ";" else (sure, found)


def _all_match(column: Any, pattern: str, somewhere: str) -> bool:
    """Say whether all fields that are not missing match a pattern, and some field holds another."""
    from pyarrow import array, compute

    if not compute.any(compute.match_substring_regex(column, somewhere)).as_py():
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
    from pyarrow import compute

    return [
        name
        for name, column in zip(names, columns, strict=True)
        if compute.any(compute.match_substring(column, "\n")).as_py()
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(short, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
