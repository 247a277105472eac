"""Samples in a list, in pairs with their labels, or behind a torch DataLoader, as a map-style dataset."""

import warnings
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
    default_convert,
)

from withstand.core.errors import DataError


class Listed(Dataset[Any]):
    """Samples that lie in a list: tensors, arrays or PIL pictures of one shape, or pairs of these and labels.

    Args:
        items: the list.

    Raises:
        DataError: no samples, something else among them, or another shape than the first one's.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)
        if not self.items:
            raise DataError("a list without samples is no data")
        for place, item in enumerate(self.items):
            if not _is_sample(item):
                raise DataError(
                    f"item {place} of a list is {_named(item)}: allowed are x or (x, y), x a tensor, array or picture"
                )
            if _shape(item) != _shape(self.items[0]):
                raise DataError(
                    f"item {place} of a list has shape {_shape(item)}, item 0 has {_shape(self.items[0])}: bring them "
                    "to one shape"
                )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Any:
        return self.items[place]


def paired(x: Sequence[Any], y: Any) -> Listed:
    """Return samples in a list, each with its label.

    Raises:
        DataError: not as many labels as samples.
    """
    if not hasattr(y, "__len__") or len(y) != len(x):
        count = len(y) if hasattr(y, "__len__") else f"a {type(y).__name__} of"
        raise DataError(f"y holds {count} labels for {len(x)} samples")
    return Listed(list(zip(x, y, strict=True)))


def is_listed(data: object) -> TypeGuard[list[Any]]:
    """Return whether data are a list whose first item is a sample, alone or with its label."""
    return isinstance(data, list) and bool(data) and _is_sample(data[0])


def dataset_of(loader: DataLoader[Any]) -> Any:
    """Return a DataLoader's dataset, and warn of what the loader makes of it and a run does not.

    Raises:
        DataError: its dataset has no places.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise DataError(
            f"the DataLoader's dataset, {type(loader.dataset).__name__}, is an IterableDataset, and a run takes "
            "samples by their place: give a map-style dataset or an array"
        )
    own, taken = [], "every sample of it"
    sampler, dataset = loader.sampler, loader.dataset
    if isinstance(sampler, SubsetRandomSampler):  # it says which samples there are, and not only in which order
        dataset = Subset(dataset, sorted(int(place) for place in sampler.indices))
        taken = f"those {len(dataset):,} of its samples that the loader names"
        own.append("its order by SubsetRandomSampler")
    elif loader.batch_size is None and loader.batch_sampler is not None:
        own.append(f"its batch_sampler {type(loader.batch_sampler).__name__}")
    elif not isinstance(sampler, SequentialSampler):
        own.append(f"its order by {type(sampler).__name__}")
    if loader.collate_fn not in (default_collate, default_convert):
        own.append(f"its collate_fn {getattr(loader.collate_fn, '__name__', type(loader.collate_fn).__name__)}")
    if own:
        warnings.warn(
            f"of the DataLoader its dataset is taken, {type(loader.dataset).__name__}, {taken}: not "
            f"{' and '.join(own)}",
            stacklevel=2,
        )
    return dataset


def _is_sample(item: object) -> bool:
    if isinstance(item, tuple | list):
        return len(item) == 2 and _is_x(item[0])
    return _is_x(item)


def _is_x(x: object) -> bool:
    return isinstance(x, Tensor | np.ndarray | Image.Image)


def _shape(item: Any) -> tuple[int, ...]:
    """Return the shape of a sample's x; of a picture its height and width."""
    x = item[0] if isinstance(item, tuple | list) else item
    return (x.height, x.width) if isinstance(x, Image.Image) else tuple(x.shape)


def _named(item: object) -> str:
    return f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else f"a {type(item).__name__}"
