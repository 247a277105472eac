"""How a contrastive loss shares its push among negatives, and losses with the sharing made explicit.

Understanding the Behaviour of Contrastive Loss (2021). The two views of all other samples are an anchor's negatives,
as in NT-Xent: alpha is a share of these 2(N - 1).

Sizes: B samples on this process, N over all processes, D projection width. Anchors come first views first.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, above
from withstand.losses.contrast.individual_temperatures import contrasts
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.temperature import Temperature, checked_temperature


@full_precision
def hard_contrastive(z1: Tensor, z2: Tensor, temperature: Temperature = 0.2, *, alpha: float = 1.0) -> Tensor:
    """Return NT-Xent on each anchor's hardest negatives alone, mean over 2B anchors.

    Args:
        z1: projections of the first views, `(B, D)`, unnormalised.
        z2: projections of the second views.
        temperature: tau, above 0.
        alpha: share of an anchor's negatives that is kept, the most similar; 1 is NT-Xent.
    """
    temperature = checked_temperature(temperature)
    positive, negatives = _hardest(z1, z2, alpha)
    rest = (negatives / temperature).logsumexp(1)
    return (torch.logaddexp(rest, positive / temperature) - positive / temperature).mean()


@full_precision
def simple_contrastive(z1: Tensor, z2: Tensor, weight: float | None = None, *, alpha: float = 1.0) -> Tensor:
    """Return `-s_pos + weight * sum of negatives' cosines`, mean over 2B anchors: what NT-Xent is when it is hottest.

    It pushes all negatives alike. With a small `alpha` it pushes the hardest alone, and works (hard simple loss).

    Args:
        z1: projections of the first views, `(B, D)`, unnormalised.
        z2: projections of the second views.
        weight: lambda; None for 1 over the number of kept negatives.
        alpha: share of an anchor's negatives that is kept, the most similar.
    """
    positive, negatives = _hardest(z1, z2, alpha)
    share = 1 / negatives.shape[1] if weight is None else weight
    return (share * negatives.sum(1) - positive).mean()


def _hardest(z1: Tensor, z2: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return the positives' cosines `(2B,)`, and those of the hardest negatives `(2B, k)`."""
    if not 0 < alpha <= 1:
        raise ConfigError(f"alpha must lie in (0, 1], not {alpha!r}")
    some = contrasts(z1, z2, subtract_positive=False)
    if alpha * some.negatives < 1:
        raise ConfigError(
            f"alpha {alpha!r} keeps none of {some.negatives} negatives: give at least {above(1 / some.negatives)}"
        )
    negatives = some.h[some.negative].view(len(some.h), some.negatives)
    kept = math.ceil(alpha * some.negatives - 1e-9)
    if kept < some.negatives:
        negatives = negatives.topk(kept, 1).values
    return (unit_rows(z1) * unit_rows(z2)).sum(1).repeat(2), negatives


@full_precision
def relative_penalties(similarity: Tensor, temperature: Temperature) -> Tensor:
    """Return each negative's share of the push on its anchor, `softmax(s / tau)`, `(A, M)` rows summing to 1.

    The derivative of InfoNCE by a negative's cosine over that by the positive's, in absolute value.

    Args:
        similarity: cosines of A anchors to their M negatives.
        temperature: tau, above 0. Towards 0 the nearest negative takes all; at infinity all share alike.
    """
    temperature = checked_temperature(temperature)
    return (similarity / temperature).softmax(1)


class Penalties(NamedTuple):
    """How concentrated the push is, means over anchors.

    Attributes:
        entropy: of the shares, in nats; log M where all share alike. It rises with temperature.
        evenness: entropy over log M, in [0, 1].
        largest: the nearest negative's share.
        curve: cumulated share of the nearest negatives, `(M,)`, nearest first.
    """

    entropy: Tensor
    evenness: Tensor
    largest: Tensor
    curve: Tensor


@full_precision
def penalty_distribution(z: Tensor, temperature: Temperature) -> Penalties:
    """Return how embeddings `(N, D)`, each an anchor with all others as negatives, share the push at a temperature."""
    return penalties(ordered_negatives(z), temperature)


@full_precision
def ordered_negatives(z: Tensor) -> Tensor:
    """Return the cosines of embeddings `(N, D)` to all others, each row's nearest first, `(N, N - 1)`."""
    if z.dim() != 2 or len(z) < 3:
        raise DataError(
            f"a distribution over negatives needs embeddings (N, D) of 3 or more samples, not {tuple(z.shape)}"
        )
    rows = unit_rows(z)
    off = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (rows @ rows.T)[off].view(len(z), len(z) - 1).sort(1, descending=True).values


@full_precision
def penalties(ordered: Tensor, temperature: Temperature) -> Penalties:
    """Return how anchors share the push among negatives.

    Args:
        ordered: cosines of A anchors to M negatives, nearest first, `(A, M)`, M above 1.
        temperature: tau, above 0.
    """
    shares = relative_penalties(ordered, temperature)
    # Not of the shares, whose logarithm has no slope where they underflow to 0.
    entropy = -(shares * (ordered / checked_temperature(temperature)).log_softmax(1)).sum(1).mean()
    means = shares.mean(0)
    return Penalties(entropy, entropy / math.log(ordered.shape[1]), means[0], means.cumsum(0))


@full_precision
def tolerance(z: Tensor, labels: Tensor, *, joint: bool = False) -> Tensor:
    """Return the mean cosine of different samples of one class: how close a loss lets alike samples stay.

    Args:
        z: embeddings `(N, D)`.
        labels: `(N,)`; they measure, and teach nothing.
        joint: the mean over all pairs, with 0 for pairs of two classes, as the paper writes it; that depends on how
            large classes are. Else over pairs of one class.

    Raises:
        DataError: no two samples share a class.
    """
    rows = unit_rows(z)
    same = labels[:, None] == labels
    same.fill_diagonal_(False)
    if not bool(same.any()):
        raise DataError("tolerance needs two samples of one class")
    cosines = rows @ rows.T
    pairs = len(z) * (len(z) - 1) if joint else same.sum()
    return (cosines * same).sum() / pairs
