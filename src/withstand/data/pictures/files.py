"""Single picture files as a source, decoded when it is made."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.outputs import Seen
from withstand.core.roles import Indices, Source
from withstand.data.pictures.decoding.decode import Decoded, decode_or_reason, is_picture
from withstand.data.pictures.decoding.forms import Square, Whole
from withstand.data.pictures.decoding.notes import notes_on
from withstand.data.shared.digest import as_indices, digest


class PictureFiles(Source):
    """Pictures by the paths of their files, read as those of a folder are: uint8 `(channels, size, size)`.

    Args:
        paths: of the files, in this order.
        size: side in pixels.
        channels: 3, or 1 for grey by the usual weights of red, green and blue.
        reading: what the files do not say.

    Raises:
        DataError: no files, or one that is no readable picture.
    """

    kind = "picture"

    def __init__(self, paths: Sequence[str], size: int, channels: int = 3, *, reading: Reading = PLAIN) -> None:
        if not paths:
            raise DataError("no picture files are named")
        if channels not in (1, 3):
            raise DataError(f"a picture file is read with 1 or 3 channels, not {channels}")
        self.names = tuple(printable(path) for path in paths)
        self._paths, self._reading = tuple(paths), reading
        self.name, self.origin = Path(self.names[0]).stem, "picture files"
        found = [_decoded(path, size, reading) for path in paths]
        self._x = torch.from_numpy(np.stack([_in_channels(one.pixels, channels) for one in found]))
        notes = notes_on([(name, one.told) for name, one in zip(self.names, found, strict=True)])
        if notes:
            warnings.warn(notes, stacklevel=3)

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._x[chosen], chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape[1:])

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen]:
        return [middle_of(Path(self._paths[row]).expanduser(), self._reading) for row in rows]

    def fingerprint(self) -> str:
        return digest(self)


def middle_of(path: Path, reading: Reading) -> Seen:
    """Return where in a picture's file, turned upright, the square in its middle lies that is read of it.

    Raises:
        DataError: it is no readable picture any more.
    """
    found = decode_or_reason(path, Whole(), reading)
    if isinstance(found, str):
        raise DataError(f"{printable(str(path))!r} is no readable picture: {found}")
    return Seen.middle(*found.pixels.shape[1:])


def is_picture_file(data: object) -> bool:
    """Return whether data are the path of a picture's file."""
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    return path.is_file() and is_picture(path)


def _decoded(path: str, size: int, reading: Reading) -> Decoded:
    found = decode_or_reason(Path(path).expanduser(), Square(size), reading)
    if isinstance(found, str):
        raise DataError(f"{printable(path)!r} is no readable picture: {found}")
    return found


def _in_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if channels == 3:
        return pixels
    return np.asarray(Image.fromarray(pixels.transpose(1, 2, 0)).convert("L"))[None]
