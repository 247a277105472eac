"""Redundancy reduction: losses on the cross-correlation of two views' projections.

Barlow Twins: Self-Supervised Learning via Redundancy Reduction (2021).

Sizes: B samples on this process, N over all processes, D projection width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from withstand.core.devices.distributed import gather
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision


@full_precision
def standardize(z: Tensor, *, unbiased: bool = False, eps: float = 1e-5) -> Tensor:
    """Return columns of mean 0 and variance 1 over the batch, `(N, D)`.

    Args:
        z: `(N, D)`, N at least 2.
        unbiased: divide the variance by N - 1 instead of N. The official code is biased; with the unbiased form
            the correlation of a column with itself is (N - 1) / N, and the loss cannot reach 0.
        eps: added to the variance.
    """
    if z.dim() != 2 or len(z) < 2:
        raise DataError(f"standardising over the batch needs (N, D) with at least 2 rows, not {tuple(z.shape)}")
    variance, mean = torch.var_mean(z, 0, correction=int(unbiased))
    return (z - mean) * (variance + eps).rsqrt()


@full_precision
def cross_correlation(z1: Tensor, z2: Tensor, *, unbiased: bool = False) -> Tensor:
    """Return the correlation of each column of `z1` with each of `z2` over the global batch, `(D, D)` in [-1, 1]."""
    if z1.shape != z2.shape:
        raise DataError(f"two views need projections of one shape (B, D), not {tuple(z1.shape)} and {tuple(z2.shape)}")
    one, two = gather(z1), gather(z2)
    return standardize(one, unbiased=unbiased).T @ standardize(two, unbiased=unbiased) / len(one)


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return a square matrix's entries off the diagonal as a view, `(D - 1, D)`."""
    side = len(matrix)
    return matrix.flatten()[:-1].view(side - 1, side + 1)[:, 1:]


class BarlowTerms(NamedTuple):
    """The two sums of Barlow Twins: `sum_i (C_ii - 1)^2` and `sum_i sum_{j != i} C_ij^2`."""

    invariance: Tensor
    redundancy: Tensor


@full_precision
def barlow_twins_terms(z1: Tensor, z2: Tensor, *, unbiased: bool = False) -> BarlowTerms:
    """Return both sums for projections `(B, D)` of two views; sums over entries, not means."""
    correlation = cross_correlation(z1, z2, unbiased=unbiased)
    return BarlowTerms((correlation.diagonal() - 1).square().sum(), off_diagonal(correlation).square().sum())


def barlow_twins(
    z1: Tensor, z2: Tensor, redundancy_weight: float = 5e-3, *, scale: float = 1.0, unbiased: bool = False
) -> Tensor:
    """Return `scale * (invariance + redundancy_weight * redundancy)`: the cross-correlation shall be the identity.

    Args:
        z1: projections of the first views, `(B, D)`, unnormalised.
        z2: projections of the second views, `(B, D)`.
        redundancy_weight: lambda. About 1/D suits small D; the paper has 5e-3 at D = 8192.
        scale: factor on the whole; matters with SGD and weight decay (0.1 in solo-learn's CIFAR recipe).
        unbiased: see `standardize`.
    """
    terms = barlow_twins_terms(z1, z2, unbiased=unbiased)
    return scale * (terms.invariance + redundancy_weight * terms.redundancy)
