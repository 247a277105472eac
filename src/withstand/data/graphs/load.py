"""The front door to graphs: anything that holds one becomes a source."""

from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Source
from withstand.data.graphs.named import CITATIONS, CompactGraph, NamedGraph
from withstand.data.graphs.sets import NAMED_SETS, CompactGraphSet, NamedGraphSet
from withstand.data.graphs.tables import TEXT, EdgeList

GRAPHS = (*CITATIONS, *NAMED_SETS)
"""Graphs and sets of graphs that are known by name."""


def open_graphs(data: Any, *, header: bool | None = None, nodes_header: bool | None = None) -> Source:
    """Return a source for whatever holds a graph.

    Args:
        data: a name, the path of an edge list (`.csv`; a table of nodes named `*.nodes.csv` beside it is read too) or
            of a compact `.npz` file (one graph, or a set where it holds `graph_id`), a `Data` of torch-geometric, a
            dataset or a list of them, a NetworkX graph, a SciPy sparse adjacency matrix, or a source, which is given
            back.
        header: whether an edge list's first line names its columns; found by itself when None.
        nodes_header: the same of a table of nodes.

    Raises:
        ConfigError: headers of other data than an edge list.
        DataError: an unknown name or path, or data that hold no graph.
    """
    if isinstance(data, str | Path) and _is_edge_list(data):
        return EdgeList(str(Path(data).expanduser()), header=header, nodes_header=nodes_header)
    if header is not None or nodes_header is not None:
        raise ConfigError("header and nodes_header belong to edge lists in text files")
    if isinstance(data, Source):
        return data
    if isinstance(data, str | Path):
        return _named(str(data))
    from withstand.data.graphs.foreign import from_networkx, from_pyg, from_scipy

    if _is_pyg(data):
        return from_pyg(data)
    if hasattr(data, "adjacency") and hasattr(data, "nodes"):
        return from_networkx(data)
    if hasattr(data, "tocoo"):
        return from_scipy(data)
    raise DataError(
        f"a {type(data).__name__} holds no graph: give a name, an edge list, a Data or a dataset of torch-geometric, "
        "a NetworkX graph, a SciPy sparse matrix or a source"
    )


def _is_pyg(data: Any) -> bool:
    """Say whether these are a `Data` of torch-geometric, a dataset of them, or a list."""
    if isinstance(data, list | tuple):
        return bool(data) and all(map(_is_pyg, data))
    theirs = any(base.__module__.startswith("torch_geometric.") for base in type(data).__mro__)
    return theirs or hasattr(data, "edge_index")


def _is_edge_list(data: str | Path) -> bool:
    path = Path(data).expanduser()
    known = data in CITATIONS or data in NAMED_SETS
    return not known and path.suffix.lower() in TEXT and path.is_file()


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
        f"{data!r} is neither a file of a graph ({', '.join(TEXT)}, .npz) nor the name of one: {nearest(data, GRAPHS)}"
    )
