"""Any `torch.utils.data.Dataset` as a source."""

import warnings
import zlib
from collections.abc import Mapping, Sequence, Sized
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source
from withstand.data.arrays.layout import arrange, check_values, find_layout, sample_kind, sample_shape
from withstand.data.arrays.source import as_tensor
from withstand.data.pictures.decoding.values import WhiteUnknown, as_rgb
from withstand.data.shared.digest import as_indices, digest
from withstand.data.shared.labels import Labels, read_labels

_COMPARED = 32
"""Samples that are read twice before anything else."""


class _Item(NamedTuple):
    x: Tensor
    y: object


class DatasetSource(Source):
    """A map-style dataset whose items are `x`, `(x,)` or `(x, y)`.

    Samples are tensors, arrays or PIL pictures, all of one shape and type; they are read item by item when a batch is
    asked for, in the calling process. An item must be the same every time: random transforms belong in views. Up to
    32 samples are read twice at the start, and every later reading is compared with the first by a checksum.
    Labels are read by one pass over the dataset, when they or a batch are first asked for: numbers, names, None for a
    sample without one, as `withstand.data.shared.labels` reads them.

    Args:
        dataset: has `len` and integer indexing.
        layout: as in `ArraySource`, for samples that are tensors or arrays.
        classes: the names of labels 0, 1, ...

    Raises:
        DataError: a dataset without length, other items, shapes that differ, items that change from one
            reading to the next, and all that `ArraySource` refuses.
    """

    def __init__(self, dataset: Dataset[Any], *, layout: str = "auto", classes: Sequence[str] = ()) -> None:
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise DataError(
                f"{type(dataset).__name__} has no length and places: a source needs a map-style dataset, and "
                "ArraySource takes the samples of another once they lie in one array"
            )
        self.dataset = dataset
        self._size = len(cast(Sized, dataset))
        if not self._size:
            raise DataError(f"{type(dataset).__name__} is empty")
        self._seen: dict[int, int] = {}
        first = self._item(0).x
        self._stored, self._dtype = tuple(first.shape), first.dtype
        self._layout = find_layout((self._size, *self._stored), first.dtype, layout)
        check_values(first[None], self._layout, torch.zeros(1))
        self.kind = sample_kind(self.shape, self._layout)
        for place in torch.linspace(0, self._size - 1, min(_COMPARED, self._size)).round().long().tolist():
            for _ in range(2):
                self._item(place)
        self._given = tuple(classes)
        self._labels: Labels | None = None

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, self._size)
        labels = self.labels
        items = [self._item(place).x for place in chosen.tolist()]
        for place, x in zip(chosen.tolist(), items, strict=True):
            if tuple(x.shape) != self._stored:
                raise DataError(f"sample {place} has shape {tuple(x.shape)}, sample 0 has {self._stored}")
            if x.dtype != self._dtype:
                raise DataError(f"sample {place} is of {x.dtype}, sample 0 of {self._dtype}")
        x = torch.stack(items)
        check_values(x, self._layout, chosen)
        return Batch(arrange(x, self._layout), chosen, None if labels is None else labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        return sample_shape((self._size, *self._stored), self._layout)

    @property
    def labels(self) -> Tensor | None:
        return self._answers().y

    @property
    def classes(self) -> tuple[str, ...]:
        return self._answers().classes

    def fingerprint(self) -> str:
        return digest(self)

    def _answers(self) -> Labels:
        """Return the labels and classes, from one pass over the dataset."""
        if self._labels is None:
            values = [self._item(place).y for place in range(self._size)]
            if all(value is None for value in values):
                self._labels = Labels(None, self._given)
            else:
                self._labels = read_labels(values, self._size, self._given, name="the dataset's labels")
                if self._labels.note:
                    warnings.warn(f"{type(self.dataset).__name__}: {self._labels.note}", stacklevel=4)
        return self._labels

    def _item(self, place: int) -> _Item:
        """Return one sample as a tensor of its own, and its label or None."""
        item = self.dataset[place]
        y: object = None
        if isinstance(item, tuple | list) and len(item) in (1, 2):
            item, y = item if len(item) == 2 else (item[0], None)
        x = _tensor(item, place)
        if not (y is None or isinstance(y, str | bytes)):
            label = np.asarray(y)
            if label.size != 1 or label.dtype.kind not in "biuUSO":
                raise DataError(
                    f"the label of sample {place} is a {type(y).__name__} of {label.dtype} {label.shape}: labels are "
                    "whole numbers or names"
                )
            y = label.item()
        self._refuse_change(place, x, y)
        return _Item(x, y)

    def _refuse_change(self, place: int, x: Tensor, y: object) -> None:
        """Refuse a sample that is not as it was when it was read first."""
        content = x.contiguous().view(torch.uint8) if x.dim() else x
        mark = zlib.crc32(content.numpy().data, zlib.crc32(repr((x.shape, x.dtype, y)).encode()))
        if self._seen.setdefault(place, mark) != mark:
            raise DataError(
                f"{type(self.dataset).__name__} gives another sample {place} each time: make it without its random "
                "transforms (flips, crops, noise), and leave random transforms to views"
            )


def _tensor(x: object, place: int) -> Tensor:
    """Return a tensor, an array or a picture as a tensor that nobody else writes to."""
    if isinstance(x, Image.Image):
        mode = x.mode
        try:
            x = np.asarray(x if mode in ("L", "F") else as_rgb(x).picture)
        except WhiteUnknown as error:
            raise DataError(
                f"sample {place} is a picture of mode {mode!r} that cannot be read: {error.said}; return an array in "
                "[0, 1], or bytes"
            ) from None
        except ValueError as error:
            raise DataError(f"sample {place} is a picture of mode {mode!r} that cannot be read: {error}") from None
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biuf":
        return as_tensor(x, f"sample {place}").clone()
    if isinstance(x, Tensor):
        return as_tensor(x, f"sample {place}").clone()
    keys = f" with {', '.join(map(repr, x))}" if isinstance(x, Mapping) else ""
    raise DataError(
        f"sample {place} is a {type(x).__name__}{keys}: allowed are x or (x, y), x a tensor, array or picture"
    )
