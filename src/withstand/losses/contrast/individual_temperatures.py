"""Global contrastive losses with a temperature of each sample's own.

SogCLR: Provable Stochastic Optimization for Global Contrastive Learning (2022). iSogCLR: Not All Semantics are
Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization (2023).

Sizes: B samples on this process, N over all processes, M = 2(N - 1) negatives of each of 2B anchors, D width. Anchors
come first views first. Partition functions are handled as logarithms, so that no temperature overflows.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows


class Contrasts(NamedTuple):
    """Similarities `h` of anchors to all views of the batch, `(2B, 2N)`, and which are negatives, bool."""

    h: Tensor
    negative: Tensor

    @property
    def negatives(self) -> int:
        """How many negatives each anchor has."""
        return self.h.shape[1] - 2


@full_precision
def contrasts(z1: Tensor, z2: Tensor, *, subtract_positive: bool = True) -> Contrasts:
    """Return `h`, cosines minus the anchor's own positive's cosine, for projections `(B, D)` of two views.

    Args:
        z1: projections of the first views, unnormalised.
        z2: projections of the second views.
        subtract_positive: as in the papers' objective; without it (LibAUC's code) h are the cosines themselves, and
            moving averages mix anchors' different positives.
    """
    if z1.dim() != 2 or z1.shape != z2.shape:
        raise DataError(f"two views need projections of one shape (B, D), not {tuple(z1.shape)} and {tuple(z2.shape)}")
    one, two = unit_rows(z1), unit_rows(z2)
    local, samples = len(one), len(one) * world_size()
    if samples < 2:
        raise DataError("a contrast needs negatives: give batches of at least 2 samples, not 1")
    cosines = torch.cat([one, two]) @ torch.cat([gather(one), gather(two)]).T
    if subtract_positive:
        cosines = cosines - (one * two).sum(1).repeat(2)[:, None]
    row = torch.arange(local, device=one.device) + first_row(local)
    own = torch.cat([torch.stack([row, row + samples], 1)] * 2)
    negative = torch.ones_like(cosines, dtype=torch.bool).scatter_(1, own, False)
    return Contrasts(cosines, negative)


@torch.no_grad()
def log_partition(some: Contrasts, temperature: Tensor) -> Tensor:
    """Return `log mean_j exp(h_ij / tau_i)` over each anchor's negatives, `(2B,)`; temperatures are `(2B,)`."""
    exponents = (some.h / temperature[:, None]).masked_fill(~some.negative, -torch.inf)
    return exponents.logsumexp(1) - math.log(some.negatives)


@torch.no_grad()
def moving_average(log_old: Tensor, log_new: Tensor, share: float) -> Tensor:
    """Return `log((1 - share) old + share new)`, entry by entry; where old is unseen, minus infinity, the new one."""
    mixed = torch.logaddexp(
        log_old + math.log1p(-share) if share < 1 else log_old - math.inf, log_new + math.log(share)
    )
    return torch.where(log_old == -torch.inf, log_new, mixed)


@full_precision
def surrogate(some: Contrasts, temperature: Tensor, log_u: Tensor, positive: Tensor | None = None) -> Tensor:
    """Return a loss whose gradient is that of the global objective's stochastic estimate; its value means nothing.

    `sum over both views of mean_i sum_j p_ij h_ij / M`, with constant weights `p_ij = exp(h_ij / tau_i) / u_i`. With
    u the batch's own partition function, the gradient is tau times DCL's of both views summed.

    Args:
        some: from `contrasts`.
        temperature: of each anchor, `(2B,)`.
        log_u: each anchor's partition function, averaged over steps, `(2B,)`.
        positive: cosines of both views `(B,)`, where `some` was made without subtracting them.
    """
    weight = _weights(some, temperature, log_u)
    terms = (weight * some.h).sum(1) / some.negatives
    if positive is not None:
        terms = terms - positive.repeat(2)
    return 2 * terms.mean()


@torch.no_grad()
def temperature_gradient(some: Contrasts, temperature: Tensor, log_u: Tensor, rho: float) -> Tensor:
    """Return the robust objective's derivative by each anchor's temperature, `(2B,)`.

    `log u_i + rho - sum_j p_ij (h_ij / tau_i) / M`: rho minus KL(p_i || uniform) where u is the batch's own. So an
    anchor's temperature settles where its negatives' weights are as far from even as rho says.
    """
    exponents = some.h / temperature[:, None]
    return log_u + rho - (_weights(some, temperature, log_u) * exponents).sum(1) / some.negatives


@torch.no_grad()
def _weights(some: Contrasts, temperature: Tensor, log_u: Tensor) -> Tensor:
    """Return `p_ij = exp(h_ij / tau_i) / u_i` of negatives, 0 elsewhere, `(2B, 2N)`."""
    exponents = some.h / temperature[:, None] - log_u[:, None]
    return exponents.masked_fill(~some.negative, -torch.inf).exp()
