"""Arrays as a source: NumPy, torch, and `.npy` and `.npz` files, memory-mapped where possible."""

import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source
from withstand.data.digest import as_indices, check_labels, digest
from withstand.data.layout import arrange, check_values, find_layout, sample_shape

ArrayLike: TypeAlias = np.ndarray[Any, Any] | Tensor | str | Path
_BLOCK = 64 << 20
"""Bytes of a mapped file that are looked at together."""


class ArraySource(Source):
    """Samples in an array, labelled or not.

    Pictures come out as contiguous uint8 `(B, C, H, W)`; everything else (tables, windows, volumes) passes
    through, floats in single precision. Arrays in memory are arranged once; mapped files (`.npy`, and `.npz`
    written by `numpy.savez`, not `savez_compressed`) batch by batch, and never lie in memory as a whole; floats are
    read through once at the start to find NaN. The data must not be changed while the source is in use.

    Args:
        x: `(N, ...)` numbers: an array, a tensor, or the path of a `.npy` or `.npz` file. Pictures are uint8,
            or float in [0, 1].
        y: labels `(N,)`: whole numbers from 0, or names, which are numbered in sorted order; an array or a path.
        layout: `NCHW`, `NHWC` or `NHW` for pictures, `rows` to pass anything through; `auto` follows the rule in
            `withstand.data.layout`.
        classes: the names of labels 0, 1, ...
        split: which part of an `.npz` that holds `x_train`, `y_train`, `x_test`, `y_test`. Without it such a
            file gives `train`; other `.npz` files hold `x` and perhaps `y`, or a single array of any name.

    Raises:
        DataError: NaN or infinity, a shape, type or range that cannot be read, labels of another length,
            object arrays and pickles.

    >>> source = ArraySource(np.zeros((10, 32, 32, 3), dtype=np.uint8))
    >>> source.shape, source[[0, 5]].x.shape
    ((3, 32, 32), torch.Size([2, 3, 32, 32]))
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | Sequence[int] | Sequence[str] | None = None,
        *,
        layout: str = "auto",
        classes: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        named = tuple(classes)
        array: object = x
        given: object = y
        if isinstance(x, str | Path):
            self.name, self.origin = Path(x).stem, f"the file {x}"
            array, stored, stored_classes = read_arrays(Path(x), split)
            given, named = stored if y is None else y, named or stored_classes
        elif split is not None:
            raise DataError(
                f"split={split!r} chooses from an .npz file with x_train and x_test; an array has no splits"
            )
        self._mapped = isinstance(array, np.memmap)
        data = _tensor(array, "x")
        self._layout = find_layout(tuple(data.shape), data.dtype, layout)
        step = max(1, _BLOCK // data[0].nbytes)
        for start in range(0, len(data), step):
            block = data[start : start + step]
            check_values(block, self._layout, torch.arange(start, start + len(block)))
        self._shape = sample_shape(tuple(data.shape), self._layout)
        self._x = data if self._mapped else arrange(data, self._layout)
        self._labels: Tensor | None = None
        if given is not None:
            labels, named = _labels(given, named)
            self._labels = check_labels(labels, len(data), named)
        self._classes = named

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        x = self._x.index_select(0, chosen)
        if self._mapped:
            x = arrange(x, self._layout)
        return Batch(x, chosen, None if self._labels is None else self._labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    def fingerprint(self) -> str:
        return digest(self)

    def __reduce__(self) -> tuple[Callable[[], "ArraySource"], tuple[()]]:
        # From the arguments: a mapped file travels as its path.
        return partial(type(self), **self._init_args), ()


def read_arrays(path: Path, split: str | None = None) -> tuple[object, object, tuple[str, ...]]:
    """Return samples, labels or None, and class names from a `.npy` or `.npz` file, mapped where possible.

    Raises:
        DataError: a missing, damaged or pickled file, other keys than allowed, an unknown split.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    if path.suffix not in (".npy", ".npz"):
        raise DataError(
            f"{str(path)!r} is neither a .npy or .npz file (numpy.save, numpy.savez) nor a folder of pictures"
        )
    try:
        if path.suffix == ".npy":
            if split is not None:
                raise DataError(
                    f"split={split!r} chooses from an .npz file with x_train and x_test; {path.name} has none"
                )
            return np.load(path, mmap_mode="r", allow_pickle=False), None, ()
        with np.load(path, allow_pickle=False) as members:
            x, y = _keys(members.files, path, split)
            labels = None if y is None else members[y]
            classes = tuple(map(str, members["classes"])) if "classes" in members.files else ()
            mapped = _map_member(path, f"{x}.npy")
            return members[x] if mapped is None else mapped, labels, classes
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{str(path)!r} cannot be read as an array (pickles and objects are refused): {reason}"
        ) from None


def npz_splits(path: Path) -> bool:
    """Return whether an `.npz` file holds both a training and a test part."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"x_train.npy", "x_test.npy"} <= set(archive.namelist())


def _keys(names: Sequence[str], path: Path, split: str | None) -> tuple[str, str | None]:
    """Return the names of the samples and of the labels."""
    if split not in (None, "train", "test"):
        raise DataError(f"unknown split {split!r}: 'train' or 'test'")
    wanted = f"x_{split or 'train'}"
    if wanted in names:
        x, y = wanted, f"y_{split or 'train'}"
    elif split is not None:
        raise DataError(f"{str(path)!r} has no {wanted}: it holds {', '.join(names) or 'nothing'}")
    elif "x" in names:
        x, y = "x", "y"
    elif len(names) == 1:
        x, y = names[0], "y"
    else:
        raise DataError(
            f"{str(path)!r} holds {', '.join(names) or 'nothing'}: "
            "allowed are x_train, y_train, x_test, y_test; or x, y; or a single array"
        )
    return x, y if y in names else None


def _map_member(path: Path, name: str) -> np.memmap[Any, Any] | None:
    """Return an array stored in a zip file without compression, mapped; None when it has to be unpacked."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(member)
            header = member.tell()
    if dtype.hasobject or 0 in shape:
        return None
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)  # the local header's name and extra lengths: it may differ from the central
        lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
    offset = info.header_offset + 30 + lengths + header
    mapped: np.memmap[Any, Any] = np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
    return mapped if mapped.flags.aligned else None


def _tensor(array: object, name: str) -> Tensor:
    """Return an array or tensor of numbers as a CPU tensor, sharing memory where types allow."""
    if isinstance(array, Tensor):
        if array.is_complex() or array.is_sparse or array.is_quantized:
            raise DataError(f"{name} is a {array.dtype} {array.layout} tensor: a dense one of real numbers is needed")
        return array.detach().cpu()
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} is a {type(array).__name__}: an array, a tensor or a path is needed")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} has type {array.dtype}: numbers are needed (no objects, text or complex values)")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if array.dtype.itemsize == 8 and array.size and array.max() > np.iinfo(np.int64).max:
            raise DataError(f"{name} has type uint64 with values beyond int64")
        array = array.astype(np.int32 if array.dtype.itemsize == 2 else np.int64)  # torch knows few operations on these
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return read_only(np.ascontiguousarray(array) if min(array.strides, default=0) < 0 else array)


def read_only(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array's memory as a tensor, also where it cannot be written, as that of mapped files."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _labels(y: object, classes: tuple[str, ...]) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels as a tensor, and the class names; labels that are names get numbers."""
    if isinstance(y, str | Path):
        y = read_arrays(Path(y))[0]
    if isinstance(y, list | tuple):
        try:
            y = np.asarray(y)
        except ValueError:
            raise DataError("y is a list of unlike things: labels are whole numbers or names, one a sample") from None
    if isinstance(y, np.ndarray) and y.dtype.kind == "U":
        names = classes or tuple(map(str, np.unique(y)))
        unknown = sorted(set(map(str, np.unique(y))) - set(names))
        if unknown or y.ndim != 1:
            raise DataError(f"y has shape {y.shape} and names {unknown} that are not among the classes {names}")
        number = {name: place for place, name in enumerate(names)}
        return torch.tensor([number[str(name)] for name in y]), names
    return _tensor(y, "y"), classes
