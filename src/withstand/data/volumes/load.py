"""The front door to volumes: anything that holds some becomes a source of slices."""

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, nearest
from withstand.core.roles import Source
from withstand.data.derived.subset import holdout
from withstand.data.pictures.named import VARIABLE
from withstand.data.volumes.files import volume_parts
from withstand.data.volumes.source import Axis, VolumeSource

VOLUMES = {"hippocampus-mri": "hippocampus_mri"}
"""Sets of volumes that are known by name, and their folders of compact files."""


def open_volumes(
    data: Any,
    *,
    size: int | None = None,
    axis: Axis = "auto",
    partitions: int = 4,
    values: Sequence[int] | None = None,
) -> Source:
    """Return a source for whatever holds volumes.

    Args:
        data: a name, a path or arrays, as for `VolumeSource`; or a source, which is given back.
        size: of slices.
        axis: across which slices lie.
        partitions: of the depth.
        values: the mask values that are structures.

    Raises:
        DataError: an unknown name or path, or data that hold no volume.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | Path):
        if data in VOLUMES:
            found = VolumeSource(str(_compact(str(data))), size=size, axis=axis, partitions=partitions, values=values)
            found.name = str(data)
            return found
        if not Path(data).expanduser().exists():
            raise DataError(
                f"{str(data)!r} is neither a file or folder of volumes nor the name of a set: "
                f"{nearest(str(data), VOLUMES)}"
            )
        return VolumeSource(str(data), size=size, axis=axis, partitions=partitions, values=values)
    if isinstance(data, list | tuple) and data and all(isinstance(one, np.ndarray) and one.ndim == 3 for one in data):
        return VolumeSource(tuple(data), size=size, axis=axis, partitions=partitions, values=values)
    raise DataError(
        f"a {type(data).__name__} holds no volumes: give a folder of NIfTI files or DICOM series, an .npz file, arrays "
        "(X, Y, Z) or a source"
    )


def open_parts(
    data: Any, *, size: int | None = None, axis: Axis = "auto", partitions: int = 4
) -> dict[str, Callable[[], Source]]:
    """Return what opens each part that volumes come in: "train", all there are where a folder has no parts, first.

    Other parts are read as the training part is. Arguments as for `open_volumes`.
    """
    path = Path(data).expanduser() if isinstance(data, str | Path) and data not in VOLUMES else None
    inner = volume_parts(path) if path is not None and path.is_dir() else {}
    train = inner.get("train", data)
    first = cache(partial(_first, train, size, axis, partitions))
    return {"train": first} | {part: partial(_like, first, inner[part]) for part in inner if part != "train"}


def split_volumes(
    data: Any, *, size: int | None = None, axis: Axis = "auto", partitions: int = 4
) -> tuple[Source, Source]:
    """Return (train, test): the folder's own parts, or whole volumes, one in five, held out.

    Arguments as for `open_volumes`.

    Raises:
        DataError: one volume alone.
    """
    parts = open_parts(data, size=size, axis=axis, partitions=partitions)
    train, test = parts["train"](), parts.get("test", parts.get("validation"))
    return holdout(train) if test is None else (train, test())


def _first(data: Any, size: int | None, axis: Axis, partitions: int) -> Source:
    return open_volumes(data, size=size, axis=axis, partitions=partitions)


def _like(first: Callable[[], Source], part: Path) -> Source:
    other = first().like(part)
    if other is None:
        raise DataError(f"{str(part)!r} cannot be read as the training part is")
    return other


def _compact(name: str) -> Path:
    """Return a set's compact file, the largest if there are several."""
    base = os.environ.get(VARIABLE)
    files = [] if not base else sorted((Path(base) / VOLUMES[name]).glob("*.npz"))
    if not files:
        raise DataError(
            f"{name} is not on this machine: set {VARIABLE} to a folder with {VOLUMES[name]}/*.npz, or fetch Task04 of "
            "the Medical Segmentation Decathlon and give its folder"
        )
    return max(files, key=lambda path: path.stat().st_size)
