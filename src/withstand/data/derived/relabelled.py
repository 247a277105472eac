"""A source whose labels are others than its own, or that had none."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError, nearest
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped


class Relabelled(Wrapped):
    """The same samples with other labels.

    Args:
        source: the samples.
        y: one label each, int64 `(N,)`; -1 for a sample without one.
        classes: the names of labels 0, 1, ...

    Raises:
        DataError: another number of labels than of samples.
    """

    def __init__(self, source: Source, y: Tensor | Sequence[int], classes: tuple[str, ...] = ()) -> None:
        self._wrap(source)
        self._y = torch.as_tensor(y, dtype=torch.int64)
        self._classes = tuple(classes)
        if self._y.shape != (len(source),):
            raise DataError(f"there are {len(self._y)} labels for {len(source)} samples")

    @classmethod
    def example(cls) -> Self:
        pictures = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return cls(ArraySource(pictures), [0, 1, -1, 1, 0, -1, 0, 1], ("cat", "dog"))

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        return replace(batch, y=self._y[batch.index])

    @property
    def labels(self) -> Tensor | None:
        return self._y

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def targets(self) -> Tensor | None:
        return None

    def fingerprint(self) -> str:
        content = self.source.fingerprint().encode() + self._y.numpy().tobytes() + repr(self._classes).encode()
        return blake2b(content, digest_size=16).hexdigest()


def numbered_as(source: Source, classes: Sequence[str]) -> Source:
    """Return samples whose labels are the numbers that their classes have among others, found by their names.

    A folder of some of the classes numbers those that it has; what a classifier of all of them says is compared with
    its own numbers. Samples without labels, and classes without names, stay as they are.

    Raises:
        DataError: samples of a class that is none of these.
    """
    labels, names = source.labels, source.classes
    if labels is None or not names or not classes or tuple(names) == tuple(classes):
        return source
    there = torch.unique(labels[labels >= 0]).tolist()
    if there and there[-1] >= len(names):
        return source
    strange = [names[label] for label in there if names[label] not in classes]
    if strange:
        raise DataError(
            f"{source.name} has samples of class {strange[0]!r}, which the classifier does not know: "
            f"{nearest(strange[0], classes)}"
        )
    own = torch.tensor([classes.index(name) if name in classes else -1 for name in names])
    return Relabelled(source, torch.where(labels >= 0, own[labels.clamp_min(0)], -1), tuple(classes))
