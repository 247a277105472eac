"""Graphs of other libraries as sources: torch-geometric's `Data`, NetworkX, SciPy."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.data.graphs.reading.attributes import NodeColumns
from withstand.data.graphs.reading.several import OneGraph, classes_of, facts_of_nodes, joined, of_networkx
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource

_READ = frozenset({"x", "y", "edge_index", "num_nodes"})
"""What is read of a `Data`, beside the masks of its split."""


def _tell_unused(whose: str, names: Iterable[str], *, remedy: str = "") -> None:
    """Warn of what a graph holds that no source reads: it must not be lost in silence."""
    if found := sorted(map(str, names)):
        shown = f"{', '.join(found[:6])}{', ...' if len(found) > 6 else ''}"
        warnings.warn(f"not used: {whose} {shown}{remedy}", stacklevel=3)


def from_pyg(data: Any, *, weights: str | None = None) -> GraphSource | GraphSet:
    """Return a graph of torch-geometric as a source, or several of them.

    Args:
        data: a `Data`: its `x`, `y`, and its masks; or a dataset, a list or a `Batch` of them. One alone is a graph of
            nodes; several are a set of graphs, whose `y` has one class each.
        weights: what holds the edges' weights, `edge_weight` or `edge_attr` with one number an edge.

    Raises:
        DataError: no edges, several kinds of nodes, masks of several splits, features or labels of some graphs only.
    """
    if hasattr(data, "node_types"):
        raise DataError(f"a {type(data).__name__} has several kinds of nodes and edges: give one, as a Data of its own")
    if not hasattr(data, "num_nodes") or hasattr(data, "to_data_list"):  # a dataset, a list or a batch
        graphs = data.to_data_list() if hasattr(data, "to_data_list") else list(data)
        return from_pyg(graphs[0], weights=weights) if len(graphs) == 1 else _several(graphs, weights)
    if data.edge_index is None:
        raise DataError("this Data has no edge_index")
    masks = {"train": "train_mask", "validation": "val_mask", "test": "test_mask"}
    parts = {name: getattr(data, mask, None) for name, mask in masks.items()}
    held = {name: mask for name, mask in parts.items() if mask is not None}
    if any(mask.dim() != 1 for mask in held.values()):
        raise DataError("this Data has several splits: choose one, data.train_mask = data.train_mask[:, 0] and so on")
    labels = None if data.y is None else _classes(data.y, data.num_nodes, "a node")
    _tell_unused("this Data's", set(data.keys()) - {*_READ, *masks.values(), weights})
    weight = None if weights is None else getattr(data, weights, None)
    if weights is not None and weight is None:
        raise DataError(f"this Data has no {weights!r}: {nearest(weights, [str(key) for key in data.keys()])}")  # noqa: SIM118
    directed = data.is_directed() or (weight is not None and _differs_by_way(data.edge_index, weight))
    return GraphSource(
        data.edge_index, data.x, labels, nodes=data.num_nodes, parts=held, directed=directed, weights=weight
    )


def _differs_by_way(edges: torch.Tensor, weight: torch.Tensor) -> bool:
    """Say whether an edge lacks its reverse, or has another weight there: then each way is as it is given."""
    from torch_geometric.utils import is_undirected

    return not is_undirected(edges, weight.flatten())


def _several(graphs: list[Any], weights: str | None) -> GraphSet:
    if weights is not None:
        raise ConfigError("weights are of the edges of one graph; those of a set of graphs are not used")
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


def from_networkx(
    graph: Any,
    *,
    features: str | Sequence[str] | None = None,
    label: str | None = None,
    weights: str | None = None,
    columns: NodeColumns = NodeColumns(),  # noqa: B008 - a frozen value
) -> GraphSource:
    """Return a NetworkX graph as a source; nodes are numbered in the graph's order, and called as they are there.

    Args:
        graph: a graph, directed or not; of a multigraph each edge counts once, and weights of parallel edges add up.
        features: the attributes of nodes that are features: lists of numbers come first, as they stand; numbers and
            words as a table of nodes has them. None for none.
        label: the node attribute that holds the class; nodes without it have none.
        weights: the edge attribute that says how much an edge counts.
        columns: how features that are no lists are read, and which attribute is the split.

    What nodes and edges hold beside that is told, and not used.

    Raises:
        DataError: an empty graph, an attribute that no node has, a list that a node lacks, an edge without a weight.
    """
    nodes = list(graph.nodes)
    if not nodes:
        raise DataError("the graph is empty")
    weight = None if weights is None else _edge_weights(graph, weights)
    chosen = (features,) if isinstance(features, str) else tuple(features or ())
    held = sorted({str(name) for _, own in graph.nodes(data=True) for name in own})
    _tell_unused(
        "the nodes'",
        set(held) - {*chosen, label, *columns.split},
        remedy="; name them as features= or target= (from_networkx: label=)",
    )
    _tell_unused("the edges'", {name for *_, own in graph.edges(data=True) for name in own} - {weights})
    place = {node: number for number, node in enumerate(nodes)}
    pairs = [(place[one], place[other]) for one, other in graph.edges()]
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t()
    x, parts, account = _attributes(graph, chosen, columns, held)
    labels, classes = None, tuple[str, ...]()
    if label is not None:
        given = [graph.nodes[node].get(label) for node in nodes]
        names = sorted({str(value) for value in given if value is not None})
        if not names:
            raise DataError(f"no node has an attribute {label!r}: {nearest(label, held)}")
        number = {name: rank for rank, name in enumerate(names)}
        labels = np.array([-1 if value is None else number[str(value)] for value in given])
        classes = tuple(names)
    source = GraphSource(
        edges, x, labels, nodes=len(nodes), parts=parts, directed=graph.is_directed(), classes=classes,
        weights=weight,
    )  # fmt: skip
    source.names = tuple(map(str, nodes))
    source.account = account
    return source


def _attributes(
    graph: Any, chosen: Sequence[str], columns: NodeColumns, held: Sequence[str]
) -> tuple[np.ndarray[Any, Any] | None, dict[str, Any], tuple[str, ...]]:
    """Return nodes' features, the parts of the split, and how they were read."""
    one = of_networkx(graph, "")
    for name in (*chosen, *columns.split):
        if name not in one.attributes:
            raise DataError(f"{len(one.nodes)} node(s) have no attribute {name!r}: {nearest(name, held)}")
    if not chosen and not columns.split:
        return None, {}, ()
    kept = {name: one.attributes[name] for name in (*chosen, *columns.split)}
    facts = facts_of_nodes([replace(one, attributes=kept)], replace(columns, features=(), ignore=()))
    return facts.features, facts.parts, facts.account


def _edge_weights(graph: Any, name: str) -> np.ndarray[Any, Any]:
    found = [(one, other, own.get(name)) for one, other, own in graph.edges(data=True)]
    lacking = [(one, other) for one, other, value in found if value is None]
    if lacking:
        raise DataError(
            f"{len(lacking)} edge(s) have no {name!r}, the first joins {lacking[0][0]!r} and {lacking[0][1]!r}"
        )
    return np.array([value for *_, value in found])


def several_networkx(graphs: Sequence[Any], *, label: str | None = None, columns: NodeColumns) -> GraphSet:
    """Return NetworkX graphs as a set; a graph's class is a fact of its own, `graph.graph["label"]`.

    Args:
        graphs: at least one, directed or not.
        label: the fact; found by its name if None.
        columns: which attributes of nodes are features (none are if none are named), and how they are read.

    Raises:
        DataError: a graph without nodes, an attribute that no node has, several facts that may be the class.
    """
    several = [of_networkx(graph, str(graph.name or place)) for place, graph in enumerate(graphs)]
    edges, member = joined(several)
    held = sorted({name for one in several for name in one.attributes})
    lacking = next((name for name in columns.features if name not in held), None)
    if lacking is not None:
        raise DataError(f"no node has an attribute {lacking!r}: {nearest(lacking, held)}")
    _tell_unused("the nodes'", set(held) - {*columns.features}, remedy="; name them as features=")
    _tell_unused("the edges'", {name for one in several for name in one.edges})
    told, _ = classes_of(several, label)
    x, account = None, tuple[str, ...]()
    if columns.features:
        chosen = [_only(one, columns.features) for one in several]
        facts = facts_of_nodes(chosen, replace(columns, features=(), ignore=()))
        x, account = facts.features, facts.account
    source = GraphSet(
        edges, member, x, told,
        directed=any(one.directed for one in several),
    )  # fmt: skip
    source.names, source.account = tuple(one.name for one in several), account
    return source


def _only(one: OneGraph, names: Sequence[str]) -> OneGraph:
    return replace(one, attributes={name: held for name, held in one.attributes.items() if name in names})


def from_scipy(adjacency: Any, features: Any = None, labels: Any = None, *, weights: str | None = None) -> GraphSource:
    """Return a SciPy sparse adjacency matrix as a source; entry (u, v) other than 0 is an edge from u to v.

    Args:
        adjacency: square.
        features: as for `GraphSource`.
        labels: as for `GraphSource`.
        weights: "data" where entries say how much edges count, as the matrix calls them; None where each counts once.

    Raises:
        ConfigError: other weights than the matrix has.
        DataError: a matrix that is not square.
    """
    if adjacency.shape[0] != adjacency.shape[1]:
        raise DataError(f"an adjacency matrix is square, not {tuple(adjacency.shape)}")
    entries = adjacency.tocoo()
    held = entries.data != 0
    if weights not in (None, "data"):
        raise ConfigError(f"a matrix has no weights {weights!r}: its own are called data")
    if weights is None and (entries.data[held] != 1).any():
        remedy = "; every entry other than 0 is an edge; edge_weight='data' counts them"
        _tell_unused("the adjacency matrix's", ["weights"], remedy=remedy)
    edges = torch.from_numpy(np.stack([entries.row[held], entries.col[held]]).astype(np.int64))
    found = None if weights is None else entries.data[held]
    return GraphSource(edges, features, labels, nodes=adjacency.shape[0], weights=found)
