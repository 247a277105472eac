"""Steps and projections in the L1 norm, within the range (Croce and Hein, "Mind the box", 2021).

Shapes: perturbations and gradients `(N, ...)`, flattened `(N, D)` inside.
"""

import torch
from torch import Tensor

from withstand.core.threat import as_rows


def project_l1_box(delta: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
    """Return the nearest perturbation (in Euclidean distance) of L1 norm at most `eps` and in [low, high].

    The solution is `delta` shrunk by one threshold a sample, then clipped. Its L1 norm is piecewise linear in
    the threshold, so sorting the kinks gives the threshold exactly.

    Args:
        delta: perturbations.
        low: smallest allowed change of each entry, at most 0.
        high: largest allowed change of each entry, at least 0.
        eps: the radius.
    """
    flat = as_rows(delta)
    room = torch.where(delta > 0, high, -low).reshape(flat.shape)
    size = flat.abs()
    if bool((torch.minimum(size, room).sum(1) <= eps).all()):
        return delta.clamp(low, high)
    # Each entry keeps relu(size - t) - relu(size - room - t): kinks where it starts to shrink, and where it is gone.
    kinks = torch.cat([size, (size - room).clamp_min(0)], 1).double()
    signs = torch.ones_like(kinks)
    signs[:, flat.shape[1] :] = -1
    kinks, order = kinks.sort(dim=1, descending=True)
    signs = signs.gather(1, order)
    slope, level = signs.cumsum(1), (signs * kinks).cumsum(1)
    inside = level - slope * kinks <= eps  # the norm at each kink; it grows from left to right
    last = inside.sum(1, keepdim=True).clamp_min(1) - 1
    slope, level = slope.gather(1, last), level.gather(1, last)
    threshold = ((level - eps) / slope.clamp_min(1)).clamp_min(0)
    threshold = torch.where(inside.all(1, keepdim=True), 0, threshold).to(size)
    kept = torch.minimum((size - threshold).clamp_min(0), room)
    return (flat.sign() * kept).view_as(delta)


def sparse_direction(gradient: Tensor, share: Tensor) -> Tensor:
    """Return steps of L1 norm 1, spread evenly over the largest entries of each gradient.

    Args:
        gradient: any shape `(N, ...)`.
        share: of each sample's entries, the part that moves, `(N,)`.
    """
    flat = as_rows(gradient)
    size, count = flat.abs(), flat.shape[1]
    # Rounded down, where the official code rounds up and never gets from two entries to one.
    place = count - (share * count).long().clamp(1, count)
    bound = size.sort(dim=1).values.gather(1, place[:, None])
    signs = flat.sign() * (size >= bound)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)
