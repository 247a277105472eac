"""An edge list in a text file, and a table of nodes beside it, as a source."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.source import GraphSource

_DELIMITERS = ",\t; |"


class EdgeList(GraphSource):
    """A graph in text files: one line an edge, and perhaps one line a node.

    The first line of each names the columns. Nodes may be named by any words; they are numbered in the order of the
    table of nodes, or, without one, in the order in which edges name them. In the table of nodes, `id` is the name, and
    every other column that is not the label must hold numbers. An empty label is none.

    Args:
        path: the edge list; its columns `source` and `target` are read, or its first two.
        nodes: the table of nodes; where not said, a file `NAME.nodes.csv` beside `NAME.csv`, if there is one.
        label: the column of the table of nodes that holds the class, `label` if there is one.
        directed: keep the edges' directions.

    Raises:
        DataError: no such file, a line with another number of columns than the first, a wrong delimiter, words where
            numbers belong, a node that is named twice, or an edge to a node that the table does not name.
    """

    def __init__(
        self, path: str, nodes: str | None = None, *, label: str | None = None, directed: bool = False
    ) -> None:
        file = Path(path)
        head, rows = _read(file)
        places = [head.index(name) if name in head else rank for rank, name in enumerate(("source", "target"))]
        pairs = [(row[places[0]], row[places[1]]) for row in rows]
        beside = file.with_suffix(f".nodes{file.suffix}")
        table = Path(nodes) if nodes is not None else beside if beside.is_file() else None
        classes: tuple[str, ...] = ()
        features = labels = None
        if table is None:
            names = list(dict.fromkeys(name for pair in pairs for name in pair))
        else:
            names, features, labels, classes = _nodes(table, label)
        number = {name: place for place, name in enumerate(names)}
        unknown = next(
            ((line, name) for line, pair in enumerate(pairs, 2) for name in pair if name not in number), None
        )
        if unknown is not None:
            raise DataError(f"line {unknown[0]} of {file.name} names the node {unknown[1]!r}, which {table} lacks")
        edges = torch.tensor([(number[one], number[other]) for one, other in pairs], dtype=torch.int64).t()
        self.origin = f"the file {file.name}" + (f" with {table.name}" if table is not None else "")
        super().__init__(edges, features, labels, nodes=len(names), directed=directed, classes=classes)
        self.name = file.stem


def _nodes(table: Path, label: str | None) -> tuple[list[str], np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Return names, features, labels (-1 for none) and class names."""
    head, rows = _read(table, least=1)
    key = head.index("id") if "id" in head else 0
    if label is not None and label not in head:
        raise DataError(f"{table.name} has no column {label!r}: {nearest(label, head)}")
    target = head.index(label or "label") if (label or "label") in head else None
    names = [row[key] for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"{table.name} names the node {twice!r} twice")
    columns = [place for place in range(len(head)) if place not in (key, target)]
    features = None
    if columns:
        features = np.array([[_number(row[place], line, head[place], table) for place in columns]
                             for line, row in enumerate(rows, 2)], dtype=np.float32)  # fmt: skip
    if target is None:
        return names, features, None, ()
    classes = tuple(sorted({row[target] for row in rows} - {""}))
    rank = {name: place for place, name in enumerate(classes)} | {"": -1}
    return names, features, np.array([rank[row[target]] for row in rows]), classes


def _number(text: str, line: int, column: str, table: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"line {line} of {table.name} holds {text!r} in column {column!r}: a number is needed"
        ) from None


def _read(path: Path, least: int = 2) -> tuple[Sequence[str], list[list[str]]]:
    """Return the first line and the others, cut at the delimiter that the first line shows."""
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        delimiter = max(_DELIMITERS, key=first.count)
        file.seek(0)
        lines = [[cell.strip() for cell in line] for line in csv.reader(file, delimiter=delimiter) if line]
    if len(lines) < 2:
        raise DataError(f"{path.name} holds no lines after the first, which names the columns")
    head, rows = lines[0], lines[1:]
    if len(head) < least:
        raise DataError(
            f"{path.name} has {len(head)} column(s) between delimiters out of comma, tab, semicolon, space, bar: an "
            "edge needs two, source and target"
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise DataError(f"line {number} of {path.name} has {len(row)} columns, the first line {len(head)}")
    return head, rows
