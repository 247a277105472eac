"""What every method on two views needs."""

from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError


def view_pair(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the two views of a batch, each `(B, ...)`.

    Raises:
        DataError: there are not exactly two.
    """
    if len(batch.views) != 2:
        raise DataError(f"this method learns from two views of each sample, not {len(batch.views)}: use two_views")
    return batch.views[0], batch.views[1]
