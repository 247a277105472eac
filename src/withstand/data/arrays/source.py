"""Arrays as a source: NumPy, torch, and `.npy` and `.npz` files, memory-mapped where possible."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.data.arrays.layout import Narrowed, arrange, check_values, find_layout, sample_kind, sample_shape
from withstand.data.arrays.npz import Array, npz_names, read_member, read_npy, words
from withstand.data.arrays.npz_keys import Keys, find_keys
from withstand.data.shared.digest import as_indices, digest
from withstand.data.shared.labels import may_be_labels, read_labels

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
        y: labels `(N,)`, numbers or names, as `withstand.data.shared.labels` reads them; an array, a list or a path.
            None for a sample without one.
        layout: `NCHW`, `NHWC` or `NHW` for pictures, `rows` to pass anything through; `auto` follows the rule in
            `withstand.data.arrays.layout`.
        classes: the names of labels 0, 1, ...
        split: which part of an `.npz` that holds `x_train`, `y_train`, `x_test`, `y_test` or the like: "train", "test"
            or "validation". Without it such a file gives its training part; other `.npz` files hold `x` and perhaps
            `y`, `classes` and `names`, as `withstand.data.arrays.npz_keys` tells them, or a single array of any
            name. Other arrays are not read, and a warning names them.

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
        y: ArrayLike | Sequence[int | str | bytes | None] | None = None,
        *,
        layout: str = "auto",
        classes: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        named = tuple(classes)
        array: object = x
        given: object = y
        beside: Sequence[object] = ()
        if isinstance(x, str | Path):
            self.name, self.origin = printable(Path(x).stem), f"the file {printable(str(x))}"
            stored = read_arrays(Path(x), split)
            array, named, self.names = stored.x, named or stored.classes, stored.names
            if y is None:
                given, beside = stored.y, stored.beside
            if stored.unread:
                without = "" if given is not None else ", and no labels"
                warnings.warn(
                    f"{str(x)!r}: {', '.join(stored.unread)} not read{without}; known are x, y, classes and names, or "
                    "x_train, y_train, x_test, y_test and the like",
                    stacklevel=3,
                )
        elif split is not None:
            raise DataError(
                f"split={split!r} chooses from an .npz file with x_train and x_test; an array has no splits"
            )
        self._mapped = isinstance(array, np.memmap)
        data = as_tensor(array, "x")
        self._layout = find_layout(tuple(data.shape), data.dtype, layout)
        narrowed = Narrowed(self._layout)
        step = max(1, _BLOCK // data[0].nbytes)
        for start in range(0, len(data), step):
            block = data[start : start + step]
            check_values(block, self._layout, torch.arange(start, start + len(block)))
            narrowed.see(block)
        if narrowed.told:
            warnings.warn(f"{self.origin}: {narrowed.told}", stacklevel=3)
        self._shape = sample_shape(tuple(data.shape), self._layout)
        self.kind = sample_kind(self._shape, self._layout)
        self._x = data if self._mapped else arrange(data, self._layout)
        self._labels: Tensor | None = None
        if isinstance(given, str | Path):
            given = read_arrays(Path(given)).x
        if given is not None:
            self._labels, named, note = read_labels(given, len(data), named, beside=beside)
            if note:
                warnings.warn(f"{self.origin}: {note}", stacklevel=3)
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


class Stored(NamedTuple):
    """What a `.npy` or `.npz` file holds for a source: arrays, mapped where possible, or None.

    Attributes:
        x: the samples.
        y: their labels.
        classes: the classes' names.
        beside: the labels of the file's other part, which are numbered alike.
        names: what each sample is called.
        unread: the names of arrays that are not looked at.
    """

    x: Array
    y: Array | None = None
    classes: tuple[str, ...] = ()
    beside: tuple[Array, ...] = ()
    names: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read_arrays(path: Path, split: str | None = None) -> Stored:
    """Return what a `.npy` or `.npz` file holds.

    Raises:
        DataError: a missing, damaged or pickled file, other keys than allowed, an unknown split.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    if path.suffix not in (".npy", ".npz"):
        raise DataError(
            f"{str(path)!r} is neither a .npy or .npz file (numpy.save, numpy.savez) nor a folder of pictures"
        )
    if path.suffix == ".npy":
        if split is not None:
            raise DataError(f"split={split!r} chooses from an .npz file with x_train and x_test; {path.name} has none")
        return Stored(read_npy(path))
    keys = find_keys(npz_names(path), repr(str(path)))
    part = _part(keys, split, path)
    data = read_member(path, keys.x[part])
    y = {name: read_member(path, key) for name, key in keys.y.items()}
    # What is called y has to be labels; what is called labels or targets may be boxes, or numbers to predict.
    other = {name for name, key in keys.y.items() if key[:1] not in "yY" and not may_be_labels(y[name])}
    y = {name: array for name, array in y.items() if name not in other}
    names = words(read_member(path, keys.names), keys.names) if keys.names is not None else ()
    if keys.names is not None and len(names) != len(data):
        raise DataError(f"{keys.names!r} in {str(path)!r} holds {len(names)} names for {len(data)} samples")
    return Stored(
        data,
        y.pop(part, None),
        words(read_member(path, keys.classes), keys.classes) if keys.classes is not None else (),
        tuple(y.values()),
        names,
        tuple(map(printable, (*keys.unread, *(keys.y[name] for name in keys.y if name in other)))),
    )


def npz_parts(path: Path) -> tuple[str, ...]:
    """Return the parts that an `.npz` file holds, the training part first; none where it is one whole."""
    if path.suffix != ".npz":
        return ()
    parts = tuple(find_keys(npz_names(path), repr(str(path))).x)
    return parts if len(parts) > 1 else ()


def _part(keys: Keys, split: str | None, path: Path) -> str:
    """Return which of a file's parts is asked for."""
    if split not in (None, "train", "test", "validation"):
        raise DataError(f"unknown split {split!r}: 'train', 'test' or 'validation'")
    part = next(iter(keys.x)) if split is None else split
    if part not in keys.x:
        raise DataError(f"{str(path)!r} has no x_{part}: it holds {', '.join(map(printable, keys.x.values()))}")
    return part


def as_tensor(array: object, name: str) -> Tensor:
    """Return an array or tensor of numbers as a CPU tensor, sharing memory where types allow."""
    if isinstance(array, Tensor):
        if array.is_complex() or array.is_sparse or array.is_quantized:
            raise DataError(f"{name} is a {array.dtype} {array.layout} tensor: a dense one of real numbers is needed")
        array = array.detach().cpu()
        if array.dtype not in (torch.uint16, torch.uint32, torch.uint64):
            return array
        array = array.numpy()
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
