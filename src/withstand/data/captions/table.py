"""A table of captions: which file, and what was written about it; a file may stand in several rows."""

import csv
from pathlib import Path

from withstand.core.errors import DataError

FILE = "captions.csv"
"""The name under which a folder's captions are found."""
_FILES = ("image", "image_name", "file", "file_name", "filename", "filepath", "picture", "path")
_TEXTS = ("caption", "captions", "comment", "text", "title", "description")


def read_captions(path: Path) -> tuple[dict[str, list[str]], int]:
    """Return the captions of each file, in the order of the table, and how many rows had none.

    The first line names the columns: one of files (image, file, filename, ...) and one of texts (caption, comment,
    text, ...). Fields are separated by commas, tabs or bars, and quoted where they hold such a sign; the text is UTF-8.

    Raises:
        DataError: a missing file, other columns, a row with another number of fields, no captions.
    """
    if not path.is_file():
        raise DataError(f"there are no captions at {str(path)!r}: a table with columns image and caption is needed")
    try:
        lines = path.read_text("utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read as UTF-8 text: {error}") from None
    header = lines[0] if lines else ""
    sign = max(",\t|", key=header.count)
    columns = [name.strip().casefold() for name in next(csv.reader([header], delimiter=sign), [])]
    file, text = (_column(columns, names, path) for names in (_FILES, _TEXTS))
    found: dict[str, list[str]] = {}
    empty = 0
    rows = csv.reader(lines, delimiter=sign, strict=True)
    try:
        next(rows)
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
    return found, empty


def _column(columns: list[str], names: tuple[str, ...], path: Path) -> int:
    places = [place for place, column in enumerate(columns) if column in names]
    if len(places) != 1:
        raise DataError(
            f"one column of {str(path)!r} must be called {names[0]} (or {', '.join(names[1:])}); there are "
            f"{', '.join(map(repr, columns)) or 'none'}"
        )
    return places[0]
