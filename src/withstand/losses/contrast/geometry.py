"""The shape of a cloud of embeddings: gauges of collapse and quality that need no labels.

Alignment and uniformity: Understanding Contrastive Representation Learning through Alignment and Uniformity on
the Hypersphere (2020). Effective rank: Roy and Vetterli (2007), the exponential of the spectrum's entropy.

Sizes: N embeddings of width D. All are differentiable; `alignment` and `uniformity` serve as losses too.
"""

import math

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.similarity import pairwise_logsumexp


@full_precision
def alignment(z1: Tensor, z2: Tensor, *, power: float = 2.0) -> Tensor:
    """Return the mean distance, to `power`, between the normalised embeddings `(N, D)` of two views; 0 is best."""
    return (unit_rows(z1) - unit_rows(z2)).square().sum(1).pow(power / 2).mean()


@full_precision
def uniformity(z: Tensor, *, t: float = 2.0) -> Tensor:
    """Return `log mean exp(-t |u_i - u_j|^2)` over pairs i != j of normalised embeddings `(N, D)`.

    Lower is more uniform; 0 means that all point one way.
    """
    _at_least_two(z)
    nothing = torch.empty(len(z), 0, dtype=torch.int64, device=z.device)
    # |u_i - u_j|^2 = 2 - 2 <u_i, u_j> on the sphere.
    others = pairwise_logsumexp(unit_rows(z), 1 / (2 * t), nothing)
    return others.logsumexp(0) - 2 * t - math.log(len(z) * (len(z) - 1))


@full_precision
def per_dimension_std(z: Tensor) -> Tensor:
    """Return the standard deviation of each dimension of the normalised embeddings, `(D,)`.

    About `1 / sqrt(D)` when embeddings spread evenly over the sphere, 0 when they collapse to a point.
    """
    _at_least_two(z)
    return unit_rows(z).std(0)


@full_precision
def effective_rank(z: Tensor) -> Tensor:
    """Return how many directions the centred embeddings `(N, D)` use: from 0 (all equal) to min(N - 1, D).

    The exponential of the entropy of the singular values, taken as shares of their sum.
    """
    _at_least_two(z)
    # Rows that are equal but for round-off shall not pass for a cloud of full rank.
    noise = float(z.detach().abs().amax() * math.sqrt(len(z)) * torch.finfo(z.dtype).eps * max(z.shape))
    values = _singular_values(z - z.mean(0), noise)
    if len(values) == 0:
        return z.new_zeros(())
    share = values / values.sum()
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank.to(z.dtype)


def _singular_values(z: Tensor, least: float) -> Tensor:
    """Return the singular values above `least`."""
    if z.dtype == torch.float64:
        values: Tensor = torch.linalg.svdvals(z)
        return values[values > least]
    # The products' eigenvalues are several times cheaper, and in float64 exact where float32 has digits.
    wide = (z.cpu() if z.device.type == "mps" else z).double()  # which mps does not know
    squares: Tensor = torch.linalg.eigvalsh(wide @ wide.T if len(z) < z.shape[1] else wide.T @ wide)
    return squares[squares > least**2].sqrt()


def _at_least_two(z: Tensor) -> None:
    if z.dim() != 2 or len(z) < 2:
        raise DataError(f"a cloud of embeddings is (N, D) with at least 2 rows, not {tuple(z.shape)}")
