"""Edges' weights: what each line of an edge list says of an edge becomes one number for each edge of the pattern."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.data.graphs.sparse import Pattern


def weighted(pattern: Pattern, edges: Tensor, weights: object, *, directed: bool) -> tuple[Pattern, str]:
    """Return a pattern with its edges' weights, and how they came about, in words.

    Weights of repeated edges add up. Of an undirected graph whose edges are all listed both ways, each with one weight,
    that is the edge's weight; of any other the two ways of an edge add up too, as counts of calls do. Every node's edge
    to itself has weight 1.

    Args:
        pattern: the cleaned edges, rows are targets, each node with one edge to itself.
        edges: as they were given, (sources, targets), `(2, E)`.
        weights: one number above 0 for each of them, `(E,)`.
        directed: whether the pattern kept their directions.

    Raises:
        DataError: another number of weights, or one that is missing, infinite or not above 0.
    """
    from scipy.sparse import csr_matrix

    values = _numbers(weights, edges.shape[1])
    source, target = edges.numpy()
    apart = source != target
    size = (pattern.rows, pattern.columns)
    # Rows of SciPy's matrix are targets; entries of one place are added.
    found = csr_matrix((values[apart], (target[apart], source[apart])), shape=size)
    said = "weights of edges count"
    if not directed:
        back = found.T.tocsr()
        both_ways = found.multiply(back != 0).nnz
        if both_ways and (found != back).nnz:
            found, said = found + back, f"{said}, those of an edge's two ways added"
        else:
            found = found.maximum(back)
    found.setdiag(1)
    found.sort_indices()
    if not np.array_equal(found.indices, pattern.column.numpy()):
        raise AssertionError("weights and edges must lie in the same places")
    weight = torch.from_numpy(found.data.astype(np.float32))
    return Pattern(pattern.start, pattern.column, pattern.columns, weight), said


def _numbers(weights: object, count: int) -> npt.NDArray[np.float64]:
    values = np.asarray(weights)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "biuf" or values.shape != (count,):
        raise DataError(
            f"weights have shape {values.shape} and type {values.dtype}: one number for each of {count} edges is needed"
        )
    values = values.astype(np.float64)
    bad = ~(values > 0) | np.isinf(values)
    if bad.any():
        place = int(bad.argmax())
        raise DataError(
            f"{int(bad.sum())} edge(s) have a weight that is missing or not above 0, the first is number {place + 1} "
            f"with {values[place]:g}: leave such edges out"
        )
    return values
