"""Differentiable sorting, and the group ordering loss that is built on it.

Network: Differentiable Sorting Networks for Scalable Sorting and Ranking Supervision (2021), with the Cauchy
distribution of Monotonic Differentiable Sorting Networks (2022). Loss: Learning by Sorting: Self-supervised Learning
with Group Ordering Constraints (GroCo, 2023).

Sizes: R rows, n entries of a row, k negatives, P positives, B samples on this process, N over all, D width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision, unit_rows


@full_precision
def soft_sort(x: Tensor, steepness: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return rows sorted in rising order, softly, `(R, n)`, and how, `(R, n, n)`: `sorted = x @ permutation`.

    An odd-even network of n layers: neighbours a, b become `p a + (1 - p) b` and `(1 - p) a + p b`, with
    `p = atan(steepness (b - a)) / pi + 1/2`. Rows and columns of the permutation sum to 1; column r is the soft choice
    of the entry of rank r.

    Args:
        x: `(R, n)`, finite.
        steepness: above 0; the higher, the harder the sorting.
    """
    if not steepness > 0:
        raise ConfigError(f"steepness must be above 0, not {steepness!r}")
    rows, count = x.shape
    # The values ride along as one more row of the matrix: a layer mixes columns of both alike.
    state = torch.cat([torch.eye(count, dtype=x.dtype, device=x.device).expand(rows, -1, -1), x[:, None]], 1)
    for layer in range(count):
        start = layer % 2
        stop = start + (count - start) // 2 * 2
        if stop == start:
            continue
        low, high = state[:, :, start:stop:2], state[:, :, start + 1 : stop : 2]
        keep = (torch.atan(steepness * (high[:, -1:] - low[:, -1:])) / math.pi) + 0.5
        moved = (1 - keep) * (high - low)
        pairs = torch.stack([low + moved, high - moved], 3).flatten(2)
        state = torch.cat([state[:, :, :start], pairs, state[:, :, stop:]], 2)
    return state[:, -1], state[:, :-1]


@full_precision
def group_ordering(negatives: Tensor, positives: Tensor, steepness: float = 1.0) -> Tensor:
    """Return the cross-entropy of every positive ranking above every negative, mean over rows and entries.

    Args:
        negatives: similarities `(R, k)`.
        positives: similarities `(R, P)`.
        steepness: of the sorting network.
    """
    k = negatives.shape[1]
    ordered = torch.cat([negatives.sort(1).values, positives.sort(1).values], 1)
    permutation = soft_sort(ordered, steepness)[1]
    # Both probabilities sum to 1, so that their two cross-entropies are one and the same.
    low, high = permutation[:, :k, :k].sum(2), permutation[:, k:, k:].sum(2)
    right = torch.cat([low, high], 1).clamp(0, 1)
    # As torch's binary cross-entropy: logarithms end at -100.
    return -right.log().clamp_min(-100).mean()


def groco(
    z: Sequence[Tensor], *, whole: int, negatives: int = 10, steepness: float = 1.0, stop_gradient: bool = True
) -> Tensor:
    """Return the group ordering loss of V views' projections, each `(B, D)`, every view the anchor in turn.

    An anchor's positives are the other whole views of its sample; its negatives are the `negatives` nearest other
    samples in its own view.

    Args:
        z: projections, unnormalised, whole views first.
        whole: how many views are whole ones; the others are anchors only.
        negatives: k, below the samples of the global batch.
        steepness: of the sorting network.
        stop_gradient: let gradients reach anchors only.
    """
    unit = [_unit(view) for view in z]
    local = len(unit[0])
    row = torch.arange(local, device=unit[0].device)
    losses = []
    for place, anchor in enumerate(unit):
        targets = [view.detach() if stop_gradient else view for view in (*unit[:whole], anchor)]
        positive = torch.stack([(anchor * view).sum(1) for v, view in enumerate(targets[:whole]) if v != place], 1)
        everyone = gather(targets[-1])
        if negatives >= len(everyone):
            raise DataError(
                f"{negatives} negatives need a batch of {negatives + 1} samples or more, not {len(everyone)}"
            )
        own = torch.zeros(local, len(everyone), dtype=torch.bool, device=row.device)
        own[row, row + first_row(local)] = True
        similarity = _products(anchor, everyone).masked_fill(own, -torch.inf)
        losses.append(group_ordering(similarity.topk(negatives, 1).values, positive, steepness))
    return torch.stack(losses).mean()


_unit = full_precision(unit_rows)


@full_precision
def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return inner products of rows `(B, D)` and `(N, D)`, at full precision."""
    return one @ other.T
