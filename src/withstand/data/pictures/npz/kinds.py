"""Arrays of pictures of several kinds in one file: each array a class of its own, by its name."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.roles import Indices
from withstand.data.arrays.npz import npz_names, read_member
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped


class Kinds(Wrapped):
    """The pictures of an `.npz` file whose arrays are called by what they hold, as `real`, `gan` and `vae`.

    Args:
        path: arrays of bytes, `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`, all of one size.

    Raises:
        DataError: no such file, fewer than two arrays, or pictures that differ in shape.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if path.suffix != ".npz" or not path.is_file():
            raise DataError(f"there is no .npz file {str(path)!r}")
        names = sorted(npz_names(path))
        sources = [ArraySource(np.asarray(read_member(path, name))) for name in names]
        if len({source.shape for source in sources}) != 1 or len(sources) < 2 or sources[0].kind != "picture":
            told = ", ".join(f"{name} {source.shape}" for name, source in zip(names, sources, strict=True))
            raise DataError(f"{str(path)!r} must hold arrays of pictures of two kinds or more, of one size, not {told}")
        x = torch.cat([source[range(len(source))].x for source in sources])
        y = torch.cat([torch.full((len(source),), place) for place, source in enumerate(sources)])
        self._wrap(ArraySource(x, y, layout="NCHW", classes=tuple(map(printable, names))))
        self.name, self.origin = printable(path.stem), f"the file {printable(str(path))}"

    def __getitem__(self, indices: Indices) -> Batch:
        return self.source[indices]

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} kinds".encode(), digest_size=16).hexdigest()


def open_kinds(data: Any) -> Kinds | None:
    """Return the pictures of an `.npz` file of kinds, one of them real; None where data are something else."""
    if not isinstance(data, str | Path) or Path(data).suffix != ".npz" or not Path(data).expanduser().is_file():
        return None
    path = Path(data).expanduser()
    names = npz_names(path)
    if len(names) < 2 or not any(name.lower().startswith("real") for name in names):
        return None
    return Kinds(path)
