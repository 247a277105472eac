"""The front door to graphs: anything that holds one becomes a source."""

from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, nearest
from withstand.core.roles import Source
from withstand.data.graphs.named import CITATIONS, CompactGraph, NamedGraph
from withstand.data.graphs.reading.settings import GraphReading
from withstand.data.graphs.sets import NAMED_SETS, CompactGraphSet, NamedGraphSet
from withstand.data.graphs.tables import SUFFIXES, EdgeList, is_edge_list

GRAPHS = (*CITATIONS, *NAMED_SETS)
"""Graphs and sets of graphs that are known by name."""
READ = GraphReading()
"""Nothing is said of how a graph is read."""


def open_graphs(data: Any, reading: GraphReading = READ) -> Source:
    """Return a source for whatever holds a graph.

    Args:
        data: a name, an edge list (`.csv` and the like, Parquet, a data frame; a table of nodes named `*.nodes.csv`
            beside it is read too), a compact `.npz` file (one graph, or a set where it holds `graph_id`), a `Data` of
            torch-geometric, a dataset or a list of them, a NetworkX graph, a SciPy sparse adjacency matrix, or a
            source, which is given back.
        reading: what is said of how it is read.

    Raises:
        ConfigError: what cannot be said of such data.
        DataError: an unknown name or path, or data that hold no graph.
    """
    if not _is_name(data) and is_edge_list(data):
        return _edge_list(data, reading)
    if isinstance(data, Source):
        reading.refuse("a source")
        return data
    if isinstance(data, str | Path):
        reading.refuse(f"{str(data)!r}")
        return _named(str(data))
    from withstand.data.graphs.foreign import from_networkx, from_pyg, from_scipy

    if _is_pyg(data):
        reading.refuse("graphs of torch-geometric", ("weights",))
        return from_pyg(data, weights=reading.weights)
    if hasattr(data, "adjacency") and hasattr(data, "nodes"):
        reading.refuse("a NetworkX graph", ("target", "features", "kinds", "scale", "split", "weights"))
        return from_networkx(
            data, features=reading.features, label=reading.target, weights=reading.weights, columns=reading.columns
        )
    if hasattr(data, "tocoo"):
        reading.refuse("a SciPy matrix", ("weights",))
        return from_scipy(data, weights=reading.weights)
    raise DataError(
        f"a {type(data).__name__} holds no graph: give a name, an edge list, a Data or a dataset of torch-geometric, "
        "a NetworkX graph, a SciPy sparse matrix or a source"
    )


def _edge_list(data: Any, reading: GraphReading) -> EdgeList:
    return EdgeList(
        str(Path(data).expanduser()) if isinstance(data, str | Path) else data,
        None if reading.nodes is None else _table(reading.nodes),
        label=reading.target,
        directed=reading.directed,
        header=reading.header,
        nodes_header=reading.nodes_header,
        weights=reading.weights,
        key=reading.id,
        columns=reading.columns,
    )


def _table(nodes: Any) -> Any:
    """Return the path of a table of nodes as text, and a data frame as it is."""
    return str(Path(nodes).expanduser()) if isinstance(nodes, str | Path) else nodes


def _is_name(data: object) -> bool:
    return isinstance(data, str) and (data in CITATIONS or data in NAMED_SETS)


def _is_pyg(data: Any) -> bool:
    """Say whether these are a `Data` of torch-geometric, a dataset of them, or a list."""
    if isinstance(data, list | tuple):
        return bool(data) and all(map(_is_pyg, data))
    theirs = any(base.__module__.startswith("torch_geometric.") for base in type(data).__mro__)
    return theirs or hasattr(data, "edge_index")


def _named(data: str) -> Source:
    if data in CITATIONS:
        return NamedGraph(data)
    if data in NAMED_SETS:
        return NamedGraphSet(data)
    path = Path(data).expanduser()
    if path.suffix == ".npz" and path.is_file():
        with np.load(path, allow_pickle=False) as file:
            several = "graph_id" in file.files
        return CompactGraphSet(str(path)) if several else CompactGraph(str(path))
    raise DataError(
        f"{data!r} is neither a file of a graph ({', '.join(SUFFIXES)}, .npz) nor the name of one: "
        f"{nearest(data, GRAPHS)}"
    )
