"""What methods on several views of a sample need, whole ones and small parts of it."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError


def several_views(batch: Batch, whole: int = 2) -> tuple[Tensor, ...]:
    """Return a batch's views, each `(B, ...)`.

    Args:
        batch: with views.
        whole: how many views, the first ones, must be of one shape.

    Raises:
        DataError: there are fewer, or they differ in shape.
    """
    if len(batch.views) < whole:
        raise DataError(f"this method learns from {whole} or more views of each sample, not {len(batch.views)}")
    if len({view.shape for view in batch.views[:whole]}) > 1:
        shapes = " and ".join(str(tuple(view.shape[1:])) for view in batch.views[:whole])
        raise DataError(f"the first {whole} views must have one shape, not {shapes}: whole views come first")
    return batch.views


def each(network: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> list[Tensor]:
    """Return the network's outputs for each view, one pass for each run of views of one shape, as SwAV's code does.

    Views of one pass share their batch statistics.
    """
    return [part for run in _runs(views) for part in network(torch.cat(run)).chunk(len(run))]


def _runs(views: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    run: list[Tensor] = []
    for view in views:
        if run and view.shape != run[-1].shape:
            yield run
            run = []
        run.append(view)
    yield run
