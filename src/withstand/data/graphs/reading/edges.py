"""Edges in a table: which nodes each line joins, by what weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, nearest
from withstand.data.graphs.reading.cells import called, cells_of
from withstand.data.graphs.reading.ends import ends_of, first_line_names
from withstand.data.graphs.reading.nodes import NodeTable, refuse_nodes_as_edges
from withstand.data.tables.cells import Cells
from withstand.data.tables.distinct import MANY, Codes, Names, arrow_names, encode, named, narrow, trimmed
from withstand.data.tables.frame import NUMBER, Words, short
from withstand.data.tables.text import read_fields
from withstand.data.tables.written.reading import Reading

_BLOCK = 1 << 16
_WEIGHTS = ("weight", "weights", "w", "count")


@dataclass(frozen=True)
class Edges:
    """Edges by the places of their ends `(2, E)` among nodes' names, in the order in which they are first named.

    Weights `(E,)`, or None.
    """

    ends: Codes
    names: Sequence[str]
    weights: npt.NDArray[np.float64] | None = None


def edge_cells(data: object) -> tuple[Cells, bool, dict[str, str]]:
    """Return a table's fields as `cells_of` does, refusing one that cannot hold edges."""
    cells, sure, unread = cells_of(data)
    if len(cells.columns) < 2:
        how = "" if sure else " between delimiters out of comma, tab, semicolon, bar and whitespace"
        raise DataError(f"{called(data)} has 1 column{how}: an edge needs two, source and target")
    return cells, sure, unread


def edges_of(
    what: str, cells: Cells, header: bool | None, table: NodeTable | None, weights: str | None
) -> tuple[Edges, str]:
    """Return the edges, and what is to be said of the reading."""
    from pyarrow import compute, default_memory_pool

    first, below = cells.first, [column.slice(1) for column in cells.columns]
    try:
        headed = first_line_names(first, below, table and table.keys) if header is None else header
    except DataError as error:
        refuse_nodes_as_edges(what, below[:2], first, False)
        raise DataError(f"{what}: {error}") from None
    columns = below if headed else cells.columns
    if not len(columns[0]):
        raise DataError(f"{what} holds no lines after the first, which names the columns")
    places = ends_of(first) if headed else (0, 1)
    if places is None and len(first) > 2:
        raise DataError(
            f"{what} has the columns {', '.join(map(short, first[:6]))}: name an edge's ends source and target; a "
            "table of nodes stands beside edges (--nodes FILE)"
        )
    if not headed and _is_matrix(columns):
        raise DataError(
            f"{what} is no list of edges but a matrix, it seems, with a number for each pair of {len(columns)} nodes: "
            "give it as an array or a sparse matrix"
        )
    one, other = places or (0, 1)
    ends = [columns[place] for place in (one, other)]
    refuse_nodes_as_edges(what, ends, first, headed)
    weighing = None if weights is None else _weighing(what, first if headed else (), len(first), weights, (one, other))
    weight = None if weighing is None else _numbers(what, columns[weighing], str(weights), cells.dialect.delimiter)
    del columns, below, cells.columns[:]  # the text of what is not used
    for end, column in zip(("source", "target"), ends, strict=True):
        empty = np.concatenate(
            [compute.match_substring_regex(chunk, r"^\s*$").to_numpy(False) for chunk in column.chunks]
        )
        if empty.any():
            raise DataError(f"edge {int(empty.argmax()) + 1} of {what} has no {end}")
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
    notes = [str(cells.dialect)] if cells.dialect.delimiter else []
    notes += ["the first line names the columns" if headed else "no header: the first two columns are the ends"]
    used = (one, other, weighing)
    unused = [short(name) if name else str(place + 1) for place, name in enumerate(first) if place not in used]
    if twice := _written_twice(names):
        notes.append(f"{short(twice)} and {short(twice.partition('.')[0])} are two nodes")
    if unused:
        shown = f": {', '.join(unused[:6])}" if headed else ""
        weigh = [name for place, name in enumerate(first) if place not in used and name.lower() in _WEIGHTS]
        hint = f" (--edge-weight {weigh[0]} counts edges by it)" if headed and weigh else ""
        notes.append(f"{len(unused)} other column(s) not used{shown}{hint}")
    if weighing is not None:
        notes.append(f"weights in {short(str(weights))}")
    if cells.comments:
        notes.append(f"{cells.comments} line(s) of comments")
    default_memory_pool().release_unused()
    return Edges(codes, named(names, order), weight), "; ".join(notes)


def _is_matrix(columns: Sequence[Any]) -> bool:
    """Say whether a table without names is square and holds numbers that are the same on both sides, or 0 and 1."""
    from pyarrow import compute, float64

    count = len(columns)
    if count < 3 or len(columns[0]) != count:
        return False
    texts = [compute.utf8_trim_whitespace(column) for column in columns]
    if not all(compute.all(compute.match_substring_regex(text, f"^{NUMBER}$")).as_py() for text in texts):
        return False
    held = np.stack([text.cast(float64()).to_numpy() for text in texts], 1)
    return bool(np.array_equal(held, held.T) or np.isin(held, (0, 1)).all())


def _written_twice(names: Sequence[str]) -> str:
    """Return a name such as 2.0 beside which 2 is another, as programs write columns with and without gaps; or ""."""
    from pyarrow import compute

    held = arrow_names(names)
    pointed = held.filter(compute.match_substring_regex(held, r"^[0-9]+\.0+$"))
    if not len(pointed):
        return ""
    bare = compute.replace_substring_regex(pointed, r"\.0+$", "")
    both = pointed.filter(compute.is_in(bare, held))
    return str(both[0].as_py()) if len(both) else ""


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


def _weighing(what: str, names: Sequence[str], count: int, weights: str, ends: tuple[int, int]) -> int:
    """Return the place of the column that holds weights; without a header columns are called `column 3` or 3."""
    known = list(names) or [f"column {place + 1}" for place in range(count)]
    name = f"column {weights}" if not names and weights.isdigit() else weights
    if name not in known:
        raise DataError(f"{what} has no column {short(weights)}: {nearest(name, known)}")
    if known.index(name) in ends:
        raise DataError(f"the column {short(weights)} of {what} is an edge's end, and no weight")
    return known.index(name)


def _numbers(what: str, column: Any, name: str, delimiter: str) -> npt.NDArray[np.float64]:
    values = read_fields([name], [column], Reading(), semicolons=delimiter == ";").columns[name]
    if isinstance(values, Words):
        row = int((values.codes >= 0).argmax())
        raise DataError(f"{what} holds words as weights in {short(name)}, such as {short(column[row].as_py())}")
    return values
