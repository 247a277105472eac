"""Variance, invariance, covariance: each dimension shall vary, views agree, dimensions tell different things.

VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning (2021).

Sizes: B samples on this process, N over all processes, D projection width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from withstand.core.devices.distributed import gather
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision


class VICRegTerms(NamedTuple):
    """The three terms, unweighted."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


@full_precision
def vicreg_terms(z1: Tensor, z2: Tensor, *, sum_branches: bool = False, eps: float = 1e-4) -> VICRegTerms:
    """Return VICReg's terms for two views' projections `(B, D)`.

    Invariance: mean squared difference over N D entries. Variance: a branch's mean over dimensions of
    `max(0, 1 - sqrt(var + eps))`, unbiased. Covariance: a branch's sum of squared covariances of different
    dimensions, over D; both branches summed.

    Args:
        z1: projections of the first views, unnormalised.
        z2: projections of the second views.
        sum_branches: sum the branches' variance terms, as solo-learn does, which doubles it; the official code
            takes their mean.
        eps: added to variances.
    """
    if z1.dim() != 2 or z1.shape != z2.shape:
        raise DataError(f"two views need projections of one shape (B, D), not {tuple(z1.shape)} and {tuple(z2.shape)}")
    branches = [z - z.mean(0) for z in (gather(z1), gather(z2))]
    if len(branches[0]) < 2:
        raise DataError("VICReg needs variances over the batch: give at least 2 samples, not 1")
    hinges = [(1 - (x.square().sum(0) / (len(x) - 1) + eps).sqrt()).relu().mean() for x in branches]
    covariances = [squared_covariances(x) / x.shape[1] for x in branches]
    return VICRegTerms(
        (z1 - z2).square().mean(),
        (hinges[0] + hinges[1]) / (1 if sum_branches else 2),
        covariances[0] + covariances[1],
    )


def squared_covariances(x: Tensor) -> Tensor:
    """Return the sum of squared covariances of different columns of centred `x` `(N, D)`, 0-d.

    `|X'X| = |XX'|` in Frobenius norm: the smaller of both matrices is made.
    """
    count, width = x.shape
    gram = x.T @ x if width <= count else x @ x.T
    return (gram.square().sum() - x.square().sum(0).square().sum()) / (count - 1) ** 2


def vicreg(
    z1: Tensor,
    z2: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    sum_branches: bool = False,
) -> Tensor:
    """Return the weighted sum of `vicreg_terms`."""
    terms = vicreg_terms(z1, z2, sum_branches=sum_branches)
    weights = (invariance_weight, variance_weight, covariance_weight)
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum()
