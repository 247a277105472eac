"""Losses of masked reconstruction. Sizes: `M` hidden things, `F` features of each; `B` pictures of `L` patches."""

import torch
from torch import Tensor

from withstand.core.devices.distributed import total, world_size
from withstand.losses.precision import full_precision, unit_rows


@full_precision
def scaled_cosine_error(prediction: Tensor, target: Tensor, alpha: float = 3.0) -> Tensor:
    """Return (1 - cos(x_i, z_i))^alpha of each row, `(M,)` (GraphMAE, Hou et al., 2022, eq. 4).

    The angle alone counts, so that the scale of features and their number do not; alpha above 1 takes weight from
    rows that are nearly right. A row of zeros has cosine 0, so error 1, and a slope of about 1e12 there: lengths below
    1e-12 count as 1e-12, as in the official code, and published results hang on it (see GraphMAE).

    Args:
        prediction: z, `(M, F)`.
        target: x, `(M, F)`.
        alpha: at least 1.
    """
    length = torch.linalg.vector_norm(prediction, dim=1)
    # The prediction is divided after the sum: its rows are long.
    cosine = (prediction * unit_rows(target)).sum(1) / length.clamp_min(1e-12)
    errors: Tensor = (1 - cosine).clamp_min(0) ** alpha if alpha != 1 else 1 - cosine
    return errors


@full_precision
def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each row, `(M,)`."""
    return torch.nn.functional.mse_loss(prediction, target, reduction="none").mean(1)


@full_precision
def masked_patch_error(prediction: Tensor, patches: Tensor, hidden: Tensor, normalise: bool = True) -> Tensor:
    """Return the mean squared error of each hidden patch, `(B, M)` (MAE, He et al., 2022).

    Args:
        prediction: of the hidden patches, `(B, M, F)`.
        patches: all of the picture, `(B, L, F)`.
        hidden: which of them are predicted, int64 `(B, M)`.
        normalise: compare with (t - mean) / sqrt(variance + 1e-6) of each patch, in place of its values t; the
            variance is the unbiased one, as in the official code, so that F must be at least 2.
    """
    target = patches.gather(1, hidden[:, :, None].expand(-1, -1, patches.shape[2]))
    if normalise:
        variance, mean = torch.var_mean(target, 2, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    return (prediction - target).square().mean(2)


@full_precision
def absolute_error_where(prediction: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean absolute error of the values that were hidden, on any process, 0-d (SiT, Atito et al., 2021).

    Its mean over processes is that of all; where nothing is hidden anywhere it is 0.

    Args:
        prediction: of any shape.
        target: of that shape.
        hidden: which values count, bool of that shape.
    """
    count = total(hidden.sum()).clamp_min(1)
    errors = torch.where(hidden, (prediction - target).abs(), 0.0)
    return errors.sum() / count * world_size()
