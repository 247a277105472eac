"""Losses towards another network's output.

Bootstrap Your Own Latent (BYOL, 2020); Exploring Simple Siamese Representation Learning (SimSiam, 2020).

Sizes: B samples on this process, D projection width. Rows are normalised here, once.
"""

from torch import Tensor

from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows


@full_precision
def negative_cosine(predictions: Tensor, targets: Tensor, *, stop_gradient: bool = True) -> Tensor:
    """Return minus the mean cosine of predictions and targets, both `(B, D)`.

    Args:
        predictions: unnormalised.
        targets: unnormalised.
        stop_gradient: let no gradient reach the targets.
    """
    if predictions.dim() != 2 or predictions.shape != targets.shape or len(predictions) == 0:
        raise DataError(
            f"predictions and targets need one shape (B, D), not {tuple(predictions.shape)} and {tuple(targets.shape)}"
        )
    targets = targets.detach() if stop_gradient else targets
    return -(unit_rows(predictions) * unit_rows(targets)).sum(1).mean()


def byol(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared distance of unit-length predictions and targets, `2 - 2 cos`, in [0, 4]."""
    return 2 + 2 * negative_cosine(predictions, targets)
