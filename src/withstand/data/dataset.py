"""Any `torch.utils.data.Dataset` as a source."""

from collections.abc import Sequence, Sized
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source
from withstand.data.decode import to_rgb
from withstand.data.digest import as_indices, check_labels, digest
from withstand.data.layout import arrange, check_values, find_layout, sample_shape


class DatasetSource(Source):
    """A map-style dataset whose items are `x` or `(x, y)`.

    Samples are tensors, arrays or PIL pictures, all of one shape; they are read item by item when a batch is
    asked for, in the calling process. An item must be the same every time: random transforms belong in views.
    Labels are read by one pass over the dataset, when they are first asked for.

    Args:
        dataset: has `len` and integer indexing.
        layout: as in `ArraySource`, for samples that are tensors or arrays.
        classes: the names of labels 0, 1, ...

    Raises:
        DataError: a dataset without length, other items, shapes that differ, items that change from one
            reading to the next, and all that `ArraySource` refuses.
    """

    def __init__(self, dataset: Dataset[Any], *, layout: str = "auto", classes: Sequence[str] = ()) -> None:
        if not isinstance(dataset, Sized):
            raise DataError(f"{type(dataset).__name__} has no length: a source needs a map-style dataset")
        self.dataset = dataset
        self._size = len(cast(Sized, dataset))
        if not self._size:
            raise DataError(f"{type(dataset).__name__} is empty")
        first, label = self._item(0)
        self._labelled = label is not None
        self._stored = tuple(first.shape)
        self._layout = find_layout((self._size, *self._stored), first.dtype, layout)
        check_values(first[None], self._layout, torch.zeros(1))
        if not torch.equal(first, self._item(0)[0]):
            raise DataError(
                f"{type(dataset).__name__} gives another sample 0 each time: leave random transforms to views"
            )
        self._classes = tuple(classes)
        self._labels: Tensor | None = None

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, self._size)
        items = [self._item(place) for place in chosen.tolist()]
        for place, (x, _) in zip(chosen.tolist(), items, strict=True):
            if tuple(x.shape) != self._stored:
                raise DataError(f"sample {place} has shape {tuple(x.shape)}, sample 0 has {self._stored}")
        x = torch.stack([x for x, _ in items])
        check_values(x, self._layout, chosen)
        y = torch.tensor([label for _, label in items]) if self._labelled else None
        return Batch(arrange(x, self._layout), chosen, y)

    @property
    def shape(self) -> tuple[int, ...]:
        return sample_shape((self._size, *self._stored), self._layout)

    @property
    def labels(self) -> Tensor | None:
        if self._labelled and self._labels is None:
            read = torch.tensor([self._item(place)[1] for place in range(self._size)])
            self._labels = check_labels(read, self._size, self._classes)
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    def fingerprint(self) -> str:
        return digest(self)

    def _item(self, place: int) -> tuple[Tensor, int | None]:
        """Return one sample as a tensor, and its label or None."""
        item = self.dataset[place]
        x, y = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        if isinstance(x, Image.Image):
            x = np.asarray(x if x.mode == "L" else to_rgb(x))
        if isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
            x = torch.from_numpy(x.copy())
        if isinstance(x, tuple | list) and len(x) == 1:
            x = x[0]  # TensorDataset(x)
        if not isinstance(x, Tensor):
            raise DataError(
                f"sample {place} is a {type(x).__name__}: allowed are x or (x, y), x a tensor, array or picture"
            )
        if y is None:
            return x, None
        label = np.asarray(y)
        if label.size != 1 or label.dtype.kind not in "biu":
            raise DataError(
                f"the label of sample {place} is a {type(y).__name__} of {label.dtype}: labels are whole numbers"
            )
        return x, int(label.item())
