"""What the first bytes of a picture file say: its format, its sides, and whether it can hold what it promises.

Pillow's decoders are taken by their format, so that no other than these see files of unknown origin, and so that the
size that is allowed is told by `Reading` and not by a setting of the whole process.
"""

from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from withstand.core.files.reading import PLAIN, Reading

Form: TypeAlias = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIC"]
HEAD = 32
"""Bytes of a file that tell its format."""

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_RATIO = {"PNG": 1032, "JPEG": 1536, "GIF": 2560, "BMP": 256, "WEBP": 4096, "HEIC": 4096}
"""Bytes of pixels that a byte of a file can hold at most: deflate's limit; a bit for a JPEG's block of 64, colors at a
sixteenth; LZW's longest string for its longest code; runs of 255. Lossless WebP and HEIC have no limit: see `FREE`."""
FREE = 1 << 26
"""Bytes of pixels that any WebP, HEIC or TIFF file may promise: one color needs no bits at all."""
_BITS = {"1": 1, "L": 1, "P": 1, "LA": 16, "I;16": 16, "RGB": 24, "RGBA": 32, "CMYK": 32}
"""Bits of a pixel in a file, at least: grey and palettes may have one alone, though not in a GIF. A PNG tells."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel, by a PNG's color type."""
_PILLOW: dict[Form, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


FORMATS = tuple(_PILLOW)
"""What Pillow reads here, but for TIFF; its other decoders are kept away from files of unknown origin."""


Content: TypeAlias = Path | bytes
"""A file's path, or what it holds."""


class Start(NamedTuple):
    """The beginning of a file, and how many bytes it has in all."""

    head: bytes
    size: int


def start_of(content: Content) -> Start:
    """Return the beginning of a file."""
    with stream(content) as file:
        return Start(file.read(HEAD), len(content) if isinstance(content, bytes) else content.stat().st_size)


def stream(content: Content) -> BinaryIO:
    """Return a file to be read from."""
    return BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def unknown(content: Content) -> ValueError:
    """Return the error of a file that is no picture."""
    return ValueError(f"cannot identify image file{'' if isinstance(content, bytes) else f' {str(content)!r}'}")


def why_unread(error: Exception) -> str:
    """Return in one line why a picture held in memory cannot be read: Pillow names the object that holds the bytes."""
    if isinstance(error, UnidentifiedImageError):
        return f"{unknown(b'')}"
    return " ".join(str(error).split())


def form_of(head: bytes) -> Form | None:
    """Return the format that a file begins as; None for none that is read."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:2] == b"BM":
        return "BMP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    return "HEIC" if head[4:8] == b"ftyp" and head[8:12] in _HEIC else None


def open_by_pillow(content: Content, form: Form, start: Start, reading: Reading = PLAIN) -> ImageFile:
    """Open a file of a format that Pillow reads, but TIFF; pixels are not decoded yet.

    Raises:
        ValueError: it is damaged, has more pixels than are allowed, or promises more than so small a file can hold.
    """
    sides = _webp_sides(start.head) if form == "WEBP" else None
    if sides is not None:  # Pillow takes memory for these as soon as it opens them
        reading.refuse_size(*sides)
        refuse_lies(form, sides, 32, start.size)
    picture = opened(_PILLOW[form], content)
    try:
        reading.refuse_size(*picture.size)
        bits = 8 if form == "GIF" else _BITS.get(picture.mode, 8)
        if form == "PNG":
            bits = png_bits(start.head) or bits
            _refuse_parts(picture)
        refuse_lies(form, picture.size, bits, start.size)
    except ValueError:
        picture.close()
        raise
    return picture


def opened(kind: type[ImageFile], content: Content) -> ImageFile:
    """Open a file by one of Pillow's classes.

    Raises:
        ValueError: it is of another kind, or damaged at its start.
    """
    try:
        return kind(BytesIO(content) if isinstance(content, bytes) else content)
    except Image.DecompressionBombError as error:
        raise ValueError(f"Pillow reads no such size, whatever is allowed: {error}") from error
    except SyntaxError as error:
        raise unknown(content) from error


def png_bits(head: bytes) -> int:
    """Return the bits of a PNG's pixel, as its header says; 0 where it says nothing."""
    return head[24] * _PNG_CHANNELS.get(head[25], 1) if head[12:16] == b"IHDR" and len(head) > 25 else 0


def png_is_deep_color(head: bytes) -> bool:
    """Return whether a PNG has 16 bits a channel, and more channels than one: Pillow keeps 8 of these."""
    return head[12:16] == b"IHDR" and len(head) > 25 and head[24] == 16 and head[25] in (2, 4, 6)


def refuse_lies(form: str, sides: tuple[int, int], bits: int, size: int, ratio: int | None = None) -> None:
    """Refuse sides that a file of `size` bytes cannot hold.

    Args:
        form: of the file.
        sides: width and height.
        bits: of a pixel.
        size: of the file, bytes.
        ratio: bytes of pixels that a byte of it can hold; None for what the format allows.

    Raises:
        ValueError: it cannot.
    """
    wide, high = sides
    most = size * (_RATIO[form] if ratio is None else ratio)
    if form in ("WEBP", "HEIC") or (form == "TIFF" and ratio is None):
        most = max(most, FREE)
    if high * ((wide * bits + 7) // 8) > most:
        raise ValueError(f"its header promises {wide} x {high} pixels, more than {size:,} bytes can hold")


def _refuse_parts(picture: ImageFile) -> None:
    """Refuse an animated PNG whose first frame is smaller than the picture, which the standard rules out."""
    for tile in picture.tile:
        if tuple(tile[1] or ()) != (0, 0, *picture.size):
            wide, high = picture.size
            raise ValueError(f"its first frame is smaller than the {wide} x {high} pixels that its header promises")


def _webp_sides(head: bytes) -> tuple[int, int] | None:
    """Return the width and height that a WebP file's first 30 bytes promise; None where they do not say."""
    if len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
