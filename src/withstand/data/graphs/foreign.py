"""Graphs of other libraries as sources: torch-geometric's `Data`, NetworkX, SciPy."""

from typing import Any

import numpy as np
import torch

from withstand.core.errors import DataError
from withstand.data.graphs.source import GraphSource


def from_pyg(data: Any) -> GraphSource:
    """Return a torch-geometric `Data` as a source: its `x`, `y`, and its masks where it has all three.

    Raises:
        DataError: no edges, or masks of several splits.
    """
    if data.edge_index is None:
        raise DataError("this Data has no edge_index")
    masks = {"train": "train_mask", "validation": "val_mask", "test": "test_mask"}
    parts = {name: getattr(data, mask, None) for name, mask in masks.items()}
    held = {name: mask for name, mask in parts.items() if mask is not None}
    if any(mask.dim() != 1 for mask in held.values()):
        raise DataError("this Data has several splits: choose one, data.train_mask = data.train_mask[:, 0] and so on")
    y = data.y
    if y is not None and (y.is_floating_point() or y.dim() != 1):
        raise DataError(f"y has shape {tuple(y.shape)} and type {y.dtype}: one whole number a node is needed")
    return GraphSource(data.edge_index, data.x, y, nodes=data.num_nodes, parts=held, directed=data.is_directed())


def from_networkx(graph: Any, *, features: str | None = None, label: str | None = None) -> GraphSource:
    """Return a NetworkX graph as a source; nodes are numbered in the graph's order.

    Args:
        graph: a graph, directed or not; of a multigraph each edge counts once.
        features: the node attribute that holds numbers; None for none.
        label: the node attribute that holds the class; nodes without it have none.

    Raises:
        DataError: an empty graph, or a node without the features asked for.
    """
    nodes = list(graph.nodes)
    if not nodes:
        raise DataError("the graph is empty")
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
    edges = torch.from_numpy(np.stack([entries.row[held], entries.col[held]]).astype(np.int64))
    return GraphSource(edges, features, labels, nodes=adjacency.shape[0])
