"""Which patches of videos belong together: by looks, by time, and by both one after the other.

Transitive Invariance for Self-supervised Visual Representation Learning (2017). A node is a patch. Edges "inter" join
different things that look alike, edges "intra" one thing at two times. If A ~ B look alike, A' is A later and B' is B
later, then A' ~ B', A' ~ B and A ~ B' are alike through both.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError


def transitive_pairs(inter: Tensor, intra: Tensor) -> Tensor:
    """Return the pairs of nodes that one inter edge joins with an intra edge before it, after it, or both.

    Two inter edges are never chained: a wrong one would make others wrong. No pair is an edge already, joins a node to
    itself, or comes twice.

    Args:
        inter: edges, int64 `(E, 2)`, either way round.
        intra: edges, int64 `(M, 2)`, either way round.

    Returns:
        int64 `(P, 2)`, the smaller node first, in rising order.

    Raises:
        DataError: edges of another shape, or nodes below 0.
    """
    for name, edges in (("inter", inter), ("intra", intra)):
        if edges.dim() != 2 or edges.shape[1] != 2 or edges.is_floating_point() or bool((edges < 0).any()):
            raise DataError(f"{name} edges are pairs of nodes, whole numbers (E, 2) of at least 0, not {edges.shape}")
    beside: dict[int, set[int]] = {}
    for one, other in intra.tolist():
        beside.setdefault(one, {one}).add(other)
        beside.setdefault(other, {other}).add(one)
    known = {tuple(sorted(edge)) for edge in (*inter.tolist(), *intra.tolist())}
    found = {
        (min(a, b), max(a, b))
        for one, other in inter.tolist()
        for a in beside.get(one, {one})
        for b in beside.get(other, {other})
        if a != b
    }
    pairs = sorted(found - known)
    return torch.tensor(pairs, dtype=torch.int64).view(-1, 2)


def nearest_within(features: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the nearest others of each sample in its group by the cosine, int64 `(N, count)`; -1 where it has fewer.

    Args:
        features: `(N, D)`.
        groups: int64 `(N,)`.
        count: of neighbours, at least 1.
    """
    if count < 1 or groups.shape != features.shape[:1]:
        raise DataError(f"each of {len(features)} samples needs a group and a neighbour, not {groups.shape}, {count}")
    unit = torch.nn.functional.normalize(features.detach().cpu().double())
    found = torch.full((len(features), count), -1, dtype=torch.int64)
    for group in torch.unique(groups.cpu()):
        rows = (groups.cpu() == group).nonzero()[:, 0]
        most = min(count, len(rows) - 1)
        if most < 1:
            continue
        near = unit[rows] @ unit[rows].T
        near.fill_diagonal_(-torch.inf)
        # A stable sort, so that equal neighbours come in their order everywhere.
        found[rows, :most] = rows[near.argsort(stable=True, dim=1, descending=True)[:, :most]]
    return found.to(features.device)
