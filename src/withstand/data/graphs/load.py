"""The front door to graphs: anything that holds one becomes a source."""

from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, nearest
from withstand.core.roles import Source
from withstand.data.graphs.folder import GraphFolder
from withstand.data.graphs.named import CITATIONS, CompactGraph, NamedGraph
from withstand.data.graphs.network_file import GraphFile, is_network
from withstand.data.graphs.reading.formats import GRAPH_FILES
from withstand.data.graphs.reading.settings import GraphReading
from withstand.data.graphs.sets import NAMED_SETS, CompactGraphSet, NamedGraphSet
from withstand.data.graphs.tables import EdgeList, is_edge_list

GRAPHS = (*CITATIONS, *NAMED_SETS)
"""Graphs and sets of graphs that are known by name."""
READ = GraphReading()
"""Nothing is said of how a graph is read."""


def open_graphs(data: Any, reading: GraphReading = READ) -> Source:
    """Return a source for whatever holds a graph.

    Args:
        data: a name, an edge list (`.csv` and the like, Parquet, a data frame; a table of nodes named `*.nodes.csv`
            beside it is read too), a file of NetworkX (GraphML, GEXF, GML, node-link JSON), a compact `.npz` file (one
            graph, or a set where it holds `graph_id`), a folder of graphs, a `Data` of torch-geometric, a dataset or a
            list of them, a NetworkX graph or a list of them, a SciPy sparse adjacency matrix, or a source, which is
            given back.
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
        return _of_path(str(Path(data).expanduser()) if not _is_name(data) else str(data), reading)
    from withstand.data.graphs.foreign import from_networkx, from_pyg, from_scipy, several_networkx

    if isinstance(data, list | tuple) and data and all(map(_is_networkx, data)):
        reading.refuse("NetworkX graphs", ("target", "features", "kinds", "scale"))
        return several_networkx(data, label=reading.target, columns=reading.columns)
    if _is_pyg(data):
        reading.refuse("graphs of torch-geometric", ("edge_weight",))
        return from_pyg(data, weights=reading.edge_weight)
    if _is_networkx(data):
        reading.refuse("a NetworkX graph", ("target", "features", "kinds", "scale", "split", "edge_weight"))
        return from_networkx(
            data, features=reading.features, label=reading.target, weights=reading.edge_weight, columns=reading.columns
        )
    if hasattr(data, "tocoo"):
        reading.refuse("a SciPy matrix", ("edge_weight",))
        return from_scipy(data, weights=reading.edge_weight)
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
        weights=reading.edge_weight,
        key=reading.id,
        columns=reading.columns,
    )


def _table(nodes: Any) -> Any:
    """Return the path of a table of nodes as text, and a data frame as it is."""
    return str(Path(nodes).expanduser()) if isinstance(nodes, str | Path) else nodes


def _is_name(data: object) -> bool:
    return isinstance(data, str) and (data in CITATIONS or data in NAMED_SETS)


def _of_path(path: str, reading: GraphReading) -> Source:
    if not _is_name(path) and Path(path).is_dir():
        reading.refuse("a folder of graphs", ("target", "features", "ignore", "kinds", "scale", "directed"))
        return GraphFolder(path, label=reading.target, directed=reading.directed, columns=reading.columns)
    if not _is_name(path) and is_network(path):
        allowed = ("target", "features", "ignore", "kinds", "scale", "split", "edge_weight")
        reading.refuse(f"{Path(path).name}", allowed)
        return GraphFile(path, label=reading.target, weights=reading.edge_weight, columns=reading.columns)
    reading.refuse(repr(path))
    return _named(path)


def _is_networkx(data: Any) -> bool:
    return hasattr(data, "adjacency") and hasattr(data, "nodes")


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
        f"{data!r} is neither a folder of graphs, nor a file of one ({', '.join(GRAPH_FILES)}, .npz), nor a name: "
        f"{nearest(data, GRAPHS)}"
    )
