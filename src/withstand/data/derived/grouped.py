"""Coarse labels: the classes of a source in groups."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source
from withstand.data.derived.wrapped import Wrapped


class Grouped(Wrapped):
    """A labelled source whose label is its class's group.

    Args:
        source: with labels.
        groups: the group of label 0, 1, ..., whole numbers from 0 without gaps.

    Raises:
        DataError: no labels, a label without a group, or groups with gaps.
    """

    def __init__(self, source: Source, groups: Sequence[int]) -> None:
        labels = source.labels
        if labels is None:
            raise DataError("classes cannot be grouped: the source has no labels")
        if int(labels.max()) >= len(groups):
            raise DataError(f"groups name {len(groups)} classes, and the source has label {int(labels.max())}")
        if sorted(set(groups)) != list(range(max(groups) + 1)):
            raise DataError(f"groups must count from 0 without gaps, not {sorted(set(groups))}")
        self._wrap(source)
        self.groups, self.origin = tuple(groups), f"{source.origin}, classes in groups"
        self._labels = torch.where(labels < 0, -1, torch.tensor(self.groups)[labels])

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        return replace(batch, y=self._labels[batch.index])

    @property
    def labels(self) -> Tensor:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        names = self.source.classes
        if not names:
            return ()
        members = [[name for name, group in zip(names, self.groups, strict=False) if group == k] for k in self._range()]
        return tuple("/".join(some) for some in members)

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} {self.groups}".encode(), digest_size=16).hexdigest()

    def _range(self) -> range:
        return range(max(self.groups) + 1)
