"""A table's fields as the texts that stand in it, so that nothing is written back otherwise than it was read."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.data.pairs.values import Texts, texts_in
from withstand.data.tables.cells import read_cells
from withstand.data.tables.files import TEXT, is_table_file, read_arrow
from withstand.data.tables.frame import MISSING
from withstand.data.tables.text import name_columns
from withstand.data.tables.written.reading import Reading


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        columns: by name, of equal length.
        name: what the table is called.
        origin: where it was read from, in words.
        left_out: (column, reason) of those that hold no texts.
    """

    columns: dict[str, Texts]
    name: str = "table"
    origin: str = "given in memory"
    left_out: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def rows(self, chosen: Sequence[int] | npt.NDArray[Any]) -> "TextTable":
        """Return the chosen rows."""
        return replace(self, columns={name: texts[chosen] for name, texts in self.columns.items()})

    def without(self, names: Sequence[str]) -> "TextTable":
        """Return the other columns."""
        kept = {name: texts for name, texts in self.columns.items() if name not in names}
        return replace(self, columns=kept)


def read_texts(table: Any, reading: Reading | None = None) -> TextTable:
    """Return a table's fields as texts.

    Args:
        table: a CSV, Parquet or Feather file, a data frame of any library, a mapping of columns, or such a table.
        reading: how a text file is to be read; what it does not say is found out.

    Raises:
        DataError: a table that cannot be read, a file without rows, repeated column names.
        MissingExtra: a file, and pyarrow is not installed.
    """
    if isinstance(table, TextTable):
        return table
    if not isinstance(table, str | Path):
        return _given(table, "table", "given in memory")
    path = Path(table).expanduser()
    if not path.is_file() and not is_table_file(path):
        raise DataError(f"{str(table)!r} is neither a file of a table nor the name of a set of records")
    if path.suffix.lower() not in TEXT:
        return _given(read_arrow(path), path.stem, f"the file {path}")
    how = reading or Reading()
    names, columns, said = name_columns(path, read_cells(path, how.delimiter, encoding=how.encoding), how.header)
    found = {name: cleaned(column.to_pylist()) for name, column in zip(names, columns, strict=True)}
    return TextTable(found, path.stem, f"the file {path} ({said})")


def cleaned(fields: Sequence[str | None]) -> Texts:
    """Return fields without padding, those that stand for a missing value as ""."""
    gone, found = set(MISSING), np.empty(len(fields), dtype=object)
    found[:] = ["" if field is None or (text := field.strip()) in gone else text for field in fields]
    return found


def _given(data: Any, name: str, origin: str) -> TextTable:
    found, unread = texts_in(data)
    return TextTable(found, name, origin, tuple((column, f"holds {what}, no text") for column, what in unread.items()))


def plain(text: str) -> str:
    """Return a text as records are compared by: compatibility forms, lower case, single spaces.

    >>> plain("  Café  LE\\tMonde ")
    'café le monde'
    """
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


_SPACING = re.compile(r"[\W_]+")


def common_columns(left: TextTable, right: TextTable) -> list[tuple[str, str]]:
    """Return (left's name, right's name) of the columns that both tables have, by names without case and spacing.

    Raises:
        DataError: there is none, or two columns of one table have such a name in common.
    """
    sides = []
    for table in (left, right):
        found: dict[str, str] = {}
        for name in table.columns:
            key = _SPACING.sub("", name.casefold()) or name
            if key in found:
                raise DataError(f"columns {found[key]!r} and {name!r} of {table.name} have one name but for case")
            found[key] = name
        sides.append(found)
    ours, theirs = sides
    both = [(name, theirs[key]) for key, name in ours.items() if key in theirs]
    if not both:
        raise DataError(
            f"{left.name} and {right.name} have no column in common: {', '.join(list(left.columns)[:6])}; "
            f"{', '.join(list(right.columns)[:6])}"
        )
    return both


def column_named(table: TextTable, name: str) -> str:
    """Return a column's name as the table writes it.

    Raises:
        ConfigError: there is none, with the nearest.
    """
    if name not in table.columns:
        raise ConfigError(f"{table.name} has no column {name!r}: {nearest(name, table.columns)}")
    return name


def data_folder() -> Path:
    """Return the folder of compact sets; the working directory where none is set."""
    from withstand.data.pictures.named import VARIABLE

    return Path(os.environ.get(VARIABLE) or ".")
