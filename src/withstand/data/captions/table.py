"""A table of captions: which file, and what was written about it; a file may stand in several rows."""

import csv
import io
from pathlib import Path

from withstand.core.errors import DataError

FILE = "captions.csv"
"""The name under which a folder's captions are found."""
_FILES = ("image", "image_name", "file", "file_name", "filename", "filepath", "picture", "path")
_TEXTS = ("caption", "captions", "comment", "text", "title", "description")


def table_of(part: Path, folder: Path) -> Path | None:
    """Return the table that holds the captions of a folder's part: its own, else the folder's; None without any."""
    return next((place / FILE for place in (part, folder) if (place / FILE).is_file()), None)


def read_captions(path: Path) -> tuple[dict[str, list[str]], int, tuple[str, ...]]:
    """Return the captions of each file, in the order of the table, how many rows had none, and columns not read.

    The first line names the columns: one of files (image, file, filename, ...) and one of texts (caption, comment,
    text, ...). Fields are separated by commas, tabs, bars or semicolons, and quoted where they hold such a sign;
    the text is UTF-8.

    Raises:
        DataError: a missing file, other columns, a row with another number of fields, no captions.
    """
    if not path.is_file():
        raise DataError(f"there are no captions at {str(path)!r}: a table with columns image and caption is needed")
    try:
        content = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read as UTF-8 text: {error}") from None
    header = content.partition("\n")[0]
    sign = max(",\t|;", key=header.count)
    found: dict[str, list[str]] = {}
    empty = 0
    # Lines end where csv says: a caption may hold other signs that Python parts lines at.
    rows = csv.reader(io.StringIO(content), delimiter=sign, strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        columns = [name.casefold() for name in names]
        file, text = (_column(columns, known, path) for known in (_FILES, _TEXTS))
        for row in rows:
            if not row:
                continue
            if len(row) != len(columns):
                raise DataError(
                    f"line {rows.line_num} of {str(path)!r} has {len(row)} fields, and there are {len(columns)} "
                    "columns: a caption with a comma in it stands in quotes"
                )
            name, caption = row[file].strip(), row[text].strip()
            if caption:
                found.setdefault(name, []).append(caption)
            else:
                empty += 1
    except csv.Error as error:
        raise DataError(f"line {rows.line_num} of {str(path)!r} is no row of a table: {error}") from None
    if not found:
        raise DataError(f"{str(path)!r} holds no captions")
    return found, empty, tuple(name for place, name in enumerate(names) if place not in (file, text))


def _column(columns: list[str], names: tuple[str, ...], path: Path) -> int:
    places = [place for place, column in enumerate(columns) if column in names]
    if len(places) != 1:
        raise DataError(
            f"one column of {str(path)!r} must be called {names[0]} (or {', '.join(names[1:])}); there are "
            f"{', '.join(map(repr, columns)) or 'none'}"
        )
    return places[0]
