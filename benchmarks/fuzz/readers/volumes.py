"""NIfTI files, plain and in gzip: shapes, types, scales and orientations that are odd or do not fit what follows."""

import gzip
import struct
import tempfile
import warnings
from pathlib import Path
from random import Random

import nibabel
import numpy as np

from benchmarks.fuzz.reader import Reader
from withstand.data.load import load

_SIDES = (0, 1, 2, -1, 7, 300, 32767, -32768)
_FLOATS = (0.0, 1.0, -1.0, 1e30, -1e-30, float("nan"), float("inf"))
_TYPES = (0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 1)


def _nifti(draws: Random) -> bytearray:
    numbers = np.random.default_rng(draws.randrange(1 << 30))
    shape = draws.choice(((6, 7, 8), (12, 12, 4), (6, 7, 8, 1)))
    values = numbers.integers(0, 200, shape).astype(draws.choice(("u1", "<i2", "<f4")))
    affine = np.diag([draws.choice((1, -1)), draws.choice((1, 2)), draws.choice((1, 3)), 1]).astype(float)
    image = nibabel.Nifti1Image(values, affine)
    return bytearray(image.to_bytes())


def _packed(content: bytes, draws: Random) -> bytes:
    return gzip.compress(content, mtime=0) if draws.random() < 0.5 else content


def valid(draws: Random) -> bytes:
    return _packed(bytes(_nifti(draws)), draws)


def twisted(draws: Random) -> bytes:
    """Draw a file in whose header some fields say something else."""
    data = _nifti(draws)
    for _ in range(draws.choice((1, 2, 4))):
        match draws.randrange(6):
            case 0:
                struct.pack_into("<h", data, 40 + 2 * draws.randrange(8), draws.choice(_SIDES))
            case 1:
                struct.pack_into("<h", data, 70, draws.choice(_TYPES))
            case 2:
                struct.pack_into("<f", data, draws.choice((108, 112, 116)), draws.choice(_FLOATS))
            case 3:
                struct.pack_into("<f", data, 76 + 4 * draws.randrange(8), draws.choice(_FLOATS))
            case 4:
                struct.pack_into("<f", data, 280 + 4 * draws.randrange(12), draws.choice(_FLOATS))
            case _:
                struct.pack_into("<h", data, draws.choice((252, 254, 72)), draws.choice((0, 1, 2, 5, -1, 99)))
    return _packed(bytes(data), draws)


def read(path: Path) -> None:
    """Read a file as the only one of a folder, with all of its slices."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name) / "scans"
        folder.mkdir()
        content = path.read_bytes()
        (folder / ("a.nii.gz" if content[:2] == b"\x1f\x8b" else "a.nii")).write_bytes(content)
        source = load(folder)
        batch = source[range(len(source))]
        assert len(batch.x) == len(source)


READER = Reader(".nii", valid, twisted, read, allowance=64 << 20)
