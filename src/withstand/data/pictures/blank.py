"""The form of pictures that are not there."""

from collections.abc import Sequence
from typing import Self

import torch

from withstand.core.batch import Batch
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.roles import Indices, Source
from withstand.data.shared.digest import as_indices, digest


class Blank(Source):
    """Black pictures, which say how others are read like them: of which shape, and what their files do not say.

    Args:
        shape: (C, H, W).
        reading: what picture files do not say.
        count: how many there are.
    """

    kind = "picture"
    name = "blank"

    def __init__(self, shape: Sequence[int], reading: Reading = PLAIN, count: int = 1) -> None:
        self._shape, self.reading, self._count = tuple(shape), reading, count

    @classmethod
    def example(cls) -> Self:
        return cls((3, 8, 8), count=8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, self._count)
        return Batch(torch.zeros((len(chosen), *self._shape), dtype=torch.uint8), chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def fingerprint(self) -> str:
        return digest(self)
