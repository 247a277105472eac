"""In which order an epoch takes the samples: at random, and of samples that differ in length, alike ones together."""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.random import derive, permutation
from withstand.core.roles import Source

WINDOW = 50
"""Batches among whose samples alike ones are sought: the more, the less padding, and the less chance in the batches."""


def epoch_order(source: Source, batch: int, seed: int, epoch: int) -> Tensor:
    """Return every sample's place once, int64 `(N,)`, one batch after another, the same for the same seed and epoch.

    Where a source tells how long its samples are, those of some 50 batches are sorted by length and cut into batches
    anew, in random order inside and among one another. What is left when no whole batch is stays as chance had it, so
    that it is not the longest that are dropped.

    Args:
        source: what is learnt from.
        batch: samples a step, over all processes.
        seed: of the run.
        epoch: from 0 on.

    Raises:
        DataError: lengths that are not one whole number a sample.
    """
    count, sizes = len(source), source.sizes
    order = permutation(count, seed, "order", epoch)
    if sizes is None:
        return order
    if sizes.shape != (count,) or sizes.dtype != torch.int64:
        raise DataError(f"sizes must be int64 ({count},), one a sample, not {sizes.dtype} {tuple(sizes.shape)}")
    whole = count // batch * batch
    windows = [order[first : min(first + WINDOW * batch, whole)] for first in range(0, whole, WINDOW * batch)]
    alike = [window[sizes[window].argsort(stable=True)] for window in windows]
    batches = torch.cat([order[:0], *alike]).view(whole // batch, batch)
    generator = torch.Generator().manual_seed(derive(seed, "inside batches", epoch))
    inside = torch.rand(batches.shape, generator=generator).argsort(1)
    mixed = batches.gather(1, inside)[permutation(len(batches), seed, "batches", epoch)]
    return torch.cat([mixed.flatten(), order[whole:]])
