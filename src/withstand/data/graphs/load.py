"""The front door to graphs: anything that holds one becomes a source."""

from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, nearest
from withstand.core.roles import Source
from withstand.data.graphs.named import CITATIONS, CompactGraph, NamedGraph
from withstand.data.graphs.sets import NAMED_SETS, CompactGraphSet, NamedGraphSet
from withstand.data.graphs.tables import EdgeList

GRAPHS = (*CITATIONS, *NAMED_SETS)
"""Graphs and sets of graphs that are known by name."""


def open_graphs(data: Any) -> Source:
    """Return a source for whatever holds a graph.

    Args:
        data: a name, the path of an edge list (`.csv`; a table of nodes named `*.nodes.csv` beside it is read too) or
            of a compact `.npz` file (one graph, or a set where it holds `graph_id`), a torch-geometric `Data`, a
            NetworkX graph, a SciPy sparse adjacency matrix, or a source, which is given back.

    Raises:
        DataError: an unknown name or path, or data that hold no graph.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | Path):
        return _named(str(data))
    from withstand.data.graphs.foreign import from_networkx, from_pyg, from_scipy

    if hasattr(data, "edge_index"):
        return from_pyg(data)
    if hasattr(data, "adjacency") and hasattr(data, "nodes"):
        return from_networkx(data)
    if hasattr(data, "tocoo"):
        return from_scipy(data)
    raise DataError(
        f"a {type(data).__name__} holds no graph: give a name, an edge list, a torch-geometric Data, a NetworkX graph, "
        "a SciPy sparse matrix or a source"
    )


def _named(data: str) -> Source:
    if data in CITATIONS:
        return NamedGraph(data)
    if data in NAMED_SETS:
        return NamedGraphSet(data)
    path = Path(data).expanduser()
    if path.suffix in (".csv", ".tsv", ".txt") and path.is_file():
        return EdgeList(str(path))
    if path.suffix == ".npz" and path.is_file():
        with np.load(path, allow_pickle=False) as file:
            several = "graph_id" in file.files
        return CompactGraphSet(str(path)) if several else CompactGraph(str(path))
    raise DataError(f"{data!r} is neither a file of a graph (.csv, .npz) nor the name of one: {nearest(data, GRAPHS)}")
