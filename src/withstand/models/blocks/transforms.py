"""Fixed changes of samples that a network is asked to tell apart, or that it sees all of.

A sample's versions come after one another, everywhere: row b M + j is sample b under change j.
sizes: B samples, M changes
"""

from abc import abstractmethod

import torch
from torch import Tensor

from withstand.core.part import Part


class TransformSet(Part):
    """M changes of samples of any kind. Number 0 leaves them as they are, and no change alters their shape."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What each change is called, in their order."""

    @abstractmethod
    def apply(self, x: Tensor, number: int) -> Tensor:
        """Return samples `(B, ...)` under one change.

        Raises:
            DataError: the samples cannot be changed so.
        """

    def __len__(self) -> int:
        return len(self.names)

    def every(self, x: Tensor) -> Tensor:
        """Return samples `(B, ...)` under each change, `(B * M, ...)`, in the memory layout that they came in."""
        versions = [self.apply(x, number) for number in range(len(self))]
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            laid = torch.stack([version.permute(0, 2, 3, 1) for version in versions], 1)
            return laid.flatten(0, 1).permute(0, 3, 1, 2)
        return torch.stack(versions, 1).flatten(0, 1)


class Combined(TransformSet):
    """Every change of one set followed by every change of another: change j k' + k is j of the first, then k.

    Args:
        first: the set that is gone through slowly.
        second: the set, of k' changes, that is gone through quickly.
    """

    def __init__(self, first: TransformSet, second: TransformSet) -> None:
        self.first, self.second = first, second

    @property
    def names(self) -> tuple[str, ...]:
        slow, quick = self.first.names, self.second.names
        return tuple(
            f"{one}, {other}" if i and j else other if j else one
            for i, one in enumerate(slow)
            for j, other in enumerate(quick)
        )

    def apply(self, x: Tensor, number: int) -> Tensor:
        slow, quick = divmod(number, len(self.second))
        return self.second.apply(self.first.apply(x, slow), quick)
