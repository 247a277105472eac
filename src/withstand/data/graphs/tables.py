"""An edge list in a text file, and a table of nodes beside it, as a source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.ends import ends_of, first_line_names
from withstand.data.graphs.source import GraphSource
from withstand.data.tables.arrow import text_values
from withstand.data.tables.cells import Cells, read_cells
from withstand.data.tables.frame import MISSING, Words, short
from withstand.data.tables.header import has_header
from withstand.data.tables.text import decimal_commas, name_columns

TEXT = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
"""Endings of files that hold edge lists."""
LABELS = ("label", "labels", "class", "target", "y")
"""Names of the column of a table of nodes that holds the class; `y` beside `x` is a coordinate."""
_KEYS = ("id", "node", "nodeid", "name")


class EdgeList(GraphSource):
    """A graph in text files: one line an edge, and perhaps one line a node.

    Commas, semicolons, tabs, bars or any whitespace separate; lines that begin with # or % are comments. Whether a
    first line names the columns is found out, and refused where nobody can know. An edge's ends are the columns
    `source` and `target`, or `src` and `dst`, `from` and `to` and the like, in any order and case, else the first two;
    other columns are not used. Nodes may be named by any words; they are numbered in the order of the table of nodes,
    or, without one, in the order in which edges name them. In the table of nodes, `id` is the name (else the first
    column), and every other column that is not the label must hold numbers. An empty label is none.

    Args:
        path: the edge list.
        nodes: the table of nodes; where not said, a file `NAME.nodes.csv` beside `NAME.csv`, if there is one.
        label: the column of the table of nodes that holds the class; `label`, `class`, `target` or `y` if not
            said, and without a header the only one that holds words.
        directed: keep the edges' directions.
        header: whether the edge list's first line names its columns; found by itself when None.
        nodes_header: the same of the table of nodes.

    Raises:
        DataError: no such file, a line with another number of columns than the first, a doubtful header or end, an
            edge that lacks an end, words where numbers belong, a node that is named twice, or an edge to a node that
            the table does not name.
    """

    def __init__(
        self,
        path: str,
        nodes: str | None = None,
        *,
        label: str | None = None,
        directed: bool = False,
        header: bool | None = None,
        nodes_header: bool | None = None,
    ) -> None:
        file = Path(path)
        cells = _cells(file, 2)
        beside = file.with_suffix(f".nodes{file.suffix}")
        place = Path(nodes) if nodes is not None else beside if beside.is_file() else None
        table = None if place is None else _NodeCells.of(place, _cells(place, 1))
        edges, said = _edges(file, cells, header, table)
        names = edges.names if table is None else table.named(edges.names, nodes_header)
        number = {name: rank for rank, name in enumerate(names)}
        lacking = next((name for name in edges.names if name not in number), None)
        if lacking is not None:
            raise DataError(f"{file.name} names the node {short(lacking)}, which {place} lacks")
        moved = np.array([number[name] for name in edges.names], dtype=np.int64)
        features, labels, classes = (None, None, ()) if table is None else table.values(label)
        self.origin = f"the file {file.name} ({said})" + ("" if table is None else f" with {table}")
        super().__init__(
            torch.from_numpy(moved[edges.ends]), features, labels, nodes=len(names), directed=directed, classes=classes
        )
        self.name, self.names = file.stem, tuple(names)


@dataclass(frozen=True)
class _Edges:
    """Edges by the places of their ends `(2, E)` among nodes' names, in the order in which they are first named."""

    ends: np.ndarray
    names: list[str]


def _cells(path: Path, least: int) -> Cells:
    cells = read_cells(path, loose=True)
    if len(cells.columns) < least:
        raise DataError(
            f"{path.name} has 1 column between delimiters out of comma, tab, semicolon, bar and whitespace: an edge "
            "needs two, source and target"
        )
    return cells


def _edges(path: Path, cells: Cells, header: bool | None, table: "_NodeCells | None") -> tuple[_Edges, str]:
    """Return the edges, and what is to be said of the reading."""
    from pyarrow import chunked_array, compute, string

    first, below = cells.first, [column.slice(1) for column in cells.columns]
    try:
        named = first_line_names(first, below, table and table.keys) if header is None else header
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    columns = below if named else cells.columns
    if not len(columns[0]):
        raise DataError(f"{path.name} holds no lines after the first, which names the columns")
    places = ends_of(first) if named else (0, 1)
    if places is None and len(first) > 2:
        raise DataError(
            f"{path.name} has the columns {', '.join(map(short, first[:6]))}: name an edge's ends source and target"
        )
    one, other = places or (0, 1)
    ends = [columns[place] for place in (one, other)]
    del columns, below, cells.columns[:]  # the text of what is not used
    for what, column in zip(("source", "target"), ends, strict=True):
        empty = np.concatenate(
            [compute.match_substring_regex(chunk, r"^\s*$").to_numpy(False) for chunk in column.chunks]
        )
        if empty.any():
            raise DataError(f"edge {int(empty.argmax()) + 1} of {path.name} has no {what}")
    trimmed = [compute.utf8_trim_whitespace(chunk) for column in ends for chunk in column.chunks]
    del ends
    coded = chunked_array(trimmed, type=string()).dictionary_encode().unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in coded.chunks]).reshape(2, -1)
    dictionary = coded.chunk(0).dictionary
    # Nodes are numbered as a reader of lines meets them: source before target, edge after edge. Of equal places the
    # last written stays, so from the back.
    met = np.full((2, len(dictionary)), 2 * codes.shape[1])
    for end, nodes in enumerate(codes):
        met[end][nodes[::-1]] = np.arange(2 * len(nodes) - 2 + end, -1, -2)
    order = np.argsort(met.min(0))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    names = dictionary.to_pylist()
    notes = [str(cells.dialect)]
    notes += ["the first line names the columns" if named else "no header: the first two columns are the ends"]
    unused = [short(name) if name else str(place + 1) for place, name in enumerate(first) if place not in (one, other)]
    if unused:
        shown = f": {', '.join(unused[:6])}" if named else ""
        notes.append(f"{len(unused)} other column(s) not used{shown}")
    if cells.comments:
        notes.append(f"{cells.comments} line(s) of comments")
    return _Edges(rank[codes].astype(np.int64), [names[place] for place in order]), "; ".join(notes)


@dataclass
class _NodeCells:
    """The fields of a table of nodes.

    Attributes:
        path: where it lies.
        cells: what stands in it.
        key: the place of the column that names nodes.
        columns: names of the columns, and their fields below the header.
        said: how it was read.
        headed: whether the first line names the columns.
    """

    path: Path
    cells: Cells
    key: int
    keys: Any
    columns: dict[str, Any]
    said: str = ""
    headed: bool = False

    @classmethod
    def of(cls, path: Path, cells: Cells) -> "_NodeCells":
        """Return a table of nodes of which nobody has said yet whether it has a header."""
        from pyarrow import compute

        plain = [name.lower().replace("_", "").strip(" :") for name in cells.first]
        key = next((plain.index(name) for name in _KEYS if name in plain), 0)
        return cls(path, cells, key, compute.utf8_trim_whitespace(cells.columns[key]), {})

    def named(self, ends: list[str], header: bool | None) -> list[str]:
        """Decide on the header and return the nodes' names.

        Args:
            ends: the nodes that edges name.
            header: whether there is one; None finds out: a first line that names an end is a node.

        Raises:
            DataError: a doubtful header, a node without a name or named twice.
        """
        first = self.cells.first
        if header is None and first[self.key] in set(ends):
            header = False
        if header is None:
            below = [column.slice(1) for column in self.cells.columns]
            try:
                header = has_header(first, below)
            except DataError as error:
                told = str(error).replace("header=", "nodes_header=").replace("--header", "--nodes-header")
                raise DataError(f"{self.path.name}: {told.replace('--no-header', '--no-nodes-header')}") from None
        names, columns, said = name_columns(self.path, self.cells, header)
        self.columns = dict(zip(names, columns, strict=True))
        self.headed = header
        self.said = f"{self.cells.dialect}; {said}"
        found = [name.strip() for name in columns[self.key].to_pylist()]
        if "" in found:
            raise DataError(f"node {found.index('') + 1} of {self.path.name} has no name")
        if len(set(found)) < len(found):
            seen: set[str] = set()
            twice = next(name for name in found if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(f"{self.path.name} names the node {short(twice)} twice")
        return found

    def values(self, label: str | None) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
        """Return features, labels (-1 for none) and class names.

        Raises:
            DataError: no such column, several that may hold the class, words where numbers belong.
        """
        key = list(self.columns)[self.key]
        target = self._label(key) if label is None else label
        if target is not None and target not in self.columns:
            raise DataError(f"{self.path.name} has no column {target!r}: {nearest(target, self.columns)}")
        names = [name for name in self.columns if name not in (key, target)]
        commas, _ = decimal_commas([self.columns[name] for name in names], self.cells.dialect.delimiter, None)
        columns = [self._numbers(name, "," if place in commas else ".") for place, name in enumerate(names)]
        features = np.stack(columns, 1).astype(np.float32) if columns else None
        if target is None:
            return features, None, ()
        self.said += f"; classes in {short(target)}"
        texts = [text.strip() for text in self.columns[target].to_pylist()]
        held = {text for text in texts if text not in MISSING}
        whole = all(text.lstrip("-").isdecimal() for text in held)
        ordered = sorted(held, key=int) if whole else sorted(held)
        rank = {name: place for place, name in enumerate(ordered)}
        return features, np.array([rank.get(text, -1) for text in texts]), tuple(ordered)

    def _label(self, key: str) -> str | None:
        """Return the column that holds the class, or None where none does."""
        others = [name for name in self.columns if name != key]
        if self.headed:
            found = [name for name in others if name.lower() in LABELS]
            if "x" in map(str.lower, others):
                found = [name for name in found if name.lower() != "y"]
        else:
            found = [name for name in others if isinstance(text_values(self.columns[name]), Words)]
        if len(found) > 1:
            raise DataError(
                f"{self.path.name} has the columns {' and '.join(map(short, found[:4]))}: say which is label="
            )
        return found[0] if found else None

    def _numbers(self, name: str, decimal: str) -> np.ndarray:
        values = text_values(self.columns[name], decimal)
        if isinstance(values, Words):
            texts = self.columns[name].to_pylist()
            row = next(row for row, code in enumerate(values.codes) if code >= 0 and self._is_word(texts[row], decimal))
            raise DataError(
                f"node {row + 1} of {self.path.name} holds {short(texts[row])} in column {short(name)}: "
                "a number is needed"
            )
        if np.isnan(values).any():
            raise DataError(
                f"node {int(np.isnan(values).argmax()) + 1} of {self.path.name} has no value in column {short(name)}"
            )
        return values

    @staticmethod
    def _is_word(text: str, decimal: str) -> bool:
        from pyarrow import chunked_array

        return isinstance(text_values(chunked_array([[text]]), decimal), Words)

    def __str__(self) -> str:
        return f"{self.path.name} ({self.said})"
