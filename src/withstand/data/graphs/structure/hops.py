"""Distances along edges. Sizes: `N` nodes, `S` nodes that distances are counted from."""

import torch
from torch import Tensor

from withstand.data.graphs.sparse import Pattern, product

FAR = 1 << 20
"""Stands for the distance to a node that cannot be reached."""


def hops_from(edges: Pattern, sources: Tensor, most: int | None = None) -> Tensor:
    """Return the number of edges from each source to each node, int64 `(N, S)`; `FAR` where there is no way.

    Args:
        edges: rows are targets; each node has an edge to itself.
        sources: int64 `(S,)`.
        most: hops that are followed; farther nodes count as `FAR`. None follows all.
    """
    found = torch.full((edges.rows, len(sources)), FAR, device=edges.device)
    reached = torch.zeros(edges.rows, len(sources), device=edges.device)
    reached[sources, torch.arange(len(sources), device=edges.device)] = 1
    ones = torch.ones(len(edges), device=edges.device)
    hop = 0
    found[reached > 0] = 0
    while most is None or hop < most:
        hop += 1
        wider = (product(edges, ones, reached) > 0).float()
        new = (wider > 0) & (found == FAR)
        if not bool(new.any()):
            break
        found[new] = hop
        reached = wider
    return found


def nearness(hops: Tensor) -> Tensor:
    """Return 1 / hops, and 0 where there is no way and from a node to itself."""
    apart = (hops > 0) & (hops < FAR)
    return torch.where(apart, 1 / hops.clamp_min(1).float(), 0.0)


def regions(edges: Pattern, count: int) -> Tensor:
    """Return a division of the nodes into `count` regions, int64 `(N,)`: grown hop by hop round hubs.

    Hubs are nodes of many neighbors, each the farthest from the hubs before it among the tenth with most neighbors;
    a node belongs to the nearest, the first of several; nodes that none reaches belong to the smallest region.
    """
    degree = edges.lengths
    order = degree.argsort(descending=True, stable=True)
    busy = order[: max(count, edges.rows // 10)]
    hubs = [int(order[0])]
    nearest_hub = hops_from(edges, order[:1])[:, 0]
    while len(hubs) < count:
        gap = nearest_hub[busy].clamp_max(edges.rows)
        gap[torch.isin(busy, torch.tensor(hubs, device=busy.device))] = -1
        hubs.append(int(busy[gap.argmax()]))
        nearest_hub = torch.minimum(nearest_hub, hops_from(edges, torch.tensor(hubs[-1:], device=busy.device))[:, 0])
    hops = hops_from(edges, torch.tensor(hubs, device=busy.device))
    region = hops.argmin(1)
    lost = hops.amin(1) == FAR
    region[lost] = torch.bincount(region[~lost], minlength=count).argmin()
    return region


def centres(edges: Pattern, region: Tensor) -> Tensor:
    """Return the node of each region with most neighbors inside it, the first of several, int64 `(K,)`."""
    inside = (region[edges.row] == region[edges.column.long()]).long()
    degree = torch.zeros_like(region).index_add(0, edges.row, inside)
    found = []
    for place in range(int(region.max()) + 1):
        members = (region == place).nonzero()[:, 0]
        if len(members):
            found.append(members[degree[members].argmax()])
    return torch.stack(found)
