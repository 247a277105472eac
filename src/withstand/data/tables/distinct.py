"""Distinct strings of Arrow columns, without a Python object for each of many.

A Python string takes ten times its letters and a hash table of Arrow's about as much: where most strings of a column
differ, they are sorted instead, and stay where they lie.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

Codes: TypeAlias = npt.NDArray[np.signedinteger[Any]]
MANY = 1 << 15
"""Strings beyond which none is held as a Python object."""
_BLOCK = 1 << 16


class Names(Sequence[str]):
    """Many distinct strings, held by Arrow: each is made when it is asked for.

    Args:
        held: Arrow strings, whole or in chunks.
        places: where among them each of these stands, `(K,)`; None for all in their order.
    """

    def __init__(self, held: Any, places: npt.NDArray[Any] | None = None) -> None:
        self._held, self._places = held, places

    def __len__(self) -> int:
        return len(self._held) if self._places is None else len(self._places)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return named(self, np.arange(len(self))[place])
        place = range(len(self))[place]
        found: str = self._held[place if self._places is None else int(self._places[place])].as_py()
        return found

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            yield from self.arrow(slice(first, first + _BLOCK)).to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # the language's word for what may change

    def __contains__(self, value: object) -> bool:
        from pyarrow import compute

        return isinstance(value, str) and any(
            compute.any(compute.equal(self.arrow(slice(first, first + _BLOCK)), value)).as_py()
            for first in range(0, len(self), _BLOCK)
        )

    def arrow(self, rows: slice = slice(None)) -> Any:
        """Return some of them as Arrow strings, whole or in chunks."""
        return self._held[rows] if self._places is None else _taken(self._held, self._places[rows])

    def at(self, places: npt.NDArray[Any]) -> "Names":
        """Return those at some places, in their order."""
        return Names(self._held, places if self._places is None else self._places[places])


def _taken(held: Any, places: npt.NDArray[Any]) -> Any:
    """Return the strings at some places: Arrow's own `take` joins all chunks first."""
    import pyarrow

    chunks = getattr(held, "chunks", [held])
    ends = np.cumsum([len(chunk) for chunk in chunks])
    which = np.searchsorted(ends, places, side="right")
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(chunks) + 1))
    pieces = [
        chunk.take(pyarrow.array(places[order[first:last]] - (end - len(chunk))))
        for chunk, end, first, last in zip(chunks, ends, bounds[:-1], bounds[1:], strict=True)
        if first < last
    ]
    joined = pyarrow.concat_arrays(pieces) if pieces else pyarrow.array([], pyarrow.string())
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return joined.take(pyarrow.array(back))


def named(names: Sequence[str], places: npt.NDArray[Any]) -> Sequence[str]:
    """Return the names at some places, in their order: a tuple, or `Names` where there are many."""
    if isinstance(names, Names):
        chosen = names.at(places)
        return chosen if len(places) > MANY else tuple(chosen)
    return tuple(names[place] for place in places.tolist())


def arrow_names(names: Sequence[str]) -> Any:
    """Return names as Arrow strings, in chunks or whole."""
    import pyarrow

    return names.arrow() if isinstance(names, Names) else pyarrow.array(names, pyarrow.string())


def narrow(count: int) -> npt.DTypeLike:
    """Return the smallest signed type that counts below `count`, and holds -1."""
    return np.min_scalar_type(-max(1, count))


def encode(column: Any, *, strip: bool = True) -> tuple[Codes, Sequence[str]]:
    """Return each string's place among the distinct ones, `(N,)`, and these, sorted.

    Args:
        column: Arrow strings in chunks, none of them null.
        strip: take off whitespace around them.
    """
    pieces = _pieces(column)
    if pieces is None:
        return _ranked(column.chunks, strip)
    places, names = _ranked([piece.dictionary for piece in pieces], strip)
    codes = np.empty(len(column), narrow(len(names)))
    first = begun = 0
    for piece in pieces:
        own = places[begun : begun + len(piece.dictionary)]
        codes[first : first + len(piece)] = own[piece.indices.to_numpy()]
        first, begun = first + len(piece), begun + len(piece.dictionary)
    return codes, names


def without(codes: Codes, names: Sequence[str], gone: Iterable[str]) -> tuple[Codes, Sequence[str]]:
    """Return codes into sorted names that lack some, -1 in place of these."""
    places = [place for word in gone if (place := bisect_left(names, word)) < len(names) and names[place] == word]
    if not places:
        return codes, names
    kept = np.ones(len(names), dtype=bool)
    kept[places] = False
    moved = np.where(kept, np.cumsum(kept) - 1, -1).astype(codes.dtype)
    moved = np.append(moved, np.array([-1], codes.dtype))  # what code -1 reads
    return moved[codes], named(names, kept.nonzero()[0])


def _pieces(column: Any) -> list[Any] | None:
    """Return each chunk with a dictionary of its own; None where these hold most of the column."""
    pieces: list[Any] = []
    most, held = max(MANY, len(column) // 8), 0
    for chunk in column.chunks:
        pieces.append(chunk.dictionary_encode())
        held += len(pieces[-1].dictionary)
        if held > most:
            return None
    return pieces


def _ranked(chunks: Sequence[Any], strip: bool) -> tuple[Codes, Sequence[str]]:
    """Return each string's place among the distinct ones, and these, sorted."""
    import pyarrow
    from pyarrow import compute

    held = pyarrow.chunked_array([trimmed(chunk) if strip else chunk for chunk in chunks], pyarrow.string())
    ranks = compute.rank(held, tiebreaker="dense").to_numpy()
    count = int(ranks.max()) if len(ranks) else 0
    codes: Codes = np.empty(len(ranks), narrow(count))
    np.subtract(ranks, 1, out=codes, casting="unsafe")
    del ranks
    pyarrow.default_memory_pool().release_unused()
    places = np.empty(count, narrow(len(codes)))
    places[codes] = np.arange(len(codes), dtype=places.dtype)
    names = Names(held, places) if len(held) < 2 * count else Names(_taken(held, places))  # repeats are let go
    return codes, names if count > MANY else tuple(names)


def trimmed(chunk: Any) -> Any:
    """Return strings without whitespace around them: the same array where there is none."""
    from pyarrow import compute

    padded = compute.match_substring_regex(chunk, r"^[\s\x0b\x1c-\x1f]|[\s\x0b\x1c-\x1f]$|[^\x00-\x7f]")
    return compute.utf8_trim_whitespace(chunk) if compute.any(padded).as_py() else chunk
