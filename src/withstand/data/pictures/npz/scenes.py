"""Scenes: pictures with a mask each, in one `.npz` file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import MASK
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.roles import Source
from withstand.data.arrays.npz import npz_names, read_member
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource


class SceneFile(PairedSource):
    """The pictures `x` of an `.npz` file, and their masks `mask` in `extras["mask"]`.

    Masks are whole numbers: 0 is the background, 1 to L are a picture's objects. `attributes["objects"]` tells L.

    Args:
        path: of the file.

    Raises:
        DataError: no such file, no masks, or masks of another size than the pictures or of other numbers than 0, 1, ...
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path).expanduser()
        if not has_masks(path):
            raise DataError(f"{str(path)!r} is no .npz file with pictures 'x' and masks 'mask'")
        masks = np.asarray(read_member(path, MASK))
        if masks.dtype.kind not in "iu" or masks.ndim != 3 or not masks.size or int(masks.min()) < 0:
            raise DataError(
                f"masks must be whole numbers from 0, (N, H, W): {str(path)!r} holds {masks.dtype} of {masks.shape}"
            )
        pictures = ArraySource(np.asarray(read_member(path, "x")))
        if len(pictures.shape) != 3 or masks.shape[1:] != pictures.shape[1:]:
            raise DataError(f"masks are {masks.shape[1:]}, and pictures {pictures.shape}: in {str(path)!r}")
        super().__init__(pictures, {MASK: masks.astype(np.int64)})
        self.name, self.origin = printable(path.stem), f"the file {printable(str(path))}"
        self._objects = torch.from_numpy(masks.reshape(len(masks), -1).max(1).astype(np.int64))

    @property
    def attributes(self) -> dict[str, Tensor]:
        return {"objects": self._objects}

    def like(self, data: Any, split: str = "all") -> Source | None:
        if split == "all" and isinstance(data, str | Path) and has_masks(Path(data).expanduser()):
            return SceneFile(data)
        return None


def has_masks(path: Path) -> bool:
    """Return whether a path is that of an `.npz` file with pictures and masks."""
    return path.suffix == ".npz" and path.is_file() and {"x", MASK} <= set(npz_names(path))
