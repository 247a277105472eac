"""Contrastive losses against keys that another network, or another time, has made.

Queue: Improved Baselines with Momentum Contrastive Learning (MoCo v2, 2020). In the batch: An Empirical Study of
Training Self-Supervised Vision Transformers (MoCo v3, 2021); With a Little Help from My Friends (NNCLR, 2021).

Sizes: B samples on this process, N over all processes, K queued keys, D projection width.
"""

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.similarity import similarity_logsumexp
from withstand.losses.temperature import Temperature, checked_temperature


@full_precision
def info_nce_queue(
    queries: Tensor, keys: Tensor, queue: Tensor, temperature: Temperature = 0.2, *, own: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of finding each query's key among it and the queue, mean over this process's queries.

    Args:
        queries: `(B, D)`, unnormalised.
        keys: each query's positive, `(B, D)`, unnormalised.
        queue: negatives of unit length, `(K, D)`; they get no gradient, and K may be 0.
        temperature: tau, above 0.
        own: further negatives of unit length that each query alone has, `(B, S, D)`; they get no gradient.
    """
    temperature = _check(queries, keys, temperature)
    query = unit_rows(queries)
    positive = (query * unit_rows(keys)).sum(1) / temperature
    negatives = torch.full_like(positive, -torch.inf)
    if len(queue):
        nothing = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
        negatives = similarity_logsumexp(query, queue.detach(), temperature, nothing)
    if own is not None and own.shape[1]:
        further = torch.einsum("bd,bsd->bs", query, own.detach()) / temperature
        negatives = torch.logaddexp(negatives, further.logsumexp(1))
    return (torch.logaddexp(positive, negatives) - positive).mean()


@full_precision
def info_nce_across(queries: Tensor, keys: Tensor, temperature: Temperature = 0.2) -> Tensor:
    """Return the cross-entropy of finding each query's key among all keys of the global batch, mean over queries.

    Unlike NT-Xent, only keys are negatives, never other queries.

    Args:
        queries: `(B, D)`, unnormalised.
        keys: each query's positive in the same row, `(B, D)`, unnormalised.
        temperature: tau, above 0.
    """
    temperature = _check(queries, keys, temperature)
    query, key = unit_rows(queries), unit_rows(keys)
    everyone = gather(key)
    logits = query @ everyone.T / temperature
    row = torch.arange(len(query), device=query.device)
    return (logits.logsumexp(1) - logits[row, row + first_row(len(query))]).mean()


def _check(queries: Tensor, keys: Tensor, temperature: Temperature) -> Temperature:
    if queries.dim() != 2 or queries.shape != keys.shape or len(queries) == 0:
        raise DataError(f"queries and keys need one shape (B, D), not {tuple(queries.shape)} and {tuple(keys.shape)}")
    return checked_temperature(temperature)
