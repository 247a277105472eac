"""An edge list in a text file, and a table of nodes beside it, as a source."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.ends import ends_of, first_line_names
from withstand.data.graphs.source import GraphSource
from withstand.data.tables.arrow import text_values
from withstand.data.tables.cells import Cells, read_cells
from withstand.data.tables.distinct import MANY, Codes, Names, arrow_names, encode, named, narrow, trimmed, without
from withstand.data.tables.frame import MISSING, Words, short
from withstand.data.tables.header import has_header
from withstand.data.tables.text import decimal_commas, name_columns

TEXT = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
"""Endings of files that hold edge lists."""
LABELS = ("label", "labels", "class", "target", "y")
"""Names of the column of a table of nodes that holds the class; `y` beside `x` is a coordinate."""
_BLOCK = 1 << 16
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

        from pyarrow import compute  # its absence was told

        beside = file.with_suffix(f".nodes{file.suffix}")
        place = Path(nodes) if nodes is not None else beside if beside.is_file() else None
        table = None if place is None else _NodeCells.of(place, _cells(place, 1))
        edges, said = _edges(file, cells, header, table)
        del cells
        names, ends = edges.names, edges.ends
        features, labels, classes = None, None, tuple[str, ...]()
        if table is not None:
            listed = table.named(edges.names, nodes_header)
            places = compute.index_in(arrow_names(edges.names), listed).to_numpy(zero_copy_only=False)
            if np.isnan(places).any():
                lacking = edges.names[int(np.isnan(places).argmax())]
                raise DataError(f"{file.name} names the node {short(lacking)}, which {place} lacks")
            ends = places.astype(ends.dtype)[ends]
            names = Names(listed) if len(listed) > MANY else listed.to_pylist()
            features, labels, classes = table.values(label)
        del edges
        self.origin = f"the file {file.name} ({said})" + ("" if table is None else f" with {table}")
        super().__init__(torch.from_numpy(ends), features, labels, nodes=len(names), directed=directed, classes=classes)
        self.name, self.names = file.stem, names if isinstance(names, Names) else tuple(names)


@dataclass(frozen=True)
class _Edges:
    """Edges by the places of their ends `(2, E)` among nodes' names, in the order in which they are first named."""

    ends: Codes
    names: Sequence[str]


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
    from pyarrow import compute, default_memory_pool

    first, below = cells.first, [column.slice(1) for column in cells.columns]
    try:
        headed = first_line_names(first, below, table and table.keys) if header is None else header
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    columns = below if headed else cells.columns
    if not len(columns[0]):
        raise DataError(f"{path.name} holds no lines after the first, which names the columns")
    places = ends_of(first) if headed else (0, 1)
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
    codes, names = _coded(ends)
    # Nodes are numbered as a reader of lines meets them: source before target, edge after edge. Of equal places the
    # last written stays, so from the back.
    count = codes.shape[1]
    met = np.full(len(names), 2 * count, narrow(2 * count + 1))
    for begin in reversed(range(0, count, _BLOCK)):
        block = codes[:, begin : begin + _BLOCK]
        met[block.T.reshape(-1)[::-1]] = np.arange(2 * (begin + block.shape[1]) - 1, 2 * begin - 1, -1)
    order = np.argsort(met)
    rank = np.empty_like(order, dtype=codes.dtype)
    rank[order] = np.arange(len(order))
    del met
    for begin in range(0, count, _BLOCK):
        codes[:, begin : begin + _BLOCK] = rank[codes[:, begin : begin + _BLOCK]]
    notes = [str(cells.dialect)]
    notes += ["the first line names the columns" if headed else "no header: the first two columns are the ends"]
    unused = [short(name) if name else str(place + 1) for place, name in enumerate(first) if place not in (one, other)]
    if unused:
        shown = f": {', '.join(unused[:6])}" if headed else ""
        notes.append(f"{len(unused)} other column(s) not used{shown}")
    if cells.comments:
        notes.append(f"{cells.comments} line(s) of comments")
    default_memory_pool().release_unused()
    return _Edges(codes, named(names, order)), "; ".join(notes)


def _coded(ends: list[Any]) -> tuple[Codes, Sequence[str]]:
    """Return edges' ends `(2, E)` as places among nodes' names, and these, sorted; `ends` is emptied on the way."""
    from pyarrow import array, chunked_array, default_memory_pool, string

    numbers = _whole(ends)
    if numbers is None:
        chunks = [chunk for column in ends for chunk in column.chunks]
        ends.clear()
        codes, names = encode(chunked_array(chunks, string()))
        return codes.reshape(2, -1).astype(_signed(len(names)), copy=False), names
    ends.clear()
    default_memory_pool().release_unused()
    most = int(numbers.max()) + 1
    if most <= 2 * numbers.size:
        seen = np.zeros(most, bool)
        seen[numbers.reshape(-1)] = True
        held = seen.nonzero()[0]
        place = np.cumsum(seen, dtype=_signed(most)) - 1
    else:
        held = np.unique(numbers)
        place = None
    codes = np.empty(numbers.shape, _signed(len(held)))
    for own, row in zip(codes, numbers, strict=True):
        for first in range(0, len(row), _BLOCK):
            block = row[first : first + _BLOCK]
            own[first : first + _BLOCK] = np.searchsorted(held, block) if place is None else place[block]
    names = Names(array(held).cast(string()))
    return codes, names if len(names) > MANY else tuple(names)


def _whole(ends: Sequence[Any]) -> npt.NDArray[np.int64] | None:
    """Return nodes' names as numbers `(2, E)` where each is written as Python writes a whole number from 0 on."""
    from pyarrow import compute, int64

    found = np.empty((2, len(ends[0])), np.int64)
    for own, column in zip(found, ends, strict=True):
        first = 0
        for chunk in column.chunks:
            texts = trimmed(chunk)
            if not compute.all(compute.match_substring_regex(texts, "^(0|[1-9][0-9]{0,17})$"), min_count=0).as_py():
                return None
            own[first : first + len(chunk)] = texts.cast(int64()).to_numpy()
            first += len(chunk)
    return found


def _signed(count: int) -> type[np.signedinteger[Any]]:
    """Return the type of places: torch counts with no smaller ones."""
    return np.int32 if count < 1 << 31 else np.int64


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

    def named(self, ends: Sequence[str], header: bool | None) -> Any:
        """Decide on the header and return the nodes' names, Arrow strings.

        Args:
            ends: the nodes that edges name.
            header: whether there is one; None finds out: a first line that names an end is a node.

        Raises:
            DataError: a doubtful header, a node without a name or named twice.
        """
        from pyarrow import chunked_array, string

        first = self.cells.first
        if header is None and first[self.key] in ends:
            header = False
        if header is None:
            below = [column.slice(1) for column in self.cells.columns]
            try:
                header = has_header(first, below)
            except DataError as error:
                told = str(error).replace("header=", "nodes_header=").replace("--header", "--nodes-header")
                raise DataError(f"{self.path.name}: {told.replace('--no-header', '--no-nodes-header')}") from None
        own, columns, said = name_columns(self.path, self.cells, header)
        self.columns = dict(zip(own, columns, strict=True))
        self.headed = header
        self.said = f"{self.cells.dialect}; {said}"
        found = chunked_array([trimmed(chunk) for chunk in columns[self.key].chunks], string())
        codes, names = encode(found, strip=False)
        if "" in names:
            raise DataError(f"node {int((codes == 0).argmax()) + 1} of {self.path.name} has no name")
        if len(names) < len(codes):
            first_ones = np.unique(codes, return_index=True)[1]
            again = np.ones(len(codes), bool)
            again[first_ones] = False
            twice = names[int(codes[again.argmax()])]
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
        codes, held = without(*encode(self.columns[target]), MISSING)
        whole = all(text.lstrip("-").isdecimal() for text in held)
        order = np.array(sorted(range(len(held)), key=lambda place: int(held[place])) if whole else range(len(held)))
        rank = np.full(len(held) + 1, -1)
        rank[order.astype(np.int64)] = np.arange(len(held))
        return features, rank[codes], tuple(held[place] for place in order.tolist())

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
