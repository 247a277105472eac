"""TIFF pictures of any depth, layout and compression, and directories whose tags say something else."""

import io
import struct
from random import Random

import numpy as np
import tifffile

from benchmarks.fuzz.reader import Reader
from benchmarks.fuzz.readers.pictures import SIDES, read_picture

_VALUES = (0, 1, 2, 3, 5, 8, 16, 32, 64, 255, 32773, 34892, 50706, 65535, *SIDES)


def valid(draws: Random) -> bytes:
    """Draw a TIFF file that can be read."""
    numbers = np.random.default_rng(draws.randrange(1 << 30))
    dtype = draws.choice((np.uint8, np.uint8, np.uint16))
    channels = draws.choice((1, 3, 4))
    shape = (*draws.choice(((1, 1), (5, 9), (48, 32))), channels)[: 2 if channels == 1 else 3]
    top = np.iinfo(dtype).max
    options: dict[str, object] = {
        "photometric": "rgb" if channels in (3, 4) else "minisblack",
        "byteorder": draws.choice("<>"),
        "bigtiff": draws.random() < 0.2,
        "compression": draws.choice((None, "zlib", "lzw", "packbits")),
        "tile": draws.choice((None, None, (16, 16))),
    }
    if channels > 3:
        options["extrasamples"] = ["unspecified"] * (channels - (3 if channels == 4 else 1))
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=bool(options.pop("bigtiff")), byteorder=options.pop("byteorder")) as made:
        for _ in range(draws.choice((1, 1, 2))):
            made.write((numbers.random(shape) * top).astype(dtype), **options)
    return file.getvalue()


def twisted(draws: Random) -> bytes:
    """Draw a TIFF file some of whose tags have another type, count or value."""
    data = bytearray(valid(draws))
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return bytes(data)
    (first,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[first : first + 2])
    for _ in range(draws.choice((1, 1, 3))):
        place = first + 2 + 12 * draws.randrange(count)
        what = draws.randrange(4)
        if what == 0:
            data[place + 2 : place + 4] = struct.pack(f"{order}H", draws.randrange(14))
        elif what == 1:
            data[place + 4 : place + 8] = struct.pack(f"{order}I", draws.choice((0, 1, 2, 70_000, 1 << 30)))
        elif what == 2:
            data[place + 8 : place + 12] = struct.pack(f"{order}I", draws.choice(_VALUES) & 0xFFFFFFFF)
        else:
            data[place : place + 2] = struct.pack(f"{order}H", draws.choice((254, 256, 258, 259, 262, 277, 330, 338)))
    return bytes(data)


READER = Reader(".tif", valid, twisted, read_picture, allowance=400 << 20)
