"""Graphs of other libraries as sources: torch-geometric's `Data`, NetworkX, SciPy."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from withstand.core.errors import DataError
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource

_READ = frozenset({"x", "y", "edge_index", "num_nodes"})
"""What is read of a `Data`, beside the masks of its split."""


def _tell_unused(whose: str, names: Iterable[str], *, remedy: str = "") -> None:
    """Warn of what a graph holds that no source reads: it must not be lost in silence."""
    if found := sorted(map(str, names)):
        shown = f"{', '.join(found[:6])}{', ...' if len(found) > 6 else ''}"
        warnings.warn(f"not used: {whose} {shown}{remedy}", stacklevel=3)


def from_pyg(data: Any) -> GraphSource | GraphSet:
    """Return a graph of torch-geometric as a source, or several of them.

    Args:
        data: a `Data`: its `x`, `y`, and its masks; or a dataset, a list or a `Batch` of them. One alone is a graph of
            nodes; several are a set of graphs, whose `y` has one class each.

    Raises:
        DataError: no edges, several kinds of nodes, masks of several splits, features or labels of some graphs only.
    """
    if hasattr(data, "node_types"):
        raise DataError(f"a {type(data).__name__} has several kinds of nodes and edges: give one, as a Data of its own")
    if not hasattr(data, "num_nodes") or hasattr(data, "to_data_list"):  # a dataset, a list or a batch
        graphs = data.to_data_list() if hasattr(data, "to_data_list") else list(data)
        return from_pyg(graphs[0]) if len(graphs) == 1 else _several(graphs)
    if data.edge_index is None:
        raise DataError("this Data has no edge_index")
    masks = {"train": "train_mask", "validation": "val_mask", "test": "test_mask"}
    parts = {name: getattr(data, mask, None) for name, mask in masks.items()}
    held = {name: mask for name, mask in parts.items() if mask is not None}
    if any(mask.dim() != 1 for mask in held.values()):
        raise DataError("this Data has several splits: choose one, data.train_mask = data.train_mask[:, 0] and so on")
    labels = None if data.y is None else _classes(data.y, data.num_nodes, "a node")
    _tell_unused("this Data's", set(data.keys()) - {*_READ, *masks.values()})
    return GraphSource(data.edge_index, data.x, labels, nodes=data.num_nodes, parts=held, directed=data.is_directed())


def _several(graphs: list[Any]) -> GraphSet:
    if not graphs:
        raise DataError("there are no graphs: the dataset is empty")
    for place, graph in enumerate(graphs):
        if getattr(graph, "edge_index", None) is None or not graph.num_nodes:
            raise DataError(f"graph {place} has no edge_index, or no nodes")
    x, y = _joined(graphs, "x"), _joined(graphs, "y")
    _tell_unused("these graphs'", {key for graph in graphs for key in graph.keys()} - _READ)  # noqa: SIM118 - no dict
    sizes = torch.tensor([graph.num_nodes for graph in graphs])
    first = (sizes.cumsum(0) - sizes).tolist()
    return GraphSet(
        torch.cat([graph.edge_index + start for graph, start in zip(graphs, first, strict=True)], 1),
        torch.repeat_interleave(torch.arange(len(graphs)), sizes),
        x,
        None if y is None else _classes(y, len(graphs), "a graph"),
        directed=any(graph.is_directed() for graph in graphs),
    )


def _joined(graphs: list[Any], name: str) -> torch.Tensor | None:
    """Return what all graphs have under a name, one after the other; None where none has it."""
    found: list[torch.Tensor] = [getattr(graph, name) for graph in graphs if getattr(graph, name, None) is not None]
    if not found:
        return None
    if len(found) < len(graphs):
        lacking = next(place for place, graph in enumerate(graphs) if getattr(graph, name, None) is None)
        raise DataError(
            f"{len(graphs) - len(found)} of {len(graphs)} graphs have no {name}, the first is graph {lacking}"
        )
    shapes = sorted({tuple(value.shape[1:]) for value in found})
    if len(shapes) > 1:
        raise DataError(f"the graphs' {name} have different shapes: {', '.join(map(str, shapes[:3]))}")
    return torch.cat([value.reshape(1) if value.dim() == 0 else value for value in found])


def _classes(y: torch.Tensor, count: int, each: str) -> torch.Tensor:
    """Return labels as one axis of whole numbers."""
    flat = y[:, 0] if y.dim() == 2 and y.shape[1] == 1 else y
    if flat.is_floating_point() or flat.dim() != 1 or len(flat) != count:
        raise DataError(f"y has shape {tuple(y.shape)} and type {y.dtype}: one whole number {each} is needed")
    return flat


def from_networkx(graph: Any, *, features: str | None = None, label: str | None = None) -> GraphSource:
    """Return a NetworkX graph as a source; nodes are numbered in the graph's order.

    Args:
        graph: a graph, directed or not; of a multigraph each edge counts once.
        features: the node attribute that holds numbers; None for none.
        label: the node attribute that holds the class; nodes without it have none.

    What nodes and edges hold beside that is told, and not used; weights of edges are among it.

    Raises:
        DataError: an empty graph, or a node without the features asked for.
    """
    nodes = list(graph.nodes)
    if not nodes:
        raise DataError("the graph is empty")
    _tell_unused(
        "the nodes'",
        {name for _, held in graph.nodes(data=True) for name in held} - {features, label},
        remedy="; name them by from_networkx(graph, features=..., label=...)",
    )
    _tell_unused("the edges'", {name for *_, held in graph.edges(data=True) for name in held})
    place = {node: number for number, node in enumerate(nodes)}
    pairs = [(place[one], place[other]) for one, other in graph.edges()]
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t()
    x = None
    if features is not None:
        lacking = [node for node in nodes if features not in graph.nodes[node]]
        if lacking:
            raise DataError(f"{len(lacking)} node(s) have no attribute {features!r}, the first is {lacking[0]!r}")
        x = np.stack([np.atleast_1d(np.asarray(graph.nodes[node][features], dtype=np.float32)) for node in nodes])
    labels, classes = None, tuple[str, ...]()
    if label is not None:
        given = [graph.nodes[node].get(label) for node in nodes]
        names = sorted({str(value) for value in given if value is not None})
        number = {name: rank for rank, name in enumerate(names)}
        labels = np.array([-1 if value is None else number[str(value)] for value in given])
        classes = tuple(names)
    return GraphSource(edges, x, labels, nodes=len(nodes), directed=graph.is_directed(), classes=classes)


def from_scipy(adjacency: Any, features: Any = None, labels: Any = None) -> GraphSource:
    """Return a SciPy sparse adjacency matrix as a source; entry (u, v) other than 0 is an edge from u to v.

    Args:
        adjacency: square.
        features: as for `GraphSource`.
        labels: as for `GraphSource`.

    Raises:
        DataError: a matrix that is not square.
    """
    if adjacency.shape[0] != adjacency.shape[1]:
        raise DataError(f"an adjacency matrix is square, not {tuple(adjacency.shape)}")
    entries = adjacency.tocoo()
    held = entries.data != 0
    if (entries.data[held] != 1).any():
        _tell_unused("the adjacency matrix's", ["weights"], remedy="; every entry other than 0 is an edge")
    edges = torch.from_numpy(np.stack([entries.row[held], entries.col[held]]).astype(np.int64))
    return GraphSource(edges, features, labels, nodes=adjacency.shape[0])
