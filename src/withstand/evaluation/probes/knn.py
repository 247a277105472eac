"""Exact k-nearest-neighbor search and vote, in bounded memory.

Sizes: `N` bank rows, `Q` queries, `D` width, `K` classes. The bank is read in column blocks and the queries in
row blocks, so that one block of scores (`chunk` numbers) is all that is held besides the k best so far.

Weighted vote: w = exp(cos / T), from Wu et al., "Unsupervised feature learning via non-parametric instance
discrimination" (2018). Default k = 20, T = 0.07 (as DINO evaluates); k = 200, T = 0.1 is lightly's setting.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, nearest

Metric = Literal["cosine", "euclidean"]

_COLUMNS = 1 << 16


def neighbors(
    bank: Tensor, queries: Tensor, k: int, *, metric: Metric = "cosine", chunk: int = 1 << 23
) -> tuple[Tensor, Tensor]:
    """Return the k nearest bank rows of each query, nearest first; of equally near rows the earlier.

    Args:
        bank: float32 `(N, D)`.
        queries: float32 `(Q, D)`.
        k: how many; at most N.
        metric: "cosine" or "euclidean".
        chunk: largest number of scores held at once (4 bytes each, a few times over).

    Returns:
        nearness `(Q, k)` (cosine similarity, or minus the Euclidean distance) and rows `(Q, k)`, int64.

    Raises:
        ConfigError: k out of range, or an unknown metric.
    """
    if not 1 <= k <= len(bank):
        raise ConfigError(f"k must be from 1 to the {len(bank)} stored samples, not {k}")
    if metric not in get_args(Metric):
        raise ConfigError(f"metric {metric!r} is unknown: {nearest(str(metric), get_args(Metric))}")
    bank, queries = bank.float(), queries.float()
    # Distances do not change when both are moved, and near the origin the squares below lose least.
    center = bank.mean(0) if metric == "euclidean" else None
    queries = normalize(queries, dim=1) if center is None else queries - center
    width = max(k, min(_COLUMNS, chunk // 64))
    values, rows = [], []
    for start in range(0, len(bank), width):
        block = bank[start : start + width]
        block = normalize(block, dim=1) if center is None else block - center
        offset = None if center is None else block.square().sum(1).mul_(-0.5)
        value, row = _search(queries, block, offset, min(k, len(block)), max(1, chunk // len(block)))
        values.append(value)
        rows.append(row.add_(start))
        if len(values) == 2:
            values, rows = _merge(values, rows, k)
    score, row = values[0], rows[0]
    if metric == "euclidean":
        score = (queries.square().sum(1, keepdim=True) - 2 * score).clamp_min_(0).sqrt_().neg_()
    return score, row


def _search(queries: Tensor, block: Tensor, offset: Tensor | None, k: int, height: int) -> tuple[Tensor, Tensor]:
    """Return the k best of a block for each query, by cosines, or dot products less half the squared norms."""
    values = queries.new_empty(len(queries), k)
    columns = torch.empty_like(values, dtype=torch.int64)
    # One buffer for all scores: freed and taken again, such sizes leave holes in the heap that add up.
    buffer = queries.new_empty(min(height, len(queries)), len(block))
    for start in range(0, len(queries), height):
        rows = slice(start, start + height)
        part = queries[rows]
        scores = torch.mm(part, block.T, out=buffer[: len(part)])
        if offset is not None:
            scores += offset
        values[rows], columns[rows] = _best(scores, k)
    return values, columns


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row, in order; ties go to the earlier column."""
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    last = values[:, k - 1 : k]
    # topk takes any of the equal scores at its edge. Where one of them is left over, the earliest are taken
    # instead; this is rare, except when an encoder has collapsed.
    crowded = (values[:, k:] == last).any(1).nonzero()[:, 0]
    columns = columns[:, :k].contiguous()
    if len(crowded):
        level = scores[crowded] == last[crowded]
        above = (scores[crowded] > last[crowded]).sum(1, keepdim=True)
        taken = (scores[crowded] > last[crowded]) | (level & (level.cumsum(1) <= k - above))
        columns[crowded] = taken.nonzero()[:, 1].view(-1, k)
    columns = columns.sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _merge(values: list[Tensor], rows: list[Tensor], k: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the k best of two ordered lists, of which the first holds the earlier rows."""
    value, order = torch.cat(values, 1).sort(dim=1, descending=True, stable=True)
    row = torch.cat(rows, 1).gather(1, order)
    return [value[:, :k]], [row[:, :k]]


def vote(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    *,
    k: int = 20,
    temperature: float | None = 0.07,
    metric: Metric = "cosine",
    chunk: int = 1 << 23,
) -> Tensor:
    """Return each class's share of the k nearest neighbors' vote, float32 `(Q, K)`.

    Args:
        bank: stored features `(N, D)`.
        labels: their classes from 0, int64 `(N,)`.
        queries: features `(Q, D)`.
        k: voters; at most N.
        temperature: T of the weights exp(cos / T); None gives each neighbor the same vote.
        metric: "cosine" or "euclidean".
        chunk: as in `neighbors`.

    Raises:
        ConfigError: as in `neighbors`; a temperature that is not positive, or with Euclidean distances.
    """
    if temperature is not None and (metric != "cosine" or temperature <= 0):
        raise ConfigError(f"a temperature must be positive and goes with cosines, not {temperature} with {metric}")
    nearness, rows = neighbors(bank, queries, k, metric=metric, chunk=chunk)
    # The softmax is exp(cos / T) over its sum, without overflow at a small T.
    weights = torch.full_like(nearness, 1 / k) if temperature is None else (nearness / temperature).softmax(1)
    return weights.new_zeros(len(queries), int(labels.max()) + 1).scatter_add_(1, labels[rows], weights)
