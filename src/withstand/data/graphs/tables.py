"""An edge list in a table, and a table of nodes beside it, as a source."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from withstand.core.errors import DataError
from withstand.data.graphs.reading.attributes import Learnt, NodeColumns, labelled_parts, refuse_unlike
from withstand.data.graphs.reading.cells import BINARY, TEXT, called
from withstand.data.graphs.reading.edges import edge_cells, edges_of
from withstand.data.graphs.reading.nodes import NodeTable
from withstand.data.graphs.source import GraphSource
from withstand.data.tables.distinct import MANY, Names, arrow_names
from withstand.data.tables.frame import is_frame, short
from withstand.data.tables.schema import Schema

SUFFIXES = (*TEXT, *BINARY)
"""Endings of files that hold edge lists."""


def is_edge_list(data: object) -> bool:
    """Say whether this names a file that may hold an edge list, by its ending, or is a data frame."""
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        return path.suffix.lower() in SUFFIXES and path.is_file()
    return is_frame(data)


class EdgeList(GraphSource):
    """A graph in tables: one line an edge, and perhaps one line a node.

    Text, Parquet and Feather files and data frames. In text, commas, semicolons, tabs, bars or any whitespace separate;
    lines that begin with # or % are comments. Whether a first line names the columns is found out, and refused where
    nobody can know. An edge's ends are the columns `source` and `target`, or `src` and `dst`, `from` and `to` and the
    like, in any order and case, else the first two; another may hold weights, and what is not used is told. Nodes may
    be named by any words; they are numbered in the order of the table of nodes, or, without one, in the order in which
    edges name them. In the table of nodes, `id` is the name (else the first column); `NodeColumns` says what becomes
    of the others. An empty label is none.

    Args:
        path: the edge list: a file or a data frame.
        nodes: the table of nodes, likewise; where not said, a file `NAME.nodes.csv` beside `NAME.csv`, if there is one.
        label: the column of the table of nodes that holds the class; `label`, `class`, `target` or `y` if not
            said, and without a header the only one that holds words.
        directed: keep the edges' directions.
        header: whether the edge list's first line names its columns; found by itself when None.
        nodes_header: the same of the table of nodes.
        weights: the edges' column that holds their weights; None where every edge counts once.
        key: the column of the table of nodes that names them, where it is neither `id` nor the first.
        columns: how the other columns of the table of nodes are read. Its `split` may name a file too: nodes and the
            part of each.
        schema: read the columns of nodes as those of another graph were.
        classes: that graph's classes.

    Raises:
        DataError: no such file, a line with another number of columns than the first, a doubtful header or end, an
            edge that lacks an end, a node that is named twice, an edge to a node that the table does not name, a table
            of nodes in place of edges or the other way round, and all that `node_facts` and `weighted` refuse.
    """

    def __init__(
        self,
        path: Any,
        nodes: Any = None,
        *,
        label: str | None = None,
        directed: bool = False,
        header: bool | None = None,
        nodes_header: bool | None = None,
        weights: str | None = None,
        key: str | None = None,
        columns: NodeColumns = NodeColumns(),  # noqa: B008 - a frozen value
        schema: Schema | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        what = called(path)
        cells, sure, unread = edge_cells(path)

        from pyarrow import compute  # its absence was told

        place = _beside(path) if nodes is None else nodes
        table = None if place is None else NodeTable.of(place, key)
        if table is None and schema is None and not classes:
            _refuse_without_nodes(what, label, key, columns)
        edges, said = edges_of(what, cells, True if sure else header, table, weights)
        del cells
        names, ends = edges.names, edges.ends
        facts, parts = None, dict[str, Any]()
        if table is not None:
            listed = table.named(edges.names, nodes_header)
            places = compute.index_in(arrow_names(edges.names), listed).to_numpy(zero_copy_only=False)
            if np.isnan(places).any():
                lacking = edges.names[int(np.isnan(places).argmax())]
                raise DataError(f"{what} names the node {short(lacking)}, which {table.called} lacks")
            ends = places.astype(ends.dtype)[ends]
            names = Names(listed) if len(listed) > MANY else listed.to_pylist()
            aside = _split_file(columns, table)
            asked = columns if aside is None else replace(columns, split=())
            learnt = None if schema is None and not classes else Learnt(schema, tuple(classes))
            facts = table.facts(label, asked, learnt)
            parts = {**facts.parts} if aside is None else {**NodeTable.of(aside).parts(listed)}
        notes = [said, *(f"{what} holds lists in {short(name)}: not used" for name in unread)]
        origin = f"{'the file ' if isinstance(path, str | Path) else ''}{what} ({'; '.join(notes)})" + (
            "" if table is None else f" with {table}"
        )
        parts, left = labelled_parts(parts, None if facts is None else facts.labels)
        self.origin = origin + left
        weight = edges.weights
        del edges
        super().__init__(
            torch.from_numpy(ends),
            None if facts is None else facts.features,
            None if facts is None else facts.labels,
            nodes=len(names),
            directed=directed,
            parts=parts,
            classes=() if facts is None else facts.classes,
            weights=weight,
        )
        self.account = () if facts is None else facts.account
        self.name = Path(path).stem if isinstance(path, str | Path) else "graph"
        self.names = names if isinstance(names, Names) else tuple(names)
        self._facts, self._directed, self._weights, self._key = facts, directed, weights, key

    def like(self, data: Any, split: str = "all") -> "EdgeList | None":
        """Return another edge list, whose nodes' attributes are read as this one's were; None for other graphs."""
        if split == "test" or not is_edge_list(data):
            return None
        mine = self._facts
        found = EdgeList(
            data,
            label=None if mine is None else mine.label,
            directed=self._directed,
            weights=self._weights,
            key=self._key,
            columns=NodeColumns(scale=None if mine is None else mine.columns.scale),
            schema=None if mine is None else mine.schema,
            classes=() if mine is None else mine.classes,
        )
        refuse_unlike(mine, found._facts, called(data))
        return found


def _beside(path: object) -> Path | None:
    """Return the table of nodes that lies beside an edge list; None where there is none."""
    if not isinstance(path, str | Path):
        return None
    file = Path(path)
    beside = file.with_suffix(f".nodes{file.suffix}")
    return beside if beside.is_file() else None


def _refuse_without_nodes(what: str, label: str | None, key: str | None, columns: NodeColumns) -> None:
    """Refuse what is said of a table of nodes where there is none."""
    said = {"target": label, "id": key, **columns._init_args}
    told = [name for name, value in said.items() if value not in (None, (), {})]
    if told:
        raise DataError(
            f"{what} has no table of nodes for {' and '.join(told)} to be columns of: name one (--nodes FILE), or call "
            f"it {Path(what).stem}.nodes{Path(what).suffix} and put it beside"
        )


def _split_file(columns: NodeColumns, table: NodeTable) -> Path | None:
    """Return the file that holds the split; None where columns do, or nothing."""
    if len(columns.split) != 1 or columns.split[0] in table.columns:
        return None
    path = Path(columns.split[0]).expanduser()
    return path if path.suffix.lower() in SUFFIXES and path.is_file() else None
