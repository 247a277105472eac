"""PNG files of 16 bits a color: Pillow keeps the upper bytes; imagecodecs (extra `deep`) reads all by a told white."""

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.ImageFile import ImageFile

from withstand.core.errors import MissingExtra
from withstand.core.files.reading import Reading
from withstand.data.pictures.decoding.headers import Content
from withstand.data.pictures.decoding.notes import Told
from withstand.data.pictures.decoding.values import FULL, Plain, as_bytes, as_rgb, flattened, turned, upper_peak

_ORIENTATION = 0x0112


def read_deep_png(content: Content, picture: ImageFile, reading: Reading) -> Plain:
    """Return a PNG of several channels with 16 bits each as 8-bit RGB, upright.

    Args:
        content: of the file, or its path.
        picture: the same as Pillow opened it.
        reading: says which value is white.

    Raises:
        MissingExtra: white is told, and imagecodecs is not installed.
        ValueError: what `as_bytes` refuses.
    """
    if reading.white is None:
        picture.load()
        plain = as_rgb(ImageOps.exif_transpose(picture))
        return Plain(plain.picture, Told(plain.told.notes, upper_peak(picture)))
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingExtra("white in 16-bit colors", "imagecodecs", "deep") from error
    held = content if isinstance(content, bytes) else content.read_bytes()
    values: NDArray[np.uint16] = imagecodecs.png_decode(held)
    colors = values[..., : 1 if values.shape[2] == 2 else 3]
    alpha: NDArray[np.uint8] | NDArray[np.bool_] | None = None
    if values.shape[2] in (2, 4):
        alpha = as_bytes(values[..., -1], declared=FULL).pixels
    elif isinstance(clear := picture.info.get("transparency"), tuple):
        alpha = (colors == np.array(clear)).all(2)
    made = as_bytes(np.ascontiguousarray(colors), reading)
    plain = flattened(made.pixels[..., 0] if colors.shape[2] == 1 else made.pixels, alpha, made.told)
    return Plain(turned(plain.picture, picture.getexif().get(_ORIENTATION)), plain.told)
