"""Graphs in files: GraphML, GEXF, GML and node-link JSON are read by NetworkX, edge lists by our own reader."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, MissingExtra
from withstand.data.graphs.reading.cells import BINARY, TEXT
from withstand.data.graphs.reading.edges import edge_cells, edges_of
from withstand.data.graphs.reading.nodes import NodeTable
from withstand.data.graphs.reading.several import OneGraph, of_networkx
from withstand.data.tables.distinct import arrow_names

NETWORKS = (".graphml", ".gexf", ".gml", ".json")
"""Endings of files that NetworkX reads."""
GRAPH_FILES = (*NETWORKS, *TEXT, *BINARY)
"""Endings of files that hold a graph."""


def read_graph(path: Path, name: str) -> OneGraph:
    """Return the graph in a file.

    Args:
        path: the file.
        name: what the graph is called.

    Raises:
        DataError: a file that cannot be read, or holds no graph.
        MissingExtra: a file that NetworkX reads, without it.
    """
    if path.suffix.lower() not in NETWORKS:
        return _edge_list(path, name)
    try:
        import networkx
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "networkx", "graph") from error
    try:
        graph = _networks(networkx, path)
    except (
        networkx.NetworkXException,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        SyntaxError,
        AttributeError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{str(path)!r} cannot be read: {reason}") from None
    if not len(graph):
        raise DataError(f"{str(path)!r} holds a graph without nodes")
    return of_networkx(graph, name)


def _networks(networkx: Any, path: Path) -> Any:
    match path.suffix.lower():
        case ".graphml":
            return networkx.read_graphml(path)
        case ".gexf":
            return _by_label(networkx, networkx.read_gexf(path))
        case ".gml":
            return _by_label(networkx, networkx.read_gml(path, label="id"))
        case _:
            held = json.loads(path.read_text(encoding="utf-8"))
            key = next((key for key in ("links", "edges") if isinstance(held, dict) and key in held), None)
            if key is None or "nodes" not in held:
                raise ValueError("node-link JSON holds nodes, and links or edges")
            # Both names at once, for the one that NetworkX looks for has changed with its versions.
            held |= {"links": held[key], "edges": held[key]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return networkx.node_link_graph(held)


def _by_label(networkx: Any, graph: Any) -> Any:
    """Return a graph of a format in which `label` is what a node is called, by that name where it is each one's own."""
    labels = {node: own.pop("label") for node, own in graph.nodes(data=True) if "label" in own}
    own = len(labels) == len(graph) and len(set(map(str, labels.values()))) == len(graph)
    return networkx.relabel_nodes(graph, labels) if own else graph


def _edge_list(path: Path, name: str) -> OneGraph:
    """Return an edge list, and a table of nodes beside it, as one of several graphs."""
    from pyarrow import compute

    cells, sure, _ = edge_cells(path)
    beside = path.with_suffix(f".nodes{path.suffix}")
    table = NodeTable.of(beside) if beside.is_file() else None
    edges, _ = edges_of(path.name, cells, True if sure else None, table, None)
    if table is None:
        return OneGraph(name, list(edges.names), edges.ends)
    listed = table.named(edges.names, None)
    places = [
        None if one is None else int(one) for one in compute.index_in(arrow_names(edges.names), listed).to_pylist()
    ]
    if None in places:
        raise DataError(f"{path.name} names the node {edges.names[places.index(None)]!r}, which {table.called} lacks")
    key = list(table.columns)[table.key]
    attributes = {
        other: [text.strip() or None for text in column.to_pylist()]
        for other, column in table.columns.items()
        if other != key
    }
    return OneGraph(name, listed.to_pylist(), np.array(places)[edges.ends], attributes)
