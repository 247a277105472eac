"""A queue of the last K keys, first in, first out: more negatives, or neighbours, than a batch holds.

Momentum Contrast for Unsupervised Visual Representation Learning (MoCo, 2019).
"""

import torch
from torch import Tensor, nn

from withstand.core.devices.distributed import gather, world_size
from withstand.core.errors import ConfigError
from withstand.losses.precision import unit_rows


class Queue(nn.Module):
    """The last K rows of unit length, in buffers.

    It begins with random directions, as MoCo's does; `filled` tells how many rows are real. Any batch size will do:
    the queue wraps round. Rows are offered in a step and enter the queue after it, so that the step's backward pass
    finds the queue as it was; in eval mode offers are declined.

    Rows may be of kinds: while `kind` is set, rows of that kind alone are shown, and those that enter are of it.

    Args:
        size: K.
        width: of a row.
    """

    stored: Tensor
    kinds: Tensor
    place: Tensor
    filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"queue_size must be at least 1, not {size!r}")
        self.register_buffer("stored", unit_rows(torch.randn(size, width)))
        self.register_buffer("kinds", torch.full((size,), -1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.kind: int | None = None
        self._offered: Tensor | None = None

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def rows(self) -> Tensor:
        """All rows `(K, D)`, or those of the kind that is set."""
        return self._of_kind(len(self))

    def known(self) -> Tensor:
        """Return the rows that were pushed, `(filled, D)`, the random ones left out."""
        return self._of_kind(int(self.filled))

    def offer(self, keys: Tensor) -> None:
        """Keep this process's keys `(B, D)`, to be pushed by `push_offered`; the last offer of a step counts.

        Raises:
            ConfigError: the queue is smaller than the batch over all processes.
        """
        self.accept(len(keys) * world_size())
        if self.training:
            self._offered = keys.detach()

    def accept(self, batch: int) -> None:
        """Refuse batches, over all processes, that do not fit.

        Raises:
            ConfigError: with the smallest size that does.
        """
        if batch > len(self):
            raise ConfigError(f"queue_size {len(self)} is smaller than the batch of {batch}: use {batch} or more")

    def push_offered(self) -> None:
        """Push what was offered since the last time, if anything was; every process must call it."""
        if self._offered is not None:
            self.push(gather(self._offered))
        self._offered = None

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Put keys `(B, D)` in the oldest rows' place, normalised; every process must push the same."""
        order = (torch.arange(len(keys), device=self.stored.device) + self.place) % len(self)
        self.stored.index_copy_(0, order, unit_rows(keys.to(self.stored.dtype)))
        self.kinds.index_fill_(0, order, -1 if self.kind is None else self.kind)
        self.place.copy_((self.place + len(keys)) % len(self))
        self.filled.copy_((self.filled + len(keys)).clamp_max(len(self)))

    def _of_kind(self, count: int) -> Tensor:
        rows = self.stored[:count]
        return rows if self.kind is None else rows[self.kinds[:count] == self.kind]


class Queues(nn.ModuleList):
    """Several queues.

    Args:
        count: how many.
        size: K of each.
        width: of a row.
    """

    def __init__(self, count: int, size: int, width: int) -> None:
        super().__init__(Queue(size, width) for _ in range(count))

    def each(self) -> list[Queue]:
        """Return them."""
        return [queue for queue in self if isinstance(queue, Queue)]
