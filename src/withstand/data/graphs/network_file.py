"""One graph in a file of another program as a source: GraphML, GEXF, GML, node-link JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.reading.attributes import (
    Learnt,
    NodeColumns,
    found_label,
    labelled_parts,
    refuse_unlike,
)
from withstand.data.graphs.reading.formats import NETWORKS, read_graph
from withstand.data.graphs.reading.several import OneGraph, facts_of_nodes
from withstand.data.graphs.source import GraphSource
from withstand.data.tables.frame import short
from withstand.data.tables.schema import Schema


def is_network(data: object) -> bool:
    """Say whether this names a file that NetworkX reads, by its ending."""
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    return path.suffix.lower() in NETWORKS and path.is_file()


class GraphFile(GraphSource):
    """A graph that NetworkX reads: GraphML, GEXF, GML, or JSON of nodes and links; directions as in the file.

    Args:
        path: the file.
        label: the attribute of nodes that holds the class; `label`, `class`, `target` or `y` if not said.
        weights: the attribute of edges that says how much each counts; None where every edge counts once.
        columns: how the nodes' other attributes are read.
        schema: read them as those of another graph were.
        classes: that graph's classes.

    Raises:
        DataError: a file that cannot be read, no such attribute, and all that `node_facts` and `weighted` refuse.
    """

    def __init__(
        self,
        path: str,
        *,
        label: str | None = None,
        weights: str | None = None,
        columns: NodeColumns = NodeColumns(),  # noqa: B008 - a frozen value
        schema: Schema | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        file = Path(path)
        graph = read_graph(file, file.stem)
        learnt = Learnt(schema, tuple(classes)) if schema is not None or classes else None
        facts = facts_of_nodes([graph], columns, _label(graph, label, columns, sure=learnt is not None), learnt)
        parts, left = labelled_parts(facts.parts, facts.labels)
        unread = sorted(set(graph.edges) - {weights})
        told = f"; not used: the edges' {', '.join(unread[:6])}" if unread else ""
        self.origin = f"the file {file.name}{told}{left}"
        super().__init__(
            graph.ends,
            facts.features,
            facts.labels,
            nodes=len(graph.nodes),
            parts=parts,
            directed=graph.directed,
            classes=facts.classes,
            weights=None if weights is None else _weights(graph, weights),
        )
        self.name, self.names, self.account = file.stem, tuple(graph.nodes), facts.account
        self._facts, self._weights = facts, weights

    def like(self, data: Any, split: str = "all") -> "GraphFile | None":
        """Return another such file, whose nodes' attributes are read as this one's were; None for other graphs."""
        if split == "test" or not is_network(data):
            return None
        mine = self._facts
        found = GraphFile(
            str(Path(data).expanduser()), label=mine.label, weights=self._weights,
            columns=NodeColumns(scale=mine.columns.scale), schema=mine.schema, classes=mine.classes,
        )  # fmt: skip
        refuse_unlike(mine, found._facts, Path(data).name)
        return found


def _label(graph: OneGraph, label: str | None, columns: NodeColumns, *, sure: bool) -> str | None:
    """Return the attribute that holds the class, or None where none does."""
    if label is not None:
        if label not in graph.attributes and not sure:
            raise DataError(f"no node has an attribute {short(label)}: {nearest(label, graph.attributes)}")
        return label
    aside = (*columns.split, *columns.features, *columns.ignore)
    return found_label(list(graph.attributes), aside, "the nodes have")


def _weights(graph: OneGraph, name: str) -> np.ndarray[Any, Any]:
    if name not in graph.edges:
        raise DataError(f"no edge has an attribute {short(name)}: {nearest(name, graph.edges)}")
    values = graph.edges[name]
    if any(isinstance(value, str) for value in values):
        raise DataError(f"the edges' {short(name)} holds words, which are no weights")
    return np.array([np.nan if value is None else value for value in values])
