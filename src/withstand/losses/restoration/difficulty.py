"""Learning how hard each patch is: its loss told beforehand. Sizes: `B` pictures, `M` hidden patches of each."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from withstand.core.devices.distributed import total, world_size
from withstand.losses.precision import full_precision


@full_precision
def ranking_error(scores: Tensor, errors: Tensor) -> Tensor:
    """Return how badly scores order a picture's patches by their errors, 0-d (HPM, Wang et al., 2023, eq. 6).

    The mean of log(1 + exp(-(s_i - s_j))) over all pairs of one picture with error i above error j: ln 2 where scores
    are equal, towards 0 where they order the errors. Equal errors make no pair; without any pair it is 0. Over several
    processes its mean is that of all pairs of the batch.

    Args:
        scores: s, `(B, M)`.
        errors: what is told, `(B, M)`; no gradient reaches it.
    """
    harder = errors[:, :, None] > errors[:, None, :]
    costs = softplus(scores[:, None, :] - scores[:, :, None])
    pairs = total(harder.sum(dtype=torch.float64)).clamp_min(1)
    return (costs * harder).sum() * (world_size() / pairs).to(costs.dtype)


@full_precision
def standard_error(scores: Tensor, errors: Tensor) -> Tensor:
    """Return the mean squared difference of scores from each picture's errors, standardised, 0-d (HPM, eq. 5).

    Standardised is (l - mean) / sqrt(variance + 1e-6) over a picture's hidden patches, by the unbiased variance.

    Args:
        scores: s, `(B, M)`.
        errors: l, `(B, M)`, M at least 2; no gradient reaches them.
    """
    variance, mean = torch.var_mean(errors.detach(), 1, keepdim=True)
    return (scores - (errors.detach() - mean) / (variance + 1e-6).sqrt()).square().mean()
