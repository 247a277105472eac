"""Local contrast: a region of a feature map must find itself in another view, among regions beside it.

Contrastive learning of global and local features for medical image segmentation with limited annotations (2020).
Regions lie on a lattice of 5 x 5 points over the map; 13 of them, or 9, are anchors. Regions are compared whole, as
vectors of all their cells.

Sizes: B samples, C channels, H x W cells of a map, K a region's side, A anchors, L = 25 points, n neighbours of each.
"""

from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import softplus

from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision
from withstand.losses.temperature import Temperature, checked_temperature

LATTICE = 5
"""Points along each axis of the lattice."""
Neighbours: TypeAlias = tuple[tuple[int, ...], ...]
"""The lattice points that repel each anchor, by row-major number."""


def anchor_points(count: int = 13) -> tuple[int, ...]:
    """Return the lattice points that are anchors, by row-major number.

    Args:
        count: 9 for corners, mid-edges and centre; 13 for the four quarter points between them too.

    Raises:
        ConfigError: another count.

    >>> anchor_points(9)
    (0, 2, 4, 10, 12, 14, 20, 22, 24)
    """
    if count not in (9, 13):
        raise ConfigError(f"anchors must be 9 or 13, not {count!r}")
    grid = [(row, column) for row in range(LATTICE) for column in range(LATTICE)]
    coarse = [row * LATTICE + column for row, column in grid if row % 2 == 0 and column % 2 == 0]
    quarter = [row * LATTICE + column for row, column in grid if row % 2 and column % 2] if count == 13 else []
    return (*coarse, *quarter)


def nearest_points(anchors: tuple[int, ...], count: int = 5) -> Neighbours:
    """Return the lattice points nearest to each anchor but itself, equally near ones in row-major order.

    The official code has tables written by hand, most of whose entries these are.

    Args:
        anchors: lattice points.
        count: n.

    >>> nearest_points((12,), 5)
    ((7, 11, 13, 17, 6),)
    """
    points = [divmod(place, LATTICE) for place in range(LATTICE**2)]

    def near(anchor: int) -> tuple[int, ...]:
        row, column = points[anchor]
        away = [((r - row) ** 2 + (c - column) ** 2, place) for place, (r, c) in enumerate(points) if place != anchor]
        return tuple(place for _, place in sorted(away)[:count])

    return tuple(map(near, anchors))


def regions(maps: Tensor, size: int = 3) -> Tensor:
    """Return the regions at the lattice's points as vectors of length 1, `(B, L, K*K*C)`.

    The first points lie at 0, the last at the map's side less K + 1 (less 1 where K is 1), as in the official code.

    Args:
        maps: `(B, C, H, W)`.
        size: K, 1 or 3.

    Raises:
        DataError: a map whose sides are below 12 cells, where points would coincide.
    """
    if size not in (1, 3):
        raise ConfigError(f"size must be 1 or 3 cells, not {size!r}")
    if maps.dim() != 4 or min(maps.shape[2:]) < 12:
        raise DataError(f"regions lie on maps (B, C, H, W) of at least 12 x 12 cells, not {tuple(maps.shape)}")
    rows, columns = (_points(side, size, maps.device) for side in maps.shape[2:])
    windows = maps.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, H', W', K, K)
    chosen = windows[:, :, rows][:, :, :, columns]
    flat = chosen.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    wide = flat if flat.dtype == torch.float64 else flat.float()
    length = torch.linalg.vector_norm(wide, dim=2, keepdim=True)
    return wide / torch.where(length > 1e-12, length, torch.inf)


@full_precision
def local_contrast(
    one: Tensor, other: Tensor, anchors: tuple[int, ...], neighbours: Neighbours, temperature: Temperature = 0.1
) -> Tensor:
    """Return the mean over samples, anchors and both directions of a region's loss, 0-d.

    Of region u of `one` it is `-log(e^s_u / (e^s_u + sum_v [e^s(one_u, one_v) + e^s(one_u, other_v)]))` with s_u the
    cosine of `one_u` and `other_u` over the temperature, and v the neighbours of u.

    Args:
        one: regions of unit length, `(B, L, D)`, as `regions` gives them.
        other: of the other view, or of a slice at the same place of another volume, `(B, L, D)`.
        anchors: lattice points, A of them.
        neighbours: those that repel each, `(A, n)`.
        temperature: tau, above 0.

    Raises:
        DataError: regions of different shapes.
    """
    temperature = checked_temperature(temperature)
    if one.dim() != 3 or one.shape != other.shape or one.shape[1] != LATTICE**2:
        raise DataError(f"regions are (B, {LATTICE**2}, D) twice, not {tuple(one.shape)} and {tuple(other.shape)}")
    return (
        _directed(one, other, anchors, neighbours, temperature)
        + _directed(other, one, anchors, neighbours, temperature)
    ) / 2


def _directed(
    one: Tensor, other: Tensor, anchors: tuple[int, ...], neighbours: Neighbours, temperature: Temperature
) -> Tensor:
    chosen = torch.tensor(anchors, device=one.device)
    beside = torch.tensor(neighbours, device=one.device)
    regions = one[:, chosen]  # (B, A, D)
    within, across = (regions @ whole.mT / temperature for whole in (one, other))  # (B, A, L)
    index = beside.expand(len(one), -1, -1)
    others = torch.cat([within.gather(2, index), across.gather(2, index)], 2).logsumexp(2)
    positive = across.gather(2, chosen.expand(len(one), -1)[:, :, None])[:, :, 0]
    return softplus(others - positive).mean()


def _points(side: int, size: int, device: torch.device) -> Tensor:
    last = side - (size + 1 if size > 1 else 1)
    return torch.arange(LATTICE, device=device) * last // (LATTICE - 1)
