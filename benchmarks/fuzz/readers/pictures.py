"""Pictures in a folder: PNG, JPEG, GIF and BMP of every mode, and headers that promise more than the file holds."""

import io
import shutil
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from benchmarks.fuzz.reader import Reader
from withstand.core.errors import DataError
from withstand.data.load import parts_of
from withstand.data.pictures.folder import ImageFolder

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
}
SIDES = (0, 1, 7, 255, 4096, 13_000, 16_383, 65_535, 100_000, (1 << 31) - 1)


def drawn(form: str, draws: Random) -> bytes:
    """Return a picture file of a format."""
    numbers = np.random.default_rng(draws.randrange(1 << 30))
    mode = draws.choice(MODES[form])
    size = draws.choice(((1, 1), (5, 9), (32, 24), (64, 64)))
    if mode == "I;16":
        picture = Image.fromarray(numbers.integers(0, 65536, size[::-1]).astype(np.uint16))
    else:
        color = Image.fromarray(numbers.integers(0, 256, (*size[::-1], 4), np.uint8))
        picture = color.convert("L").convert(mode) if mode in ("1", "P") else color.convert("RGB").convert(mode)
    options: dict[str, object] = {}
    if form in ("PNG", "JPEG", "WEBP") and draws.random() < 0.4:
        exif = Image.Exif()
        exif[0x0112] = draws.randrange(1, 9)
        exif[0x010E] = "words"
        options["exif"] = exif
    if form == "JPEG":
        options |= {"progressive": draws.random() < 0.5, "quality": draws.choice((10, 90))}
    if form in ("GIF", "PNG", "WEBP") and draws.random() < 0.2:
        options |= {"save_all": True, "append_images": [picture.rotate(90)]}
    if form == "WEBP":
        options["lossless"] = draws.random() < 0.5
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def lying(content: bytes, draws: Random) -> bytes:
    """Return a picture with other sides in its header, where its format is known."""
    data = bytearray(content)
    wide, high = draws.choice(SIDES), draws.choice(SIDES)
    if data[:4] == b"\x89PNG":
        data[16:24] = struct.pack(">II", wide, high)
        data[24] = draws.choice((1, 2, 8, 16))
        data[25] = draws.choice((0, 2, 3, 4, 6))
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif data[:3] == b"GIF":
        data[6:10] = struct.pack("<HH", min(wide, 65535), min(high, 65535))
        frame = data.find(b"\x2c", 13)
        if frame > 0 and draws.random() < 0.5:
            data[frame + 5 : frame + 9] = struct.pack("<HH", min(wide, 65535), min(high, 65535))
    elif data[:2] == b"BM":
        data[18:26] = struct.pack("<ii", wide, high * draws.choice((1, -1)))
        data[28:30] = struct.pack("<H", draws.choice((1, 4, 8, 16, 24, 32)))
        data[30:34] = struct.pack("<I", draws.choice((0, 0, 1, 2, 3)))
    elif data[:4] == b"RIFF" and data[12:16] == b"VP8L":
        data[21:25] = struct.pack("<I", (wide - 1) & 0x3FFF | ((high - 1) & 0x3FFF) << 14)
    elif data[:4] == b"RIFF":
        data[26:30] = struct.pack("<HH", wide & 0x3FFF, high & 0x3FFF)
    else:
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            place = data.find(marker)
            if place > 0:
                data[place + 5 : place + 9] = struct.pack(">HH", min(high, 65535), min(wide, 65535))
    return bytes(data)


def read_picture(path: Path) -> None:
    """Read a picture as a folder's only one, and as one of two with labels."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name) / "pictures" / "class"
        folder.mkdir(parents=True)
        shutil.copy(path, folder / "file")
        source = ImageFolder(folder.parent, 8, cache=Path(name) / "cache")
        assert source[[0]].x.shape == (1, 3, 8, 8)


def read_folder(path: Path) -> None:
    """Read a folder in which a file of other content lies beside the parts and in them."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(name) / "pictures"
        for part in ("Training", "valid"):
            for kind in ("a", "b"):
                (root / part / kind).mkdir(parents=True)
                shutil.copy(path, root / part / kind / "file")
                Image.new("L", (8, 8)).save(root / part / kind / "whole.png")
        shutil.copy(path, root / "stray")
        sources = parts_of(root, size=8)
        if set(sources) != {"train", "validation"}:
            raise DataError("the parts were lost")
        for source in sources.values():
            assert source.classes == ("a", "b")


def _form(draws: Random) -> str:
    return draws.choice(("PNG", "JPEG", "GIF", "BMP"))


def valid(draws: Random) -> bytes:
    """Draw a picture file that can be read."""
    return drawn(_form(draws), draws)


def twisted(draws: Random) -> bytes:
    """Draw a picture file whose header promises other sides."""
    return lying(drawn(_form(draws), draws), draws)


READER = Reader(".png", valid, twisted, read_picture, allowance=96 << 20)  # a GIF of 7 kB may hold 18 million pixels
