"""TIFF files: by Pillow what has the colors of a picture, by tifffile (extra `deep`) more channels and told whites."""

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from withstand.core.errors import MissingExtra
from withstand.core.files.reading import Reading
from withstand.data.pictures.decoding.headers import FREE, Content, Start, opened, refuse_lies, stream
from withstand.data.pictures.decoding.notes import CHANNELS, PAGES, Told
from withstand.data.pictures.decoding.values import Plain, as_bytes, as_rgb, flattened, turned, upper_peak

CAMERAS = frozenset(
    (".dng", ".nef", ".nrw", ".cr2", ".arw", ".sr2", ".srf", ".pef", ".3fr", ".fff", ".iiq", ".mos", ".erf", ".kdc")
)
"""Suffixes of cameras' RAW files that are TIFF files by their first bytes."""
_RAW = "it is a camera's RAW file, whose pictures are previews: develop it first"

_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCC = 0, 1, 2, 3, 5, 6
_COLORS = {_WHITE_IS_ZERO: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCC: 3}
"""Channels that a kind of colors has, by its number in files."""
_RATIO = {1: 1, 5: 2560, 6: 1536, 7: 1536, 8: 1032, 32946: 1032, 32773: 64}
"""Bytes of pixels that a byte holds at most, by the number of the compression; others have no limit, see `FREE`."""
_PREMULTIPLIED, _ALPHA = 1, 2
_UNSIGNED, _FLOAT = 1, 3
_PILLOW_MOST = 89_478_485
"""Pixels of a TIFF file up to which Pillow reads it without a word."""


class Tags(NamedTuple):
    """What the first directory of a file says of its picture."""

    wide: int
    high: int
    tile: tuple[int, int]
    bits: int
    samples: int
    form: int
    colors: int
    extras: tuple[int, ...]
    compression: int
    orientation: int
    white: float | None
    smaller: bool
    camera: bool
    further: bool

    @property
    def deep(self) -> bool:
        """Whether values are no bytes."""
        return self.bits > 8 or self.form != _UNSIGNED

    @property
    def alpha(self) -> int | None:
        """The place of the channel that says how much is seen; None without one."""
        first = self.samples - len(self.extras)
        return next((first + at for at, kind in enumerate(self.extras) if kind in (_PREMULTIPLIED, _ALPHA)), None)


def read_tiff(content: Content, start: Start, reading: Reading) -> tuple[Plain, int]:
    """Return the first picture of a TIFF file as 8-bit RGB, upright, and its shorter side.

    Raises:
        ValueError: what cannot be read rightly, in one line.
        MissingExtra: it takes tifffile, which is not installed.
    """
    if (isinstance(content, Path) and content.suffix.lower() in CAMERAS) or start.head[8:10] == b"CR":
        raise ValueError(_RAW)
    tags = tags_of(content, start, reading)
    beside = tags.samples - _COLORS[tags.colors] - (tags.alpha is not None)
    chosen = reading.bands if _chooses(tags, reading) else ()
    if beside and _COLORS[tags.colors] == 1 and not chosen:
        raise ValueError(
            f"it has {tags.samples} channels and does not say which are red, green and blue: say bands=(3, 2, 1)"
        )
    if max(chosen, default=0) > tags.samples:
        raise ValueError(f"bands names channel {max(chosen)}, and it has {tags.samples}")
    told = reading.white is not None or tags.white is not None
    by_pillow = not chosen and _is_for_pillow(tags, start, told=told)
    plain = (_by_pillow if by_pillow else _by_tifffile)(content, tags, reading)
    notes = (*plain.told.notes, *((PAGES,) if tags.further else ()), *((CHANNELS,) if beside and not chosen else ()))
    return Plain(plain.picture, Told(notes, plain.told.peak)), min(tags.wide, tags.high)


def tags_of(content: Content, start: Start, reading: Reading) -> Tags:
    """Return what a file says of its first picture.

    Raises:
        ValueError: it is damaged, is a RAW file or a smaller copy, has more pixels than are allowed, or promises more
            than it can hold.
    """
    with stream(content) as file:
        first = _directory(start)
        file.seek(first.next)
        first.load(file)
        second = _next(file, first, start)
    sides = _numbers(first, 256), _numbers(first, 257)
    if not all(len(side) == 1 and side[0] > 0 for side in sides):
        raise ValueError("its header does not say how large it is")
    (wide,), (high,) = sides
    samples = _first(first, 277, 3 if _first(first, 259, 1) in (6, 7) and _first(first, 262, 0) in (_RGB, _YCC) else 1)
    bits, forms = _numbers(first, 258) or (1,), _numbers(first, 339) or (_UNSIGNED,)
    extras = _numbers(first, 338)
    colors = _first(first, 262, _WHITE_IS_ZERO)
    tags = Tags(
        wide, high, (_first(first, 322, 1), _first(first, 323, 1)), max(bits), samples, forms[0], colors, extras,
        _first(first, 259, 1), _first(first, 274, 1), _declared(first, max(bits), forms[0]),
        bool(_first(first, 254, 0) & 1), 50706 in first or colors in (32803, 34892),
        second is not None and not _first(second, 254, 0) & 5,
    )  # fmt: skip
    if tags.camera:
        raise ValueError(_RAW)
    if tags.smaller:
        raise ValueError("its first picture is a smaller copy of another in it, as cameras' RAW files have: develop it")
    if colors not in _COLORS or samples < _COLORS[colors] or len(extras) > samples - _COLORS[colors]:
        raise ValueError(f"its colors are not read: kind {colors} of {samples} channels")
    if len({*bits}) != 1 or len({*forms}) != 1:
        raise ValueError(f"its channels differ in type: {bits} bits, formats {forms}")
    _refuse_lies(tags, start, reading)
    return tags


def _refuse_lies(tags: Tags, start: Start, reading: Reading) -> None:
    reading.refuse_size(tags.wide, tags.high)
    tall = -(-tags.high // max(1, tags.tile[1])) * max(1, tags.tile[1])
    broad = -(-tags.wide // max(1, tags.tile[0])) * max(1, tags.tile[0])
    ratio = _RATIO.get(tags.compression)
    if ratio is None:
        ratio = max(4096, FREE // max(1, start.size))
    elif tags.colors == _YCC:
        ratio *= 4  # colors at less than the picture's resolution
    refuse_lies("TIFF", (broad, tall), tags.bits * tags.samples, start.size, ratio)


def _is_for_pillow(tags: Tags, start: Start, *, told: bool) -> bool:
    """Return whether Pillow reads such a picture rightly.

    It swaps the bytes of compressed big-endian numbers twice, but for unsigned 16 bits, knows no big-endian BigTIFF,
    and keeps the upper bytes of 16-bit colors, which is right where nobody tells a white.
    """
    motorola = start.head[:2] == b"MM"
    if motorola and _is_big(start):
        return False
    if not tags.deep:
        return True
    if tags.bits == 16 and tags.form == _UNSIGNED:
        return tags.samples == 1 or not told
    return tags.samples == 1 and not motorola and (tags.bits == 32 or (tags.bits < 32 and tags.form != _FLOAT))


def _is_big(start: Start) -> bool:
    return 43 in start.head[2:4]


def _directory(start: Start) -> ImageFileDirectory_v2:
    """Return an empty directory that reads numbers in the file's order and size."""
    if start.head[:4] == b"MM\0+":  # Pillow knows this size by the other order's mark alone
        return ImageFileDirectory_v2(b"II+\0" + start.head[4:16], prefix=b"MM")
    return ImageFileDirectory_v2(start.head[: 16 if _is_big(start) else 8])


def _by_pillow(content: Content, tags: Tags, reading: Reading) -> Plain:
    if tags.wide * tags.high > _PILLOW_MOST:
        return _by_tifffile(content, tags, reading)
    with opened(TiffImageFile, content) as file:
        file.load()  # upright
        cut = file.mode in ("RGBA", "RGBX") and tags.alpha is None
        picture = Image.merge("RGB", file.split()[:3]) if cut else file
        plain = as_rgb(picture, reading, tags.white)
        if tags.deep and tags.samples > 1:
            plain = Plain(plain.picture, Told(plain.told.notes, upper_peak(picture)))
    if not (tags.deep and tags.colors == _WHITE_IS_ZERO):
        return plain
    return Plain(Image.eval(plain.picture, lambda value: 255 - value), plain.told)


def _by_tifffile(content: Content, tags: Tags, reading: Reading) -> Plain:
    """Return a picture of any number of channels and any depth; some of them where bands chooses."""
    if tags.colors in (_PALETTE, _YCC):
        raise ValueError(f"{tags.bits}-bit colors of a palette or of brightness and difference are not read")
    what = f"TIFF files of {tags.samples} channels with {tags.bits} bits"
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtra(f"reading {what}", "tifffile and imagecodecs", "deep") from error
    with stream(content) as file, tifffile.TiffFile(file) as pages:
        page = pages.pages.first
        values: NDArray[Any] = page.asarray()
        axes = page.axes
    if axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    elif axes == "YX":
        values = values[..., None]
    elif axes != "YXS":
        raise ValueError(f"its first picture has the axes {axes}, which are not those of a picture")
    alpha = None if tags.alpha is None else _seen(values[..., tags.alpha])
    wanted = [band - 1 for band in reading.bands] if _chooses(tags, reading) else list(range(_COLORS[tags.colors]))
    pixels, told = as_bytes(np.ascontiguousarray(values[..., wanted]), reading, tags.white)
    if tags.colors == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    if alpha is not None and _PREMULTIPLIED in tags.extras:
        pixels = np.minimum(255, pixels * 255.0 / np.maximum(alpha, 1)[..., None]).astype(np.uint8)
    plain = flattened(pixels[..., 0] if len(wanted) == 1 else pixels, alpha, told)
    return Plain(turned(plain.picture, tags.orientation), plain.told)


def _chooses(tags: Tags, reading: Reading) -> bool:
    return bool(reading.bands) and tags.samples - (tags.alpha is not None) > 3 and tags.colors != _CMYK


def _seen(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return how much is seen as bytes: whole numbers up to the largest that their type holds, others up to 1."""
    top = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
    return np.rint(np.clip(values.astype(np.float64) / top, 0, 1) * 255).astype(np.uint8)


def _declared(tags: ImageFileDirectory_v2, bits: int, form: int) -> float | None:
    """Return what is white as a file says it: by its bits, or by a largest value that is that of a number of bits.

    Other largest values are those of this one picture, and no scale.
    """
    told = {float(value) for tag in (281, 341) for value in _values(tags, tag)}
    if len(told) == 1 and (top := told.pop()) in (1.0, *((1 << some) - 1 for some in range(8, 33))):
        return top if top != 1 or form == _FLOAT else None
    return float((1 << bits) - 1) if form == _UNSIGNED and 8 < bits < 16 else None


def _next(file: BinaryIO, first: ImageFileDirectory_v2, start: Start) -> ImageFileDirectory_v2 | None:
    """Return the second directory of a file; None where it has none that can be read."""
    if not 0 < first.next < start.size or first.next == first.offset:
        return None
    second = _directory(start)
    file.seek(first.next)
    second.load(file)
    return second if 256 in second else None


def _values(tags: ImageFileDirectory_v2, tag: int) -> tuple[Any, ...]:
    found = tags.get(tag)
    several = found if isinstance(found, tuple) else (found,)
    return tuple(value for value in several if isinstance(value, int | float))


def _numbers(tags: ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    return tuple(value for value in _values(tags, tag) if isinstance(value, int))


def _first(tags: ImageFileDirectory_v2, tag: int, default: int) -> int:
    return next(iter(_numbers(tags, tag)), default)
