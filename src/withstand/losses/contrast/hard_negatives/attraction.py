"""Contrastive attraction and contrastive repulsion: weighted costs within positives, and within negatives.

Contrastive Attraction and Contrastive Repulsion for Representation Learning (CACR, 2023), the official code's form
for small pictures.

Sizes: V views, B samples on this process, N over all processes, D projection width. The cost of two embeddings is
their squared distance on the sphere, in [0, 4].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows


class CACRTerms(NamedTuple):
    """Mean weighted cost of positives, and minus that of negatives; their sum is the loss."""

    attraction: Tensor
    repulsion: Tensor


@full_precision
def attraction(z: Tensor, sharpness: float = 1.0, *, detach_weights: bool = False) -> Tensor:
    """Return the mean cost of positives, far ones weighing more, by `softmax(sharpness * cost)` over a query's.

    Args:
        z: projections `(V, B, D)`; every view is a query in turn, the sample's other views its positives.
        sharpness: t+; 0 weighs all alike.
        detach_weights: stop the gradient through the weights.
    """
    views = _unit(z)
    similarity = torch.einsum("vbd,wbd->bvw", views, views)
    count = len(views)
    off = ~torch.eye(count, dtype=torch.bool, device=views.device)
    cost = (2 - 2 * similarity)[:, off].view(-1, count, count - 1)
    return _weighted(cost, sharpness, detach_weights)


@full_precision
def repulsion(z: Tensor, sharpness: float = 0.9, *, detach_weights: bool = False) -> Tensor:
    """Return minus the mean cost of negatives, near ones weighing more, by `softmax(-sharpness * cost)`.

    Anchors of each view meet all other samples of each later view; not the other way round, nor within a view.

    Args:
        z: projections `(V, B, D)`.
        sharpness: t-; 0 weighs all alike.
        detach_weights: stop the gradient through the weights.
    """
    views = _unit(z)
    local, samples = views.shape[1], views.shape[1] * world_size()
    if samples < 2:
        raise DataError("repulsion needs negatives: give batches of at least 2 samples, not 1")
    row = torch.arange(local, device=views.device)
    other = torch.ones(local, samples, dtype=torch.bool, device=views.device)
    other[row, row + first_row(local)] = False
    every = [gather(view) for view in views]
    costs = [
        (2 - 2 * views[x] @ every[y].T)[other].view(local, samples - 1)
        for x in range(len(views))
        for y in range(x + 1, len(views))
    ]
    return -_weighted(torch.stack(costs), -sharpness, detach_weights)


def cacr_terms(
    z: Sequence[Tensor],
    *,
    positive_sharpness: float = 1.0,
    negative_sharpness: float = 0.9,
    alpha: float = 1.0,
    beta: float = 1.0,
    detach_weights: bool = False,
) -> CACRTerms:
    """Return both terms for V views' projections, each `(B, D)`, unnormalised.

    Args:
        z: two or more.
        positive_sharpness: t+.
        negative_sharpness: t-.
        alpha: factor on the attraction; weights do not depend on it.
        beta: factor on the repulsion, likewise.
        detach_weights: stop the gradient through the weights; the official code does not.
    """
    stacked = torch.stack(list(z))
    return CACRTerms(
        alpha * attraction(stacked, positive_sharpness, detach_weights=detach_weights),
        beta * repulsion(stacked, negative_sharpness, detach_weights=detach_weights),
    )


def _weighted(cost: Tensor, sharpness: float, detach_weights: bool) -> Tensor:
    weight = (sharpness * cost).softmax(-1)
    return ((weight.detach() if detach_weights else weight) * cost).sum(-1).mean()


def _unit(z: Tensor) -> Tensor:
    if z.dim() != 3 or len(z) < 2:
        raise DataError(f"projections must be (V, B, D) with 2 or more views, not {tuple(z.shape)}")
    return unit_rows(z.flatten(0, 1)).view_as(z)
