"""One picture file to pixels: any mode in, RGB uint8 out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What is read; Pillow's other decoders are kept away from files of unknown origin."""


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit RGB.

    16-bit values are divided by 257, transparency is laid over white, grey is repeated, palettes and CMYK
    are converted by Pillow.
    """
    if picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.float32)
        return Image.fromarray(np.rint(values / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")


def is_picture(path: Path) -> bool:
    """Return whether a file begins as a picture does that `decode` may read; the rest of it is not looked at."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:
        # Pillow fails in many ways on what is no picture; whichever it is, the answer is no.
        return False


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Return a picture file as `(3, size, size)`: its shorter side resized to `size`, and the center cropped.

    Resampling is Pillow's antialiased bicubic. The first frame is taken of an animation, and the orientation
    in EXIF is respected. A JPEG more than six times too large is decoded at a half, a quarter or an eighth, but
    never below three times `size`: several times faster, and not seen after the resizing.
    """
    with Image.open(path, formats=FORMATS) as picture:
        picture.draft(None, (3 * size, 3 * size))
        upright = to_rgb(ImageOps.exif_transpose(picture))
    wide, high = upright.size
    side = min(wide, high)
    left, top = (wide - side) / 2, (high - side) / 2
    square = upright.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def decode_or_reason(path: Path, size: int) -> "NDArray[Any] | str":
    """Return the pixels, or in one line why there are none."""
    try:
        return decode(path, size)
    except Exception as error:
        # Pillow's decoders fail in many ways on damaged files; each is a reason, and none may end the others' work.
        reason = " ".join(str(error).replace(str(path), path.name).split())
        return reason or type(error).__name__
