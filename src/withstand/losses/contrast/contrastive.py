"""Contrastive losses on two views' projections.

NT-Xent: A Simple Framework for Contrastive Learning of Visual Representations (SimCLR, 2020).
Negatives of one view alone: Towards domain-invariant Self-Supervised Learning with Batch Styles Standardization (2023).
DCL, DCLW: Decoupled Contrastive Learning (2022).

Sizes: B samples on this process, N over all processes, D projection width. Projections come unnormalised and
are normalised here, once. Negatives are gathered over processes, and gradients are those of the global batch
(see `core.distributed`); the value is the mean over this process's anchors.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.similarity import pairwise_logsumexp, similarity_logsumexp
from withstand.losses.temperature import Temperature, checked_temperature


@full_precision
def nt_xent(z1: Tensor, z2: Tensor, temperature: Temperature = 0.2) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy: each view must find its other view among all.

    The mean over 2N anchors of `-s_pos + logsumexp` over the other 2N - 1 rows, the positive included; never
    below 0.

    Args:
        z1: projections of the first views, `(B, D)`, unnormalised.
        z2: projections of the second views, `(B, D)`.
        temperature: tau, above 0.
    """
    positive, others = _two_terms(z1, z2, temperature, decoupled=False)
    return (others - positive.repeat(2)).mean()


@full_precision
def same_view_nt_xent(z: Tensor, temperature: Temperature = 0.2) -> Tensor:
    """Return NT-Xent in which an anchor's negatives are the other samples' views of its own kind.

    The mean over V N anchors and each one's V - 1 positives of `-s_pos + log(exp(s_pos) + sum_j exp(s_j))`, j over the
    other samples in the anchor's view; never below 0. Of features that are all alike it is log N.

    Args:
        z: projections `(V, B, D)` of two views or more, unnormalised.
        temperature: tau, above 0.

    Raises:
        DataError: fewer than two views, or a global batch of one sample, which has no negatives.
    """
    if z.dim() != 3 or len(z) < 2:
        raise DataError(f"projections of two views or more are needed, (V, B, D), not {tuple(z.shape)}")
    temperature = checked_temperature(temperature)
    local = z.shape[1]
    if local * world_size() < 2:
        raise DataError("NT-Xent needs negatives: give batches of at least 2 samples, not 1")
    points = [unit_rows(view) for view in z]
    itself = (torch.arange(local, device=z.device) + first_row(local))[:, None]
    losses = []
    for place, anchors in enumerate(points):
        if world_size() == 1:
            others = pairwise_logsumexp(anchors, temperature, itself[:, :0])
        else:
            others = similarity_logsumexp(anchors, gather(anchors), temperature, itself)
        for other in (*points[:place], *points[place + 1 :]):
            losses.append(softplus(others - (anchors * other).sum(1) / temperature).mean())
    return torch.stack(losses).mean()


@full_precision
def dcl(z1: Tensor, z2: Tensor, temperature: Temperature = 0.1) -> Tensor:
    """Return the decoupled contrastive loss: NT-Xent without the positive in the log-sum-exp.

    The mean over 2N anchors of `-s_pos + logsumexp` over the 2(N - 1) views of other samples (half of the
    sum over both directions that some code takes); it has no lower bound.

    Raises:
        DataError: a global batch of one sample has no negatives.
    """
    positive, negatives = _two_terms(z1, z2, temperature, decoupled=True)
    return (negatives - positive.repeat(2)).mean()


@full_precision
def dclw(
    z1: Tensor, z2: Tensor, temperature: Temperature = 0.1, *, sigma: float = 0.5, detach_weight: bool = True
) -> Tensor:
    """Return DCL with hard positives weighted up by a negated von Mises-Fisher weight.

    Sample i's positive term is multiplied by `w_i = 2 - N softmax_i(cos_i / sigma)`, whose mean over the batch
    is 1; an easy positive that dominates the batch may get a negative weight.

    Args:
        z1: projections of the first views, `(B, D)`, unnormalised.
        z2: projections of the second views, `(B, D)`.
        temperature: tau, above 0.
        sigma: width of the weight; at infinity this is DCL.
        detach_weight: stop the gradient through w. The paper is silent; lightly stops it, others do not.
    """
    if not sigma > 0:
        raise ConfigError(f"sigma must be above 0, not {sigma!r}")
    positive, negatives = _two_terms(z1, z2, temperature, decoupled=True)
    cosine = gather(positive.detach() if detach_weight else positive) * temperature
    weight = 2 - len(cosine) * (cosine / sigma).softmax(0)
    first = first_row(len(positive))
    weight = weight[first : first + len(positive)]
    return (negatives - (weight * positive).repeat(2)).mean()


@full_precision
def dcl_queue(queries: Tensor, keys: Tensor, queue: Tensor, temperature: Temperature = 0.1) -> Tensor:
    """Return DCL against a queue of stored keys, as in MoCo: `-s_pos + logsumexp(s_queue)`, mean over anchors.

    Args:
        queries: `(B, D)`, unnormalised.
        keys: each query's positive, `(B, D)`.
        queue: negatives, `(K, D)`.
        temperature: tau, above 0.
    """
    _check(queries, keys, temperature)
    if len(queue) == 0:
        raise DataError("DCL needs negatives: the queue is empty")
    query = unit_rows(queries)
    nothing = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    negatives = similarity_logsumexp(query, unit_rows(queue), temperature, nothing)
    return (negatives - (query * unit_rows(keys)).sum(1) / temperature).mean()


@full_precision
def npc_factor(z1: Tensor, z2: Tensor, temperature: Temperature = 0.1) -> Tensor:
    """Return each anchor's negative-positive coupling q_B in (0, 1), `(2B,)`, first views first.

    `q_B = U / (exp(s_pos) + U)` with U the sum over negatives. NT-Xent's gradient is q_B times DCL's, so small
    values tell of a learning signal lost to small batches or easy positives.
    """
    positive, negatives = _two_terms(z1, z2, temperature, decoupled=True)
    return (negatives - positive.repeat(2)).sigmoid()


def _two_terms(z1: Tensor, z2: Tensor, temperature: Temperature, *, decoupled: bool) -> tuple[Tensor, Tensor]:
    """Return the positives' similarities over temperature `(B,)`, and the log-sum-exp over the rest `(2B,)`."""
    temperature = _check(z1, z2, temperature)
    one, two = unit_rows(z1), unit_rows(z2)
    local, samples = len(one), len(one) * world_size()
    if decoupled and samples < 2:
        raise DataError("DCL needs negatives: give batches of at least 2 samples, not 1")
    # Columns are numbered over the global batch: the first views of all samples, then the second views.
    row = torch.arange(local, device=one.device) + first_row(local)
    itself = torch.cat([row, row + samples])[:, None]
    other_view = torch.cat([row + samples, row])[:, None]
    queries = torch.cat([one, two])
    if samples == local:
        rest = pairwise_logsumexp(queries, temperature, other_view if decoupled else other_view[:, :0])
    else:
        keys = torch.cat([gather(one), gather(two)])
        exclude = torch.cat([itself, other_view], 1) if decoupled else itself
        rest = similarity_logsumexp(queries, keys, temperature, exclude)
    return (one * two).sum(1) / temperature, rest


def _check(z1: Tensor, z2: Tensor, temperature: Temperature) -> Temperature:
    if z1.dim() != 2 or z1.shape != z2.shape or len(z1) == 0:
        raise DataError(f"two views need projections of one shape (B, D), not {tuple(z1.shape)} and {tuple(z2.shape)}")
    return checked_temperature(temperature)
