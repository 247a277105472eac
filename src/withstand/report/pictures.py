"""Pictures as PNGs inside the page."""

import base64
import io
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from withstand.core.errors import DataError
from withstand.core.findings.finding import Finding, Table
from withstand.report import wording
from withstand.report.neighbors import Told, told
from withstand.report.tables import cell as shown

Pixels: TypeAlias = npt.NDArray[np.uint8]

_LARGEST = 128
"""Pixels a side that are kept; the page shows pictures smaller than this."""


@dataclass(frozen=True)
class Picture:
    """One picture: a data URI, what it shows, its size on the page in CSS pixels, what stands below it, and whether it
    stands out."""

    uri: str
    alt: str
    width: int
    height: int
    caption: str = ""
    odd: bool = False


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side under one heading; `notes` is text in place of pictures."""

    title: str
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureBlock:
    """Rows that belong together: column by column, or each of `queries` with its own nearest."""

    title: str
    rows: tuple[PictureRow, ...]
    queries: bool = False


def picture(pixels: Pixels, alt: str) -> Picture:
    """Return a uint8 picture `(H, W, C)`, C 1 or 3, as PNG, enlarged by a whole factor to about 84 px."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    factor = max(1, round(84 / max(height, width)))
    if max(height, width) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
        width, height = image.size
    shrink = min(1.0, 96 / max(height, width))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, alt, round(width * factor * shrink), round(height * factor * shrink))


def blocks(finding: Finding) -> tuple[PictureBlock, ...]:
    """Return a finding's pictures: strips of equal length together, each grid alone.

    A table "pictures" with one row for each picture of a strip is written below that strip; "pictures, NAME" below the
    strip of that name, before others follow.

    Raises:
        DataError: an array is neither a strip nor a grid of uint8 pictures.
    """
    strips: dict[int, list[PictureRow]] = {}
    grids: list[PictureBlock] = []
    for name, array in finding.pictures.items():
        if array.dtype != np.uint8 or array.ndim not in (4, 5) or array.shape[-1] not in (1, 3):
            raise DataError(
                f"finding {finding.name!r}: pictures {name!r} are {array.dtype} {array.shape}, not uint8 "
                "(N, H, W, C) or (rows, columns, H, W, C) with C 1 or 3"
            )
        heading = wording.title(name)
        if array.ndim == 4:
            shown = tuple(picture(pixels, f"{heading}, picture {k + 1}") for k, pixels in enumerate(array))
            own = finding.tables.get(f"pictures, {name}")
            strips.setdefault(len(array), []).extend([PictureRow(heading, shown), *_notes(own, len(array))])
        else:
            grids.append(neighbors(finding, array) if name == "neighbors" else _grid(heading, array))
    for count, rows in strips.items():
        rows += _notes(finding.tables.get("pictures"), count)
    return (*(PictureBlock("", tuple(rows)) for rows in strips.values()), *grids)


def _notes(table: Table | None, count: int) -> list[PictureRow]:
    """Return what is written below pictures, a row a column; nothing where the table is of other pictures."""
    if table is None or len(table.rows) != count:
        return []
    return [
        PictureRow(
            wording.title(column),
            notes=tuple(
                shown(value, table.units.get(column, ""), column=column).text for value in table.column(column)
            ),
        )
        for column in table.columns
    ]


def _grid(heading: str, array: Pixels) -> PictureBlock:
    rows = [
        tuple(picture(one, f"{heading}, row {row}, column {column}") for column, one in enumerate(pixels, start=1))
        for row, pixels in enumerate(array, start=1)
    ]
    return PictureBlock(heading, tuple(PictureRow("", row) for row in rows))


def neighbors(finding: Finding, array: Pixels) -> PictureBlock:
    """Return rows of a query and its nearest; the table "neighbors", where it is, says which they are."""
    found = told(finding)
    rows = []
    for row, pixels in enumerate(array):
        own, *others = found[row] if row < len(found) else [Told()] * len(pixels)
        shown = []
        for rank, (one, about) in enumerate(zip(pixels, (own, *others), strict=True)):
            alt = f"Neighbor {rank} of query {row + 1}" if rank else f"Query {row + 1}"
            odd = rank > 0 and about.label != own.label
            alt += (f", {about.name}" if about.name else "") + (f": {about.label}" if about.label else "")
            caption = " · ".join(word for word in (about.name, about.label if odd or not rank else "") if word)
            shown.append(replace(picture(one, alt), odd=odd, caption=caption))
        rows.append(PictureRow("", tuple(shown)))
    return PictureBlock("", tuple(rows), queries=True)
