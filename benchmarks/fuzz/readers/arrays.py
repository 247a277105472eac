"""`.npz` files (and `.npy`, renamed): samples, labels, names; headers and archives that lie about sizes and types."""

import io
import struct
import warnings
import zipfile
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.fuzz.reader import Reader
from withstand.data.arrays.source import ArraySource, npz_parts
from withstand.data.load import parts_of

_SIDES = (0, 1, 2, -1, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, 10**30, True, 2.5)
_TYPES = ("|u1", "<f4", ">f8", "<i8", "<u8", "|S3", "<U2", "|O", "|V4", "<c8", "<M8[s]", "<f2", "|b1", "|S0", "<f16")
_KEYS = (
    "x",
    "y",
    "train_images",
    "val_labels",
    "X_TEST",
    "labels",
    "x_train",
    "y_train",
    "x_test",
    "y_test",
    "classes",
    "names",
    "ids",
    "other",
    "../up",
    "ü\x00",
)


def _arrays(draws: Random) -> dict[str, np.ndarray]:
    """Return arrays that can be read."""
    numbers = np.random.default_rng(draws.randrange(1 << 30))
    rows = draws.choice((2, 6, 24))
    shape = draws.choice(((rows, 3), (rows, 8, 8), (rows, 8, 8, 3), (rows, 3, 8, 8)))
    x = numbers.integers(0, 256, shape, np.uint8)
    made: dict[str, np.ndarray] = {"x": x if draws.random() < 0.7 else (x / 255).astype(draws.choice(("<f4", ">f8")))}
    if draws.random() < 0.7:
        pool = draws.choice((np.arange(2), np.array([-5, 2 * 10**9]), np.array(["a", "ü"]), np.array([b"a", b"\xff"])))
        made["y"] = pool[np.arange(rows) % 2]
    if draws.random() < 0.3:
        made |= {f"{key}_{part}": value for key, value in list(made.items()) for part in ("train", "test")}
        del made["x"]
        made.pop("y", None)
    elif draws.random() < 0.3:
        made["names"] = np.arange(rows)
    return made


def _saved(arrays: dict[str, np.ndarray], draws: Random) -> bytes:
    file = io.BytesIO()
    if draws.random() < 0.15:
        np.save(file, next(iter(arrays.values())))
    else:
        (np.savez if draws.random() < 0.6 else np.savez_compressed)(file, **arrays)
    return file.getvalue()


def valid(draws: Random) -> bytes:
    """Draw an .npz file that can be read."""
    file = io.BytesIO()
    (np.savez if draws.random() < 0.6 else np.savez_compressed)(file, **_arrays(draws))
    return file.getvalue()


def _member(draws: Random) -> bytes:
    """Return an .npy member whose header says something that its content need not hold."""
    shape = tuple(draws.choice(_SIDES) for _ in range(draws.randrange(4)))
    header = {"descr": draws.choice(_TYPES), "fortran_order": draws.choice((True, False, 1)), "shape": shape}
    text = repr(header) if draws.random() < 0.8 else draws.choice(("(" * 5000, "{'descr': [('a', '<f4')]}", "[]", "0L"))
    version = draws.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x07\x00"))
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text) + draws.choice((0, 0, 0, 1, -1, 1000)))
    return b"\x93NUMPY" + version + length + text.encode() + draws.randbytes(draws.choice((0, 4, 96, 4096)))


def twisted(draws: Random) -> bytes:
    """Draw an archive that is whole, and whose members are odd."""
    if draws.random() < 0.1:
        return _saved(_arrays(draws), draws)
    file = io.BytesIO()
    whole = _arrays(draws)
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # names that occur twice
        for key in draws.sample(_KEYS, draws.choice((1, 2, 3, 6))):
            name = key + draws.choice((".npy", ".npy", ".npy", ".txt", ""))
            content = io.BytesIO()
            np.save(content, draws.choice(list(whole.values())))
            data = content.getvalue() if draws.random() < 0.5 else _member(draws)
            way = draws.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            archive.writestr(name, data, way)
    content = file.getvalue()
    if draws.random() < 0.4:  # sizes in the directory that do not fit
        place = content.find(b"PK\x01\x02")
        field = place + draws.choice((16, 20, 24, 42))  # checksum, packed size, size, offset
        content = content[:field] + struct.pack("<I", draws.choice((0, 1, 1 << 20, 0xFFFFFFFF))) + content[field + 4 :]
    return content


def read(path: Path) -> None:
    """Read a file as every entrance does, and all of its samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        npz_parts(path)
        for source in parts_of(path).values():
            batch = source[range(min(len(source), 64))]
            assert len(batch.x) == len(batch.index)
            assert source.labels is None or len(source.labels) == len(source)
        ArraySource(path, layout="rows").fingerprint()


READER = Reader(".npz", valid, twisted, read)
