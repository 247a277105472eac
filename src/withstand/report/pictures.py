"""Pictures as PNGs inside the page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from withstand.core.errors import DataError
from withstand.core.finding import Finding
from withstand.report import wording

_LARGEST = 128
"""Pixels a side that are kept; the page shows pictures smaller than this."""


@dataclass(frozen=True)
class Picture:
    """One picture: a data URI, what it shows, and its size on the page in CSS pixels."""

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side under one heading; `notes` is text in place of pictures."""

    title: str
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureBlock:
    """Rows that belong together, column by column; `heads` name the columns, where they have names."""

    title: str
    rows: tuple[PictureRow, ...]
    heads: tuple[str, ...] = ()


def picture(pixels: npt.NDArray[np.uint8], alt: str) -> Picture:
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

    A table "pictures" with one row for each picture of a strip is written below that strip.

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
            strips.setdefault(len(array), []).append(PictureRow(heading, shown))
        else:
            grids.append(_grid(finding.name, heading, array))
    for count, rows in strips.items():
        table = finding.tables.get("pictures")
        if table is not None and len(table.rows) == count:
            rows += [
                PictureRow(wording.title(column), notes=tuple(_note(column, cell) for cell in table.column(column)))
                for column in table.columns
            ]
    return (*(PictureBlock("", tuple(rows)) for rows in strips.values()), *grids)


def _note(column: str, cell: object) -> str:
    if isinstance(cell, float):
        return wording.percent(cell) if wording.is_share(column, [cell]) else wording.plain(cell)
    return "–" if cell is None else str(cell)


def _grid(finding: str, heading: str, array: npt.NDArray[np.uint8]) -> PictureBlock:
    """Return a grid. In the finding "neighbours" each row is a query followed by its nearest."""
    near = finding == "neighbours"
    heads = ("Query", *(f"{place}." for place in range(1, array.shape[1]))) if near else ()
    rows = []
    for row, pixels in enumerate(array):
        words = [f"Query {row + 1}", *(f"Neighbour {k} of query {row + 1}" for k in range(1, len(pixels)))]
        alts = words if near else [f"{heading}, row {row + 1}, column {k + 1}" for k in range(len(pixels))]
        rows.append(PictureRow("", tuple(picture(one, alt) for one, alt in zip(pixels, alts, strict=True))))
    return PictureBlock("" if near else heading, tuple(rows), heads)
