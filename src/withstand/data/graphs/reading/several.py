"""Many small graphs as one set: their nodes one after the other, their attributes in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.reading.attributes import LABELS, Features, Learnt, NodeColumns, NodeFacts, node_facts
from withstand.data.tables.frame import Frame, frame_of, short
from withstand.data.tables.written.reading import Reading
from withstand.data.tables.written.settle import settled


@dataclass(frozen=True)
class OneGraph:
    """A graph as a file or another library holds it.

    Attributes:
        name: what it is called.
        nodes: their names.
        ends: the places of edges' ends among them, sources and targets, `(2, E)`.
        attributes: of the nodes, one value each, None where a node lacks it.
        facts: of the whole graph.
        edges: attributes of the edges, one value each, None where an edge lacks it.
        directed: whether edges have directions.
    """

    name: str
    nodes: Sequence[str]
    ends: npt.NDArray[np.integer[Any]]
    attributes: Mapping[str, Sequence[object]] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    edges: Mapping[str, Sequence[object]] = field(default_factory=dict)
    directed: bool = False


def of_networkx(graph: Any, name: str) -> OneGraph:
    """Return a NetworkX graph as one of several."""
    nodes = list(graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    attributes = _by_name([own for _, own in graph.nodes(data=True)])
    ends = np.array([(place[one], place[other]) for one, other in graph.edges()], dtype=np.int64).reshape(-1, 2).T
    facts = {str(key): value for key, value in graph.graph.items()}
    edges = _by_name([own for *_, own in graph.edges(data=True)])
    return OneGraph(name, list(map(str, nodes)), ends, attributes, facts, edges, graph.is_directed())


def _by_name(held: Sequence[Mapping[Any, object]]) -> dict[str, list[object]]:
    names = {str(key): key for own in held for key in own}
    return {name: [own.get(key) for own in held] for name, key in names.items()}


def frame_of_nodes(graphs: Sequence[OneGraph], words: frozenset[str] = frozenset()) -> tuple[Frame, Features | None]:
    """Return the attributes of all graphs' nodes as a table, and attributes that are lists of numbers as features.

    Args:
        graphs: at least one.
        words: attributes that are words, whatever they look like.

    Raises:
        DataError: lists of different lengths, or that some nodes lack.
    """
    names = dict.fromkeys(name for graph in graphs for name in graph.attributes)
    plain: dict[str, npt.NDArray[Any]] = {}
    lists: list[Features] = []
    for name in names:
        values = [value for graph in graphs for value in graph.attributes.get(name, [None] * len(graph.nodes))]
        if any(isinstance(value, list | tuple | np.ndarray) for value in values):
            lists.append(_stacked(name, values))
            continue
        column = np.empty(len(values), dtype=object)
        column[:] = values
        plain[name] = column
    frame = settled(frame_of(plain, words), Reading(words=words)) if plain else Frame({})
    return frame, np.concatenate(lists, 1) if lists else None


def _stacked(name: str, values: Sequence[Any]) -> Features:
    lacking = sum(value is None for value in values)
    if lacking:
        raise DataError(f"{lacking} node(s) have no attribute {short(name)}, which is a list in others")
    sizes = sorted({np.shape(value) for value in values})
    if len(sizes) > 1 or len(sizes[0]) != 1:
        raise DataError(f"the nodes' {short(name)} have different shapes: {', '.join(map(str, sizes[:3]))}")
    return np.asarray(values, dtype=np.float32)


def facts_of_nodes(
    graphs: Sequence[OneGraph], asked: NodeColumns, label: str | None = None, learnt: Learnt | None = None
) -> NodeFacts:
    """Return what the nodes' attributes of all graphs say; lists of numbers stand first among the features.

    Args:
        graphs: at least one.
        asked: how attributes are read.
        label: of nodes, where they have one.
        learnt: read as these were.
    """
    words = frozenset(name for name, kind in (asked.kinds or {}).items() if kind == "categorical")
    if learnt is not None and learnt.schema is not None:
        words = frozenset(column.name for column in learnt.schema.categorical)
    frame, lists = frame_of_nodes(graphs, words)
    named = {name for graph in graphs for name in graph.attributes} - {*frame.columns, *frame.unread}
    aside = {*asked.features, *asked.ignore} & named
    plain = replace(asked, features=tuple(one for one in asked.features if one not in aside),
                    ignore=tuple(one for one in asked.ignore if one not in aside))  # fmt: skip
    if lists is not None and (aside & set(asked.ignore) or (asked.features and not aside)):
        raise DataError(f"lists of numbers ({', '.join(sorted(named))}) are features: they cannot be left out")
    found = node_facts(frame, plain, label, learnt=learnt)
    if lists is None:
        return found
    told = (f"lists of numbers are features as they stand: {', '.join(sorted(named))}", *found.account)
    whole = lists if found.features is None else np.concatenate([lists, found.features], 1)
    return replace(found, features=whole, account=told)


def joined(graphs: Sequence[OneGraph]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return edges over the nodes of all graphs `(2, E)`, and which graph each node belongs to `(N,)`.

    Raises:
        DataError: a graph without nodes.
    """
    sizes = np.array([len(graph.nodes) for graph in graphs])
    if not sizes.all():
        raise DataError(f"the graph {short(graphs[int(np.argmin(sizes))].name)} has no nodes")
    first = np.cumsum(sizes) - sizes
    edges = [graph.ends.astype(np.int64) + start for graph, start in zip(graphs, first, strict=True)]
    return np.concatenate(edges, 1), np.repeat(np.arange(len(graphs)), sizes)


def classes_of(graphs: Sequence[OneGraph], label: str | None) -> tuple[list[object] | None, str]:
    """Return each graph's class by a fact of its own, None for none, and how that fact is called.

    Whole numbers stay numbers; anything else is text.

    Args:
        graphs: at least one.
        label: the fact; found by its name if None.

    Raises:
        DataError: no graph has it, or several may be meant.
    """
    known = dict.fromkeys(name for graph in graphs for name in graph.facts)
    found = [name for name in known if name.lower() in LABELS] if label is None else [label]
    if len(found) > 1:
        raise DataError(f"the graphs have {' and '.join(map(short, found[:4]))}: say which is the class (--target)")
    if not found:
        return None, ""
    if found[0] not in known:
        raise DataError(f"no graph has {short(found[0])} as a fact of its own: {nearest(found[0], known)}")
    values = [graph.facts.get(found[0]) for graph in graphs]
    if all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in values):
        return values, found[0]
    return [None if value is None else str(value) for value in values], found[0]
