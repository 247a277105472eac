"""Edges as they come, made the edges that networks read: counted, without duplicates, each node with one to itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.data.graphs.sparse import Pattern, Sparse

_BLOCK = 1 << 16
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
    if edges.dtype != torch.int32:
        edges = edges.long()
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < nodes:
        edges = edges.long()
        outside = ((edges < 0) | (edges >= nodes)).any(0)
        place = int(outside.nonzero()[0])
        source, target = edges[:, place].tolist()
        raise DataError(
            f"{int(outside.sum())} edge(s) point outside the {nodes} nodes, the first is number {place}, "
            f"{source} to {target}: nodes count from 0 to {nodes - 1}"
        )
    source, target = edges.numpy()
    # An edge is one number, so that sorting finds repeated ones and, at last, each node's edges in their order.
    keys = target.astype(np.int64)
    keys *= nodes
    keys += source
    keys = keys[source != target]
    loops = edges.shape[1] - len(keys)
    del edges, source, target  # several numbers for each edge are held only as long as they are needed
    keys.sort()
    given = len(keys)
    keys = _distinct(keys)
    forward = len(keys)
    if directed:
        neighbors = _counted(keys, nodes, turned=False) + _counted(keys, nodes, turned=True)
        keys = np.concatenate([keys, np.empty(nodes, np.int64)])
    else:
        both = np.empty(2 * forward + nodes, np.int64)
        both[:forward] = keys
        for part in _blocks(forward):
            both[forward:][part] = keys[part] % nodes * nodes + keys[part] // nodes
        del keys
        both[: 2 * forward].sort()
        kept = len(_distinct(both[: 2 * forward]))
        keys = both[: kept + nodes]
        neighbors = _counted(keys[:kept], nodes, turned=False)
    count = len(keys) - nodes
    keys[count:] = np.arange(nodes) * (nodes + 1)
    keys.sort()
    start = np.searchsorted(keys, np.arange(nodes + 1) * nodes)
    column = np.empty(len(keys), np.int32)
    for part in _blocks(len(keys)):
        column[part] = keys[part] % nodes
    pattern = Pattern(torch.from_numpy(start), torch.from_numpy(column), nodes)
    counts = Counts(nodes, count, given - forward, loops, count - forward, int((neighbors == 0).sum()))
    return pattern, counts


def _distinct(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return sorted numbers without repeats, in the place of the given ones."""
    kept, last = 0, -1
    for part in _blocks(len(keys)):
        block = keys[part]
        new = block[np.diff(block, prepend=last) != 0]
        last = int(block[-1])
        keys[kept : kept + len(new)] = new
        kept += len(new)
    return keys[:kept]


def _counted(keys: npt.NDArray[np.int64], nodes: int, *, turned: bool) -> npt.NDArray[np.int64]:
    """Return how many edges come to each node, or `turned`: go out from it."""
    found = np.zeros(nodes, np.int64)
    for part in _blocks(len(keys)):
        np.add.at(found, keys[part] % nodes if turned else keys[part] // nodes, 1)
    return found


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, min(first + _BLOCK, count)) for first in range(0, count, _BLOCK))


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
    if not all(bool(torch.isfinite(values[part]).all()) for part in _blocks(len(values))):
        bad = ~torch.isfinite(values)
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
