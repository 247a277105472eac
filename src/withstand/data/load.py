"""The front door to data: anything that holds samples becomes a source."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from withstand.core.errors import DataError, nearest
from withstand.core.roles import Source
from withstand.data.arrays import ArraySource, npz_splits
from withstand.data.dataset import DatasetSource
from withstand.data.folder import ImageFolder
from withstand.data.graphs.load import GRAPHS, open_graphs
from withstand.data.named import NAMES, NamedSource
from withstand.data.subset import Held, Subset, holdout
from withstand.data.tables.files import is_table_file
from withstand.data.tables.frame import is_frame
from withstand.data.tables.named import TABLES
from withstand.data.tables.source import TableSource

Data: TypeAlias = str | Path | np.ndarray[Any, Any] | Tensor | Dataset[Any] | Source

DEFAULT_SIZE = 64
"""The side of pictures from a folder when none is said."""


def load(data: Data, *, split: str = "train", size: int | None = None) -> Source:
    """Return a source for whatever holds samples.

    Args:
        data: the name of a set (which wins over a folder so named: write `./name` for that), the path of a folder
            of pictures or of a `.npy` or `.npz` file, a table (its name, a CSV, Parquet or Feather file, a data frame),
            an array, a tensor, a `torch.utils.data.Dataset`, or a source, which is given back.
        split: `train` or `test`, of sets, `.npz` files and folders that have both; data without a test part are
            `train` (and `splits` holds a part of them out).
        size: the side of pictures from a folder, 64 when not said. Other data have their size; another one here
            is refused.

    Raises:
        DataError: an unknown name or path, a missing split, another size, or data that cannot be read.

    >>> load("digits").shape
    (1, 8, 8)
    """
    if split not in ("train", "test"):
        raise DataError(f"unknown split {split!r}: 'train' or 'test'")
    both = _has_test(data)
    if split == "test" and not both:
        raise DataError(f"{_called(data)} has no test part: splits() holds out a share of it")
    source = _open(data, split if both else None, size)
    if size is not None and source.shape[-2:] != (size, size):
        raise DataError(f"size={size} resizes folders of pictures only; {_called(data)} has samples of {source.shape}")
    return source


def splits(data: Data, *, size: int | None = None, fraction: float = 0.2, seed: int = 0) -> tuple[Source, Source]:
    """Return (train, test): the data's own test part where there is one, else a share held out.

    A set's own split; the `x_test` of an `.npz` file; the folder's `train` and `test` (or `val`) folders.

    Args:
        data: as for `load`.
        size: as for `load`.
        fraction: the share held out where the data have no test part, stratified when labelled.
        seed: chooses which samples those are.
    """
    if _is_table(data):
        rows = data if isinstance(data, TableSource) else TableSource(data, part="train", fraction=fraction, seed=seed)
        return rows.other("train"), rows.other("test")
    train = load(data, size=size)
    if not _has_test(data):
        return holdout(train, fraction, seed)
    return train, load(data, split="test", size=size)


def splits_like(source: Source, data: Data) -> tuple[Source, Source]:
    """Return (train, test) of other data, read as `source` was: photos at its size, rows by its schema."""
    while isinstance(source, Held | Subset):
        source = source.source
    if isinstance(source, TableSource):
        if isinstance(data, TableSource):
            return splits(data)
        rows = TableSource(data, part="train", schema=source.schema)
        return rows, rows.other("test")
    size = source.shape[-1] if len(source.shape) == 3 and Path(str(data)).is_dir() else None
    return splits(data, size=size)


def _is_table(data: object) -> bool:
    """Return whether these are rows with named columns; an array without names is taken as it is."""
    if isinstance(data, str) and data in TABLES:
        return True
    return isinstance(data, TableSource) or is_table_file(data) or is_frame(data)


def _has_test(data: Data) -> bool:
    """Return whether the data have a test part of their own."""
    if _is_table(data):
        return True
    if isinstance(data, NamedSource):
        return data.split == "train"
    if isinstance(data, str) and data in NAMES:
        return True
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    return npz_splits(path) if path.is_file() else _test_folder(path) is not None


def _test_folder(path: Path) -> Path | None:
    """Return the folder `test`, else `val`, beside a folder `train`."""
    if not (path / "train").is_dir():
        return None
    return next((path / name for name in ("test", "val") if (path / name).is_dir()), None)


def _open(data: Data, split: str | None, size: int | None) -> Source:
    """Open data; `split` is None where they have only one part."""
    if _is_table(data):
        rows = data if isinstance(data, TableSource) else TableSource(data, part="train")
        return rows.other("test") if split == "test" else rows
    if isinstance(data, Source):
        return NamedSource(data.name, "test") if isinstance(data, NamedSource) and split == "test" else data
    if isinstance(data, np.ndarray | Tensor):
        return ArraySource(data)
    if isinstance(data, Dataset):
        return DatasetSource(data)
    if not isinstance(data, str | Path):
        raise DataError(f"{_called(data)} is no data: give a set's name, a path, an array, a Dataset or a Source")
    if isinstance(data, str) and data in NAMES:
        return NamedSource(data, split or "train")
    if isinstance(data, str) and data in GRAPHS:
        return open_graphs(data)
    path = Path(data).expanduser()
    if path.is_file():
        return ArraySource(path, split=split)
    if not path.is_dir():
        raise DataError(
            f"{str(data)!r} is neither a path nor the name of a set: {nearest(str(data), [*NAMES, *TABLES, *GRAPHS])}"
        )
    side = DEFAULT_SIZE if size is None else size
    test = _test_folder(path)
    if split is None or test is None:
        return ImageFolder(path, side)
    train = ImageFolder(path / "train", side)
    # Both parts number their classes as the training folder does.
    return train if split == "train" else ImageFolder(test, side, classes=train.classes)


def _called(data: object) -> str:
    return repr(str(data)) if isinstance(data, str | Path) else f"a {type(data).__name__}"
