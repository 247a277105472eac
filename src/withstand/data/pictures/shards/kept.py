"""Decoded pictures that are kept as they are first read: a sparse file of pixels, and the checksum of each.

No picture need be decoded before the first batch, and none is decoded twice. A picture counts as kept when its
checksum is there and fits its pixels, so a kill or a failing disk costs no more than decoding it again. Processes that
decode the same picture write the same bytes.
"""

import os
import shutil
import warnings
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.core.files import printable

Pixels: TypeAlias = npt.NDArray[np.uint8]
Rows: TypeAlias = npt.NDArray[np.int64]


class Kept:
    """The kept pictures of a set.

    Args:
        path: the file of pixels; facts lie beside it.
        count: how many pictures the set has.
        shape: of each.

    Raises:
        DataError: the files cannot be made.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, int, int]) -> None:
        self._path, self._bytes = path, int(np.prod(shape))
        facts = path.with_suffix(".facts")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file, size in ((path, count * self._bytes), (facts, 8 * count)):
                with file.open("ab"):
                    pass
                if file.stat().st_size != size:
                    os.truncate(file, 0)
                    os.truncate(file, size)
        except OSError as error:
            raise DataError(
                f"decoded pictures cannot be kept in {printable(str(path.parent))!r} ({error.strerror or error}): name "
                "another folder with cache=, or set XDG_CACHE_HOME"
            ) from error
        self._pixels = np.memmap(path, np.uint8, "r", shape=(count, *shape))
        self._facts = np.memmap(facts, np.uint32, "r", shape=(count, 2))  # checksum, shorter side in the file
        self._file, self._facts_file = (os.open(one, os.O_WRONLY) for one in (path, facts))
        self._checked = np.zeros(count, dtype=bool)  # by this process: once is enough, as for a folder's cache
        self._full = False

    def take(self, rows: Rows, into: Pixels, shorts: Rows) -> npt.NDArray[np.bool_]:
        """Read pictures that are kept into their places, and return which they are, bool `(B,)`.

        Args:
            rows: which, `(B,)`.
            into: their pixels' places, `(B, ...)`.
            shorts: the places of their shorter sides in their files, `(B,)`.
        """
        told = self._facts[rows]
        there: npt.NDArray[np.bool_] = np.asarray(told[:, 0] != 0, dtype=np.bool_)
        known = self._checked[rows]
        if known.any():
            into[known], shorts[known] = self._pixels[rows[known]], told[known, 1]
        for place in np.flatnonzero(there & ~known).tolist():
            pixels = self._pixels[rows[place]]
            if _sum(pixels) == told[place, 0]:
                into[place], shorts[place] = pixels, told[place, 1]
                self._checked[rows[place]] = True
            else:
                there[place] = False
        return there

    def keep(self, row: int, pixels: Pixels, short: int) -> None:
        """Keep a picture, and the shorter side that it has in its file; on a full disk nothing more is kept."""
        if self._full:
            return
        try:
            # Written, not mapped: a full disk is then an error and not a signal that kills the process.
            _write(self._file, pixels.tobytes(), row * self._bytes)
            _write(self._facts_file, np.array([_sum(pixels), short], dtype=np.uint32).tobytes(), 8 * row)
        except OSError as error:
            self._full = True
            warnings.warn(
                f"decoded pictures cannot be kept any more ({error.strerror or error}): others are decoded each time",
                stacklevel=2,
            )

    def __del__(self) -> None:
        for file in ("_file", "_facts_file"):
            if file in vars(self):
                os.close(vars(self)[file])


def fits(folder: Path, size: int) -> bool:
    """Return whether so many bytes would leave a tenth of a folder's disk free."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    disk = shutil.disk_usage(there)
    return disk.free - size > disk.total // 10


def _write(file: int, content: bytes, place: int) -> None:
    if os.pwrite(file, content, place) != len(content):
        raise OSError(28, "the disk is full")


def _sum(pixels: Pixels) -> int:
    """Return the checksum of pixels, never 0, which marks what is not there."""
    return zlib.crc32(np.ascontiguousarray(pixels).data) or 1
