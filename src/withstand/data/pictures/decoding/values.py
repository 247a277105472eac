"""Pictures of any mode, and values of more than 8 bits, as 8-bit RGB."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from withstand.core.files.reading import PLAIN, Reading
from withstand.data.pictures.decoding.notes import ALPHA, DARK, Told

FULL = 65535
"""White of 16 bits, where nobody says another."""

_ORIENTATION = 0x0112
_AT_ONCE = 1 << 22


class WhiteUnknown(ValueError):
    """Nothing says which value is white.

    Args:
        said: what was found.
        white: the value that it most likely is.
    """

    def __init__(self, said: str, white: int) -> None:
        super().__init__(f"{said}: say white={white}")
        self.said = said


class Plain(NamedTuple):
    """A picture as 8-bit RGB, and what its file told beside."""

    picture: Image.Image
    told: Told


class Bytes(NamedTuple):
    """Values as bytes, and what they told."""

    pixels: NDArray[np.uint8]
    told: Told


def as_rgb(picture: Image.Image, reading: Reading = PLAIN, declared: float | None = None) -> Plain:
    """Return a picture of any mode as 8-bit RGB.

    Transparency is laid over white, grey is repeated, palettes and CMYK are converted by Pillow. More than 8 bits, as
    modes I and F hold, are scaled from 0 to white: see `Reading`.

    Args:
        picture: as Pillow gives it.
        reading: says which value is white.
        declared: the white of the picture's own file, where that says it.

    Raises:
        ValueError: a mode that Pillow cannot convert, or values that do not lie between 0 and white.
    """
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture)
        grey = as_bytes(values, reading, declared)
        clear = picture.info.get("transparency")
        return flattened(grey.pixels, None if clear is None else values == clear, grey.told)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        least, _ = picture.getchannel("A").getextrema()
        over = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return Plain(over.convert("RGB"), Told((ALPHA,) if least != 255 else ()))
    return Plain(picture.convert("RGB"), Told())


def as_bytes(values: NDArray[Any], reading: Reading = PLAIN, declared: float | None = None) -> Bytes:
    """Return values as bytes, 255 for white.

    Args:
        values: numbers of any shape.
        reading: what stands for white, if said.
        declared: what stands for white as the file says it.

    Raises:
        ValueError: values below 0 or above white, or whose white is not known.
    """
    if values.dtype == np.uint8:
        return Bytes(values, Told())
    low, high = (values.min().item(), values.max().item()) if values.size else (0, 0)
    if not np.isfinite(low + high):
        raise ValueError("it holds NaN or infinity")
    white = declared if reading.white is None else reading.white
    if white is None and (values.dtype.kind not in "iu" or high > FULL):
        raise WhiteUnknown(f"it holds values from {low:.5g} to {high:.5g} and does not say which is white", _top(high))
    top = FULL if white is None else white
    if low < 0 or high > top:
        raise ValueError(f"it holds values from {low:.5g} to {high:.5g}, which do not lie between 0 and white={top:g}")
    made = np.empty(values.shape, np.uint8)
    flat, out = values.reshape(-1), made.reshape(-1)
    for start in range(0, flat.size, _AT_ONCE):
        part = flat[start : start + _AT_ONCE].astype(np.float64)
        out[start : start + _AT_ONCE] = np.rint(part * 255 / top)
    if white is None:
        return Bytes(made, Told(peak=int(high)))
    return Bytes(made, Told((DARK,) if reading.white is not None and 16 * high < top else ()))


def upper_peak(picture: Image.Image) -> int:
    """Return the largest value of 16 bits of which Pillow kept the upper byte, at most."""
    count = {"LA": 1, "RGBA": 3, "RGBa": 3}.get(picture.mode, len(picture.getbands()))
    most = max(int(np.max(picture.getchannel(band).getextrema()[1])) for band in range(count))
    return most << 8 | 255


def flattened(pixels: NDArray[np.uint8], alpha: NDArray[Any] | None, told: Told) -> Plain:
    """Return grey or colored pixels `(H, W)` or `(H, W, C)` over white.

    Args:
        pixels: C is 3, or 4 for CMYK.
        alpha: how much is seen, uint8 `(H, W)`; or where nothing is, bool; None where all is.
        told: of the pixels.
    """
    if pixels.shape[2:] == (4,):
        inks = [Image.fromarray(np.ascontiguousarray(pixels[:, :, ink])) for ink in range(4)]
        picture = Image.merge("CMYK", inks).convert("RGB")
    else:
        picture = Image.fromarray(pixels).convert("RGB")
    if alpha is None:
        return Plain(picture, told)
    picture.putalpha(Image.fromarray(np.where(alpha, 0, 255).astype(np.uint8) if alpha.dtype == np.bool_ else alpha))
    plain = as_rgb(picture)
    return Plain(plain.picture, Told((*told.notes, *plain.told.notes), told.peak))


def turned(picture: Image.Image, orientation: object) -> Image.Image:
    """Return a picture turned as EXIF or TIFF say by a number from 1 to 8; as it is for anything else."""
    picture.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(picture)


def _top(high: float) -> int:
    """Return the white that values up to `high` have most likely: 1, or what a number of bits holds at most."""
    return 1 if high <= 1 else (1 << max(8, int(high).bit_length())) - 1
