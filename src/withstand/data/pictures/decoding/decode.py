"""One picture file to pixels: any format and mode in, RGB uint8 out."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from withstand.core.files import printable
from withstand.core.files.reading import PLAIN, Reading
from withstand.data.pictures.decoding.deep_png import read_deep_png
from withstand.data.pictures.decoding.forms import Form
from withstand.data.pictures.decoding.headers import (
    Content,
    form_of,
    open_by_pillow,
    png_is_deep_color,
    start_of,
    unknown,
)
from withstand.data.pictures.decoding.heif import read_heif
from withstand.data.pictures.decoding.notes import FRAMES, Told
from withstand.data.pictures.decoding.tiff import read_tiff, tags_of
from withstand.data.pictures.decoding.values import Plain, as_rgb


class Decoded(NamedTuple):
    """What a picture file gave.

    Attributes:
        pixels: as the form has them.
        short: the shorter side of the picture in the file.
        told: what else is to be said of it.
    """

    pixels: NDArray[np.uint8]
    short: int
    told: Told


def decode(content: Content, form: Form, reading: Reading = PLAIN) -> Decoded:
    """Return a picture file's pixels, and what it tells.

    The first frame or page is taken of several, and the orientation in EXIF is respected.

    Args:
        content: of the file, or its path.
        form: what is made of it; a JPEG may be decoded at less than its size where the form allows it.
        reading: what the file does not say.

    Raises:
        ValueError: it cannot be read rightly.
        MissingExtra: it takes a package that is not installed.
    """
    plain, short = _read(content, form.least, reading)
    return Decoded(form.of(plain.picture), short, plain.told)


def decode_or_reason(content: Content, form: Form, reading: Reading = PLAIN) -> Decoded | str:
    """Return what a file gave, or in one line why it gave nothing."""
    try:
        return decode(content, form, reading)
    except Exception as error:
        # Decoders fail in many ways on damaged files; each is a reason, and none may end the others' work.
        reason = str(error)
        if isinstance(content, Path):
            for shown in (repr(str(content)), str(content)):
                reason = reason.replace(shown, printable(content.name))
        return printable(" ".join(reason.split())) or type(error).__name__


def is_picture(path: Path) -> bool:
    """Return whether a file begins as a picture does that `decode` may read; the rest of it is not looked at."""
    try:
        start = start_of(path)
        form = form_of(start.head)
        if form == "TIFF":
            tags_of(path, start, PLAIN)
        elif form not in (None, "HEIC"):
            open_by_pillow(path, form, start).close()
        return form is not None
    except Exception:
        # Pillow fails in many ways on what is no picture; whichever it is, the answer is no.
        return False


def sides_of(path: Path, reading: Reading = PLAIN) -> tuple[str, int, int]:
    """Return the format of a picture file, and the width and height that its header says, before it is turned.

    Raises:
        ValueError: it is no picture that is read.
        MissingExtra: it takes a package that is not installed.
    """
    start = start_of(path)
    form = form_of(start.head)
    if form is None:
        raise unknown(path)
    if form == "TIFF":
        tags = tags_of(path, start, reading)
        return form, tags.wide, tags.high
    if form == "HEIC":
        wide, high = read_heif(path, start, reading)[0].picture.size
        return form, wide, high
    with open_by_pillow(path, form, start, reading) as picture:
        return form, *picture.size


def readers() -> list[str]:
    """Return which optional packages are there: with another one, what could not be read may be read."""
    return [name for name in ("pillow_heif", "tifffile", "imagecodecs") if find_spec(name) is not None]


def _read(content: Content, least: int | None, reading: Reading) -> tuple[Plain, int]:
    """Return a file's picture, upright, and its shorter side."""
    start = start_of(content)
    form = form_of(start.head)
    if form is None:
        raise unknown(content)
    if form == "TIFF":
        return read_tiff(content, start, reading)
    if form == "HEIC":
        return read_heif(content, start, reading)
    with open_by_pillow(content, form, start, reading) as picture:
        short = min(picture.size)
        if form == "PNG" and png_is_deep_color(start.head):
            return read_deep_png(content, picture, reading), short
        if least is not None:
            picture.draft(None, (least, least))
        plain = as_rgb(ImageOps.exif_transpose(picture), reading)
        if form in ("GIF", "PNG", "WEBP") and _moves(picture):
            plain = plain._replace(told=plain.told._replace(notes=(*plain.told.notes, FRAMES)))
        return plain, short


def _moves(picture: Image.Image) -> bool:
    """Return whether frames follow the one that was read; it is a copy, so that looking for them does not change it."""
    try:
        return bool(getattr(picture, "is_animated", False))
    except Exception:
        # Pillow looks at the second frame to know, and fails in many ways on a damaged one: there is one.
        return True
