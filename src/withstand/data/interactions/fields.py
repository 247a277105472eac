"""What is known of items: fields of categories, some with several values at once, as whole numbers.

Sizes: I items, k fields, S slots: a field has as many as an item has values of it at most.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.data.interactions.table import names_of
from withstand.data.tables.frame import Frame, Values, Words, missing

BAR = "|"
"""What stands between several values in a cell."""
TITLES = ("title", "name")
_YEAR = re.compile(r"\((\d{4})\)\s*$")
_WORD = re.compile(r"\w+")
_BINS = 10
_FEWEST = 2
"""Items that share a word of a title before it says anything."""
_MOST_SLOTS = 16


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: its column.
        values: what occurs.
        several: whether an item may have several values.
        edges: between the bins of numbers; none of words.
    """

    name: str
    values: tuple[str, ...]
    several: bool = False
    edges: tuple[float, ...] = ()
    reads: str = "cell"


def learn_fields(frame: Frame, ignore: Sequence[str] = ()) -> tuple[tuple[Field, ...], tuple[tuple[str, str], ...]]:
    """Return the fields of a catalogue, and (column, reason) of what says nothing.

    Cells with bars hold several values; a title gives its words, and the decade of a year in brackets at its end;
    numbers of more than 20 different values are ten bins of equal size.
    """
    fields: list[Field] = []
    skipped = [(f"column {name!r}", what) for name, what in frame.unread.items()]
    for name, values in frame.columns.items():
        if name in ignore:
            continue
        if not isinstance(values, Words) and np.isinf(values).any():
            skipped.append((f"column {name!r}", "holds infinity"))
            continue
        made = _learn(name, values)
        fields += made
        if not made:
            skipped.append((f"column {name!r}", "constant, or every value another: it groups no items"))
    return tuple(fields), tuple(skipped)


def code_fields(frame: Frame, fields: Sequence[Field], slots: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """Return each item's values, int64 `(I, S)`, -1 where there is none or one that was never seen.

    Raises:
        DataError: a column is missing.
    """
    pieces = []
    for field in fields:
        column = field.name.removesuffix(" decade")
        if column not in frame.columns:
            raise DataError(f"the catalogue has no column {column!r}, which was learnt from")
        place = {value: number for number, value in enumerate(field.values)}
        coded = np.full((len(frame), slots[field.name]), -1, dtype=np.int64)
        for row, words in enumerate(cells(frame.columns[column], field)):
            known = [place[word] for word in words if word in place][: slots[field.name]]
            coded[row, : len(known)] = known
        pieces.append(coded)
    return np.concatenate(pieces, 1) if pieces else np.empty((len(frame), 0), np.int64)


def cells(values: Values, field: Field) -> list[tuple[str, ...]]:
    """Return the values of a field that each row holds."""
    if field.edges:
        assert not isinstance(values, Words)
        bins = np.searchsorted(np.array(field.edges), values, side="right")
        return [() if gone else (str(at),) for at, gone in zip(bins.tolist(), missing(values).tolist(), strict=True)]
    names, codes = names_of(values)
    read = [_READERS[field.reads](name) for name in names]
    return [() if code < 0 else read[code] for code in codes.tolist()]


def slots_of(frame: Frame, fields: Sequence[Field]) -> tuple[dict[str, int], list[str]]:
    """Return how many values of each field an item has at most, sixteen at most, and in words where some have more."""
    found, said = {}, []
    for field in fields:
        held = cells(frame.columns[field.name.removesuffix(" decade")], field) if field.several else []
        known = set(field.values)
        counts = [sum(word in known for word in words) for words in held]
        found[field.name] = max(1, min(_MOST_SLOTS, max(counts, default=1)))
        if more := sum(count > _MOST_SLOTS for count in counts):
            said.append(f"{more:,} items have more than {_MOST_SLOTS} values of {field.name!r}: the first are read")
    return found, said


def _learn(name: str, values: Values) -> list[Field]:
    known = int((~missing(values)).sum())
    if not isinstance(values, Words):
        held = np.unique(values[~np.isnan(values)])
        if len(held) < 2:
            return []
        if len(held) <= 20:
            return [Field(name, names_of(held)[0])]
        edges = np.unique(np.quantile(values[~np.isnan(values)], np.linspace(0, 1, _BINS + 1)[1:-1]))
        return [Field(name, tuple(map(str, range(len(edges) + 1))), edges=tuple(edges.tolist()))]
    if name.strip().lower() in TITLES:
        found = [_counted(name, values, "words", several=True)]
        if sum(bool(_YEAR.search(word)) for word in values.names) > len(values.names) / 2:
            found.append(_counted(f"{name} decade", values, "decade"))
        return [field for field in found if len(field.values) > 1]
    if any(BAR in word for word in values.names):
        return [_counted(name, values, "bars", several=True)]
    if not 2 <= len(values.names) <= known / 2:
        return []
    return [Field(name, tuple(values.names))]


def _counted(name: str, values: Words, reads: str, *, several: bool = False) -> Field:
    """Return a field of the values that at least two items have, the most frequent first."""
    often = np.bincount(values.codes[values.codes >= 0], minlength=len(values.names))
    counts: Counter[str] = Counter()
    for word, count in zip(values.names, often.tolist(), strict=True):
        for value in set(_READERS[reads](word)):
            counts[value] += count
    kept = sorted((value for value, count in counts.items() if count >= _FEWEST), key=lambda one: (-counts[one], one))
    return Field(name, tuple(kept), several=several, reads=reads)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_WORD.findall(_YEAR.sub("", text).lower())))


def _decade(text: str) -> tuple[str, ...]:
    found = _YEAR.search(text)
    return (f"{found[1][:3]}0s",) if found else ()


def _bars(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(BAR) if part.strip()))


_READERS = {"cell": lambda text: (text,), "words": _words, "decade": _decade, "bars": _bars}
