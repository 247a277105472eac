"""What methods share that learn by one task made of the pictures themselves."""

from abc import abstractmethod
from typing import Self

import torch

from withstand.core.batch import Batch, unit_range
from withstand.core.random import Draws
from withstand.core.roles import Method, Model, Source, Terms
from withstand.methods.shared.masked_pictures import accept_pictures, one_view
from withstand.models.pictures.pretexts import Pretext


class PretextMethod(Method):
    """A method that solves a task with known answers by a head on the encoder's features.

    Reads view 0 of a batch (its samples where there are no views). What is drawn hangs on seed, step and index alone.

    Args:
        encoder: the network to train.
        task: makes inputs and their labels, and has the head.
    """

    def __init__(self, encoder: Model, task: Pretext) -> None:
        super().__init__()
        self.encoder, self.task = encoder, task

    @classmethod
    @abstractmethod
    def example(cls) -> Self: ...

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures(type(self).__name__, source)
        # A task that does not fit such pictures says so.
        self.task.made(torch.zeros(1, *source.shape), Draws(0, torch.zeros(1, dtype=torch.int64)))

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the share of right answers, `accuracy`."""
        loss, right = self.task(self.encoder, unit_range(one_view(batch)), batch.draws("task"))
        return {"loss": loss, "accuracy": right}
