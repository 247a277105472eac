"""Graphs of features: nearest neighbours as edges, message passing, and how well nodes and edges of two graphs fit.

LVM-Med: Learning Large-Scale Self-Supervised Vision Models for Medical Imaging via Second-order Graph Matching (2023).

Sizes: G graphs, N nodes, k neighbours, E = N k edges, D width, P cells of a map, C channels.
"""

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision


def nearest_edges(x: Tensor, neighbours: int) -> Tensor:
    """Return edges from each node to its nearest others by Euclidean distance, int64 `(G, E, 2)`, without gradient.

    Args:
        x: `(G, N, D)`.
        neighbours: k, below N.

    Raises:
        ConfigError: as many neighbours as nodes, or more.
    """
    problems, nodes = x.shape[:2]
    if not 1 <= neighbours < nodes:
        raise ConfigError(
            f"neighbours must lie between 1 and {nodes - 1}, the other nodes of a graph, not {neighbours!r}"
        )
    with torch.no_grad():
        wide = x.detach().double()
        away = torch.cdist(wide, wide).diagonal_scatter(wide.new_full((problems, nodes), torch.inf), dim1=1, dim2=2)
        tails = away.topk(neighbours, 2, largest=False).indices
    heads = torch.arange(nodes, device=x.device)[:, None].expand(problems, nodes, neighbours)
    return torch.stack([heads, tails], 3).flatten(1, 2)


class MessagePassing(nn.Module):
    """Graph convolutions `act(D^-1/2 (A + I) D^-1/2 H W)`, D the degrees of A + I; no activation behind the last.

    The paper writes D for A without the loops, which a node without edges would divide by 0.

    Args:
        width: D, of all layers.
        layers: how many.
    """

    def __init__(self, width: int, layers: int = 2) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"layers must be at least 1, not {layers!r}")
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Return features `(G, N, D)` of nodes `(G, N, D)` with edges `(G, E, 2)`."""
        problems, nodes = x.shape[:2]
        reached = torch.eye(nodes, device=x.device).expand(problems, -1, -1).clone()
        graph = torch.arange(problems, device=x.device)[:, None].expand(edges.shape[:2])
        reached[graph, edges[:, :, 0], edges[:, :, 1]] = 1
        scale = reached.sum(2).rsqrt()
        spread = (scale[:, :, None] * reached * scale[:, None]).to(x.dtype)
        for place, layer in enumerate(self.layers):
            x = layer(spread @ x)
            x = torch.relu(x) if place < len(self.layers) - 1 else x
        return x


@full_precision
def cosines(one: Tensor, other: Tensor) -> Tensor:
    """Return cosines of rows `(..., n, D)` and `(..., m, D)`, `(..., n, m)`; 0 where a row is 0."""
    return _unit(one) @ _unit(other).mT


def edge_affinities(one: Tensor, other: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return cosines of the differences along edges of two graphs, `(G, E, F)`.

    Args:
        one: nodes of the first graphs, `(G, N, D)`.
        other: of the second.
        first: edges of the first, `(G, E, 2)`.
        second: of the second, `(G, F, 2)`.
    """
    return cosines(_along(one, first), _along(other, second))


@full_precision
def local_affinities(one: Tensor, other: Tensor, here: Tensor, there: Tensor, best: int | None = None) -> Tensor:
    """Return how well the maps of pictures fit cell by cell, from each of one graph to each of another, `(G, N, N)`.

    Half the mean cosine of a cell with the one whose place in the whole picture is nearest, and half that with the one
    whose features are nearest (Bardes et al., VICRegL, 2022).

    Args:
        one: maps of the first graph's pictures, `(G, N, P, C)`.
        other: of the second's, `(G, N, P, C)`.
        here: places of their cells in the whole picture, `(G, N, P, 2)`.
        there: of the second's, `(G, N, P, 2)`.
        best: how many cells with the nearest partners count; None for all.

    Raises:
        DataError: shapes that do not fit.
    """
    if one.shape != other.shape or here.shape != (*one.shape[:3], 2) or there.shape != here.shape:
        raise DataError(f"maps and places do not fit: {(*one.shape,)}, {(*other.shape,)}, {(*here.shape,)}")
    problems, nodes, cells = one.shape[:3]
    count = cells if best is None else min(best, cells)

    def cellwise(table: Tensor) -> Tensor:
        """Return `(G, N P, N P)` as `(G, i, a, p, q)`."""
        return table.view(problems, nodes, cells, nodes, cells).transpose(2, 3)

    alike = cellwise(cosines(one.flatten(1, 2), other.flatten(1, 2)))
    parts = []
    for mine, theirs in ((here, there), (one, other)):
        with torch.no_grad():
            away, nearest = cellwise(torch.cdist(mine.flatten(1, 2), theirs.flatten(1, 2))).min(4)
            kept = away.topk(count, 3, largest=False).indices
        parts.append(alike.gather(4, nearest[..., None])[..., 0].gather(3, kept).mean(3))
    return (parts[0] + parts[1]) / 2


def cell_places(crops: Tensor, rows: int, columns: int) -> Tensor:
    """Return where the cells of a crop's map lie in the whole picture, as shares of its sides, `(B, P, 2)`.

    Args:
        crops: top, left, height and width as shares of the picture's sides, and whether it was mirrored, `(B, 5)`.
        rows: of the map.
        columns: of the map.
    """
    top, left, height, width, mirrored = crops.double().T[:, :, None]
    down = (torch.arange(rows, device=crops.device) + 0.5) / rows
    across = (torch.arange(columns, device=crops.device) + 0.5) / columns
    across = torch.where(mirrored > 0, 1 - across, across)
    y = (top + height * down)[:, :, None].expand(-1, -1, columns)
    x = (left + width * across)[:, None].expand(-1, rows, -1)
    return torch.stack([y, x], 3).flatten(1, 2)


def _along(x: Tensor, edges: Tensor) -> Tensor:
    graph = torch.arange(len(x), device=x.device)[:, None]
    return x[graph, edges[:, :, 0]] - x[graph, edges[:, :, 1]]


def _unit(x: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > 1e-12, length, torch.inf)
