"""Losses towards another network's output.

Bootstrap Your Own Latent (BYOL, 2020); Exploring Simple Siamese Representation Learning (SimSiam, 2020);
Self-Distillation for Further Pre-training of Transformers (2023).

Sizes: B samples on this process, D projection width. Cosines normalise rows here, once.
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


@full_precision
def squared_distance(features: Tensor, targets: Tensor) -> Tensor:
    """Return the squared Euclidean distance of features and targets, the mean over all vectors, 0-d.

    The sum over the width, not the mean: as many times torch's `mse_loss` as features are wide.

    Args:
        features: `(..., D)`.
        targets: of that shape; no gradient reaches them.
    """
    if features.shape != targets.shape or features.numel() == 0:
        raise DataError(
            f"features and targets need one shape (..., D), not {tuple(features.shape)} and {tuple(targets.shape)}"
        )
    return (features - targets.detach()).square().sum(-1).mean()
