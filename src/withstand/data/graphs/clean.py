"""Edges as they come, made the edges that networks read: counted, without duplicates, each node with one to itself."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.data.graphs.sparse import Pattern, Sparse

_FEW_FEATURES = 64
"""Below this many features all values are stored."""
MOST_DEGREES = 400
"""Degrees from this one on share a feature, where nodes have no features but their degree (GraphMAE's code)."""


@dataclass(frozen=True)
class Counts:
    """What was found among edges.

    Attributes:
        nodes: how many there are.
        edges: directed edges that are kept, without those from nodes to themselves.
        duplicates: repeated edges that were dropped.
        self_loops: edges from nodes to themselves; every node gets exactly one.
        reversed: edges without their reverse, which was added.
        isolated: nodes without a neighbor.
    """

    nodes: int
    edges: int
    duplicates: int
    self_loops: int
    reversed: int
    isolated: int

    def __str__(self) -> str:
        told = [f"{self.nodes:,} nodes", f"{self.edges:,} directed edges"]
        rest = {
            "duplicate edge(s) dropped": self.duplicates,
            "self-loop(s) given": self.self_loops,
            "edge(s) reversed": self.reversed,
            "isolated node(s)": self.isolated,
        }
        return ", ".join([*told, *(f"{count:,} {name}" for name, count in rest.items() if count)])


def clean_edges(edges: Tensor, nodes: int, *, directed: bool = False) -> tuple[Pattern, Counts]:
    """Return the edges as a pattern whose rows are targets, and what was found.

    Args:
        edges: (sources, targets), whole numbers `(2, E)`.
        nodes: N.
        directed: keep each edge's direction; otherwise its reverse is added where it lacks.

    Raises:
        DataError: another shape or type, or an edge that points outside.
    """
    if edges.dim() != 2 or edges.shape[0] != 2 or edges.is_floating_point() or edges.dtype == torch.bool:
        raise DataError(
            f"edges have shape {tuple(edges.shape)} and type {edges.dtype}: two rows of whole numbers are needed, "
            "sources and targets"
        )
    edges = edges.long()
    outside = ((edges < 0) | (edges >= nodes)).any(0)
    if bool(outside.any()):
        place = int(outside.nonzero()[0])
        source, target = edges[:, place].tolist()
        raise DataError(
            f"{int(outside.sum())} edge(s) point outside the {nodes} nodes, the first is number {place}, "
            f"{source} to {target}: nodes count from 0 to {nodes - 1}"
        )
    source, target = edges.numpy()
    loops = source == target
    # An edge is one number, so that sorting finds repeated ones and, at last, each node's edges in their order.
    keys = (target * nodes + source)[~loops]
    keys.sort()
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    duplicates, keys = int((~new).sum()), keys[new]
    turned = keys % nodes * nodes + keys // nodes
    found = np.minimum(np.searchsorted(keys, turned), max(len(keys) - 1, 0))
    turned = turned[keys[found] != turned]
    lonely = len(turned)
    if not directed:
        keys = np.concatenate([keys, turned])
    degree = np.bincount(keys // nodes, minlength=nodes) + np.bincount(keys % nodes, minlength=nodes)
    every = np.concatenate([keys, np.arange(nodes) * (nodes + 1)])
    every.sort()
    start = np.concatenate([[0], np.cumsum(np.bincount(every // nodes, minlength=nodes))])
    pattern = Pattern(torch.from_numpy(start), torch.from_numpy(every % nodes), nodes)
    counts = Counts(
        nodes, len(keys), duplicates, int(loops.sum()), 0 if directed else lonely, int((degree == 0).sum())
    )  # fmt: skip
    return pattern, counts


def degree_features(edges: Pattern) -> Tensor | Sparse:
    """Return each node's number of neighbors as one feature a degree, `(N, F)`; 400 and more count as one.

    Sparse where there are many degrees, for each node has one of them.
    """
    degree = (edges.lengths - 1).clamp_max(MOST_DEGREES)
    count = int(degree.max()) + 1
    if count < _FEW_FEATURES:
        return torch.zeros(len(degree), count).scatter_(1, degree[:, None], 1.0)
    return Sparse(Pattern(torch.arange(len(degree) + 1), degree, count), torch.ones(len(degree)))


def check_features(x: Tensor | Sparse) -> None:
    """Refuse features that are not numbers of one row a node.

    Raises:
        DataError: NaN, infinity, or another shape.
    """
    values = x.values if isinstance(x, Sparse) else x
    if len(x.shape) != 2 or 0 in x.shape:
        raise DataError(f"features have shape {tuple(x.shape)}: one row of numbers for each node is needed")
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        place = bad.nonzero()[0]
        row = int(x.pattern.row[place]) if isinstance(x, Sparse) else int(place[0])
        raise DataError(f"{int(bad.sum())} feature value(s) are NaN or infinite, the first in node {row}")


def unit_sum_rows(x: Tensor | Sparse) -> Tensor | Sparse:
    """Return features with each row divided by its sum, as the usual loaders of word features do; zero rows stay.

    Raises:
        DataError: negative features.
    """
    values = x.values if isinstance(x, Sparse) else x
    if values.numel() and float(values.min()) < 0:
        raise DataError("only features of at least 0 can be divided by their sum: normalize=False takes others")
    if isinstance(x, Sparse):
        sums = values.new_zeros(len(x)).index_add(0, x.pattern.row, values)
        return Sparse(x.pattern, values / sums.clamp_min(1e-12)[x.pattern.row])
    return x / x.sum(1, keepdim=True).clamp_min(1e-12)


def as_features(x: object, *, sparse_below: float = 0.2) -> Tensor | Sparse:
    """Return features in single precision, sparse where fewer than a share of them are not 0.

    Args:
        x: an array, a tensor, or a SciPy sparse matrix, `(N, F)`.
        sparse_below: that share.

    Raises:
        DataError: no numbers.
    """
    if hasattr(x, "tocsr"):
        matrix = x.tocsr()
        pattern = Pattern(torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices), matrix.shape[1])
        found = Sparse(pattern, torch.from_numpy(np.asarray(matrix.data, dtype=np.float32)))
        return found if len(pattern) < sparse_below * matrix.shape[0] * matrix.shape[1] else found.dense()
    if isinstance(x, Tensor) and x.layout != torch.strided:
        x = x.to_dense()
    array = x if isinstance(x, Tensor) else np.asarray(x)
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biuf":
            raise DataError(f"features have type {array.dtype}: numbers are needed")
        array = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    dense = array.detach().cpu().float()
    check_features(dense)
    share = float((dense != 0).float().mean())
    return Sparse.of(dense) if share < sparse_below and dense.shape[1] >= _FEW_FEATURES else dense
