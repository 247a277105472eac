"""One picture file to pixels: any mode in, RGB uint8 out."""

import re
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from withstand.core.files import printable
from withstand.data.pictures.decoding.forms import Form

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What is read; Pillow's other decoders are kept away from files of unknown origin."""


_RATIO = {"PNG": 1032, "JPEG": 1536, "MPO": 1536, "GIF": 2560, "BMP": 256, "WEBP": 4096}
"""Bytes of pixels that a byte of a file can hold at most: deflate's limit; a bit for a JPEG's block of 64, colors at a
sixteenth; LZW's longest string for its longest code; runs of 255. Lossless WebP has no limit: see `_WEBP_FREE`."""
_WEBP_FREE = 1 << 26
"""Bytes of pixels that any WebP file may promise: one color needs no bits at all."""
_BITS = {"1": 1, "L": 1, "P": 1, "LA": 16, "I;16": 16, "RGB": 24, "RGBA": 32, "CMYK": 32}
"""Bits of a pixel in a file, at least: grey and palettes may have one alone, though not in a GIF. A PNG tells."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel, by a PNG's color type."""


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit RGB.

    16-bit grey is divided by 257, of 16-bit colors Pillow keeps the upper byte; transparency is laid over white, grey
    is repeated, palettes and CMYK are converted by Pillow.

    Raises:
        ValueError: a mode that Pillow cannot convert, or grey values that 16 bits do not hold.
    """
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"grey values from {values.min()} to {values.max()}: 16 bits hold 0 to 65535")
        clear = picture.info.get("transparency")
        grey = np.rint(values / 257).astype(np.uint8)
        return Image.fromarray(grey if clear is None else np.where(values == clear, 255, grey)).convert("RGB")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")


def is_picture(path: Path) -> bool:
    """Return whether a file begins as a picture does that `decode` may read; the rest of it is not looked at."""
    try:
        with _open(path):
            return True
    except Exception:
        # Pillow fails in many ways on what is no picture; whichever it is, the answer is no.
        return False


class Decoded(NamedTuple):
    """What a picture file gave: pixels, and its shorter side as it is in the file."""

    pixels: NDArray[np.uint8]
    short: int


def decode(path: Path | bytes, form: Form) -> Decoded:
    """Return a picture file's pixels, and its shorter side.

    The first frame is taken of an animation, and the orientation in EXIF is respected.

    Args:
        path: of the file, or its content.
        form: what is made of it; a JPEG may be decoded at less than its size where the form allows it.
    """
    with _open(path) as picture:
        short = min(picture.size)
        if form.least is not None:
            picture.draft(None, (form.least, form.least))
        upright = to_rgb(ImageOps.exif_transpose(picture))
    return Decoded(form.of(upright), short)


def _open(path: Path | bytes) -> Image.Image:
    """Open a picture file, unless its header promises pixels that so small a file cannot hold."""
    if isinstance(path, bytes):
        size, head = len(path), path[:30]
    else:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(30)
    sides = _webp_sides(head)
    if sides is not None:  # Pillow takes memory for these as soon as it opens them
        _refuse_lies("WEBP", sides, 32, size)
    picture = Image.open(BytesIO(path) if isinstance(path, bytes) else path, formats=FORMATS)
    try:
        form = picture.format or ""
        bits = 8 if form == "GIF" else _BITS.get(picture.mode, 8)
        if form == "PNG":
            bits = head[24] * _PNG_CHANNELS.get(head[25], 1) if head[12:16] == b"IHDR" else bits
            _refuse_parts(picture)
        _refuse_lies(form, picture.size, bits, size)
    except ValueError:
        picture.close()
        raise
    return picture


def _refuse_lies(form: str, sides: tuple[int, int], bits: int, size: int) -> None:
    wide, high = sides
    most = size * _RATIO[form]
    if form == "WEBP":
        most = max(most, _WEBP_FREE)
    if high * ((wide * bits + 7) // 8) > most:
        raise ValueError(f"its header promises {wide} x {high} pixels, more than {size:,} bytes can hold")


def _refuse_parts(picture: Image.Image) -> None:
    """Refuse an animated PNG whose first frame is smaller than the picture, which the standard rules out."""
    for tile in getattr(picture, "tile", ()):
        if tuple(tile[1]) != (0, 0, *picture.size):
            wide, high = picture.size
            raise ValueError(f"its first frame is smaller than the {wide} x {high} pixels that its header promises")


def _webp_sides(head: bytes) -> tuple[int, int] | None:
    """Return the width and height that a WebP file's first 30 bytes promise; None of another file."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def decode_or_reason(path: Path | bytes, form: Form) -> Decoded | str:
    """Return what a file gave, or in one line why it gave nothing."""
    try:
        return decode(path, form)
    except Exception as error:
        # Pillow's decoders fail in many ways on damaged files; each is a reason, and none may end the others' work.
        reason = str(error)
        if isinstance(path, bytes):
            reason = re.sub(r" <_io.BytesIO[^>]*>", "", reason)
        else:
            for shown in (repr(str(path)), str(path)):
                reason = reason.replace(shown, printable(path.name))
        return printable(" ".join(reason.split())) or type(error).__name__
