"""A table of nodes: one line a node, its name, and attributes that are features, a class, a part of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.reading.attributes import (
    Learnt,
    NodeColumns,
    NodeFacts,
    found_label,
    node_facts,
    parts_of_words,
)
from withstand.data.graphs.reading.cells import called, cells_of
from withstand.data.graphs.reading.ends import ends_of
from withstand.data.tables.arrow import text_values
from withstand.data.tables.cells import Cells
from withstand.data.tables.distinct import encode, trimmed
from withstand.data.tables.frame import Frame, Words, short
from withstand.data.tables.header import has_header
from withstand.data.tables.text import name_columns, read_fields
from withstand.data.tables.written.reading import Reading

_KEYS = ("id", "node", "nodeid", "name")
_HEAD = 4096
_SPLITS = ("split", "part", "set", "fold", "subset")


@dataclass
class NodeTable:
    """The fields of a table of nodes.

    Attributes:
        called: the table's name, for messages.
        cells: what stands in it.
        sure: whether the names of the columns are.
        key: the place of the column that names nodes.
        keys: its fields.
        unread: what columns hold that are neither words nor numbers.
        columns: names of the columns, and their fields below the header.
        said: how it was read.
        headed: whether the first line names the columns.
    """

    called: str
    cells: Cells
    sure: bool
    key: int
    keys: Any
    unread: Mapping[str, str] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    said: str = ""
    headed: bool = False

    @classmethod
    def of(cls, data: object, key: str | None = None) -> "NodeTable":
        """Return a table of nodes of which nobody has said yet whether it has a header.

        Args:
            data: a file or a data frame.
            key: the column that names nodes; found by its name, or the first, if None.

        Raises:
            DataError: an edge list, or no column of that name.
        """
        from pyarrow import compute

        cells, sure, unread = cells_of(data)
        plain = [name.lower().replace("_", "").strip(" :") for name in cells.first]
        place = next((plain.index(name) for name in _KEYS if name in plain), None)
        if key is not None:
            if key not in cells.first:
                raise DataError(f"{called(data)} has no column {short(key)}: {nearest(key, cells.first)}")
            place = cells.first.index(key)
        ends = ends_of(cells.first)
        if place is None and ends is not None:
            one, other = (short(cells.first[end]) for end in ends)
            raise DataError(
                f"{called(data)} is no table of nodes but an edge list, whose columns {one} and {other} are the ends: "
                "edges are the data themselves (--data), and nodes stand beside them (--nodes)"
            )
        place = place or 0
        return cls(called(data), cells, sure, place, compute.utf8_trim_whitespace(cells.columns[place]), unread)

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
        header = True if self.sure else header
        if header is None and first[self.key] in ends:
            header = False
        if header is None:
            below = [column.slice(1) for column in self.cells.columns]
            try:
                header = has_header(first, below)
            except DataError as error:
                told = str(error).replace("header=", "nodes_header=").replace("--header", "--nodes-header")
                raise DataError(f"{self.called}: {told.replace('--no-header', '--no-nodes-header')}") from None
        own, columns, said = name_columns(Path(self.called), self.cells, header)
        self.columns = dict(zip(own, columns, strict=True))
        self.headed = header
        self.said = said if self.sure else f"{self.cells.dialect}; {said}"
        found = chunked_array([trimmed(chunk) for chunk in columns[self.key].chunks], string())
        codes, names = encode(found, strip=False)
        if "" in names:
            raise DataError(f"node {int((codes == 0).argmax()) + 1} of {self.called} has no name")
        if len(names) < len(codes):
            first_ones = np.unique(codes, return_index=True)[1]
            again = np.ones(len(codes), bool)
            again[first_ones] = False
            twice = names[int(codes[again.argmax()])]
            raise DataError(
                f"{self.called} names the node {short(twice)} twice, in column {short(own[self.key])}: a table of "
                "nodes has one line for each"
            )
        return found

    def facts(self, label: str | None, asked: NodeColumns, learnt: Learnt | None = None) -> NodeFacts:
        """Return what the table says of its nodes, after `named`.

        Args:
            label: the column that holds the class; found by its name if None.
            asked: how the others are read.
            learnt: read as these were.

        Raises:
            DataError: no such column, several that may hold the class, and all that `node_facts` refuses.
        """
        key = list(self.columns)[self.key]
        target = self._label(key, asked) if label is None else label
        if label is not None and label not in self.columns and learnt is None:
            raise DataError(f"{self.called} has no column {label!r}: {nearest(label, self.columns)}")
        names = [name for name in self.columns if name != key]
        said = {name for name, kind in (asked.kinds or {}).items() if kind == "categorical"}
        reading = Reading(words=frozenset(said))
        if learnt is not None and learnt.schema is not None:
            written = {column.name: column.written for column in learnt.schema.columns if column.written is not None}
            words = frozenset(column.name for column in learnt.schema.categorical)
            reading = Reading(words=words, learnt=written)
        frame = Frame({}, dict(self.unread))
        if names:
            semicolons = self.cells.dialect.delimiter == ";"
            read = read_fields(names, [self.columns[name] for name in names], reading, semicolons=semicolons)
            self.said += "".join(f"; {note}" for note in read.notes)
            frame = replace(read, unread={**read.unread, **self.unread})
        return node_facts(frame, asked, target, learnt=learnt)

    def parts(self, names: Any) -> dict[str, npt.NDArray[np.int64]]:
        """Return the places of each part's nodes among nodes' names, of a table that holds a split alone.

        Args:
            names: of all nodes, Arrow strings.

        Raises:
            DataError: no column that may be the split, words that are no parts, a node that is none of the graph's.
        """
        from pyarrow import compute

        own = self.named((), None)
        others = [name for place, name in enumerate(self.columns) if place != self.key]
        told = others if len(others) == 1 else [name for name in others if name.lower() in _SPLITS]
        if len(told) != 1:
            raise DataError(
                f"{self.called} has the columns {', '.join(map(short, others[:6]))}: name the split's split"
            )
        places = compute.index_in(own, names).to_numpy(zero_copy_only=False)
        if np.isnan(places).any():
            lacking = own[int(np.isnan(places).argmax())].as_py()
            raise DataError(f"{self.called} names the node {short(lacking)}, which the graph lacks")
        masks = parts_of_words(text_values(self.columns[told[0]]), told[0])
        return {part: places[mask].astype(np.int64) for part, mask in masks.items()}

    def _label(self, key: str, asked: NodeColumns) -> str | None:
        """Return the column that holds the class, or None where none does."""
        aside = (key, *asked.split, *asked.features, *asked.ignore)
        if self.headed:
            return found_label(list(self.columns), aside, f"{self.called} has the columns")
        others = [name for name in self.columns if name not in aside]
        found = [name for name in others if isinstance(text_values(self.columns[name]), Words)]
        if len(found) > 1:
            raise DataError(
                f"{self.called} has the columns {' and '.join(map(short, found[:4]))}: say which is label= (--target)"
            )
        return found[0] if found else None

    def __str__(self) -> str:
        return f"{self.called} ({self.said})"


def refuse_nodes_as_edges(what: str, columns: Sequence[Any], first: Sequence[str], headed: bool) -> None:
    """Refuse a table of nodes where an edge list is expected.

    Columns that are named as ends are ends. Else a first column that holds each name once, and a second that holds few
    others, none of them a node of the first, is a node and its class.

    Args:
        what: the table is called.
        columns: the first two, Arrow strings, below the header.
        first: the first line.
        headed: whether it names the columns.

    Raises:
        DataError: such a table.
    """
    from pyarrow import compute

    if headed and ends_of(first) is not None:
        return
    plain = [name.lower().replace("_", "").strip(" :") for name in first]
    named = headed and any(name in _KEYS for name in plain)
    nodes, others = columns[:2]
    head = compute.utf8_trim_whitespace(nodes.slice(0, _HEAD))
    if compute.count_distinct(head).as_py() < len(head):  # an edge list that shows soon what it is
        return
    nodes, others = (compute.utf8_trim_whitespace(column) for column in (nodes, others))
    count, kinds = len(nodes), others.unique()
    once = compute.count_distinct(nodes).as_py() == count
    apart = not compute.any(compute.is_in(kinds, value_set=nodes)).as_py()
    few = 2 * len(kinds) <= count
    if (once and few and apart and count > 2) or (named and once):
        raise DataError(
            f"{what} seems a table of nodes, for its first column names each one once"
            f"{'' if named else ' and its second none of them'}: edges are the data, and nodes stand beside them "
            "(--nodes FILE); if these are edges, call the columns source and target"
        )
