"""Whether a file's first line names its columns: what stands in it, beside what stands below it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from withstand.core.errors import DataError
from withstand.data.tables.arrow import bare_column, bare_numbers, holds_text
from withstand.data.tables.columns import packed
from withstand.data.tables.dialect import COMMA_NUMBER
from withstand.data.tables.frame import DATE, MISSING, NUMBER, Numbers, short

_NUMBER, _COMMA, _DATE = (re.compile(pattern, re.ASCII) for pattern in (NUMBER, COMMA_NUMBER, DATE))
_YEARS = range(1800, 2101)
_FEW = 10
"""Rows below which one outlying number says little."""


@dataclass(frozen=True)
class _Signs:
    """What speaks of one column's first field.

    Attributes:
        header: it is of another kind than all that stands below it.
        word: it is a word that does not stand below it, above words or nothing.
        again: it is a word that stands below it again.
        value: it is a number or a date, like those below it if there are any.
        firm: it is one of these that hardly names anything, for it is no whole number.
        recurs: it is one of these that stands below it again.
    """

    header: bool = False
    word: bool = False
    again: bool = False
    value: bool = False
    firm: bool = False
    recurs: bool = False


def has_header(
    first: Sequence[str], below: Sequence[Any], known: Sequence[str] = (), read: dict[int, Numbers] | None = None
) -> bool:
    """Say whether the first line names the columns.

    It does where a field is of another kind than everything below it (a word or a date over numbers, a number over
    words, a whole number over decimals), where its numbers are evenly spaced or years and those of the next line are
    not, and where it holds words alone, none of which stands below itself, over every column. It does not where its
    fields are like those below them.

    Args:
        first: the first line's fields.
        below: Arrow columns of strings: the other lines.
        known: names of columns, one of which must be there where there is a header.
        read: gets the values of columns, by place, that were read as numbers on the way.

    Raises:
        DataError: both are possible.
    """
    if (known and set(known) & set(first)) or not len(below[0]):
        return True
    read = {} if read is None else read
    signs = [_signs(field, column, place, read) for place, (field, column) in enumerate(zip(first, below, strict=True))]
    header, word, again, value, firm, recurs = (
        sum(getattr(sign, name) for sign in signs) for name in ("header", "word", "again", "value", "firm", "recurs")
    )
    names = _are_names(first, below, signs) if value else False
    if names:
        header, value, firm, recurs = header + value, 0, 0, 0
    held = [field for field in first if field not in MISSING]
    repeated = len(set(held)) < len(held)
    if header and not (repeated and again + value) and header > again + value:
        return True
    if not header:
        counting = [field for field, sign in zip(first, signs, strict=True) if sign.value]
        counts = names is None or _counts_up(counting, alone=not word)
        if repeated or again * 2 >= word + again > 0 or (again and value) or firm:
            return False
        if word and not again and not value and len(held) == len(first):
            return True
        if not word and not again and not counts:
            return False
        if recurs and not word and not counts:
            return False
    raise _doubt(first)


def _signs(field: str, column: Any, place: int, read: dict[int, Numbers]) -> _Signs:
    if field in MISSING:
        return _Signs()
    kind, held, recurs, decimals, whole = _kind(field), set[str](), False, True, field.isdigit()
    values = None if kind == "number" else bare_column(column)
    if values is not None:
        read[place] = packed(values)
        held = set() if np.isnan(values).all() else {"number"}
    for chunk in column.chunks if values is None else ():
        if kind == "word" and "word" in held:  # all that is still asked is whether it stands here again
            recurs = recurs or _holds(chunk, field)
            continue
        found, again, marked = _kinds_in(chunk, field)
        held, recurs, decimals = held | found, recurs or again, decimals and marked
    if not held:
        return _Signs(word=True) if kind == "word" else _Signs(value=True, firm=not whole)
    if kind == "word" and "word" in held:
        return _Signs(word=not recurs, again=recurs)
    if kind not in held:
        return _Signs(header=True)
    if "word" in held:
        return _Signs()
    if kind == "number" and whole and decimals:
        return _Signs(header=True)
    return _Signs(value=True, firm=not whole, recurs=recurs)


def _kinds_in(chunk: Any, field: str) -> tuple[set[str], bool, bool]:
    """Return the kinds of a chunk's fields, whether one is this one, and whether all have a mark as decimals have."""
    from pyarrow import array, compute

    texts = compute.utf8_trim_whitespace(chunk)
    texts = texts.filter(compute.invert(compute.is_in(texts, array(MISSING))))
    if bare_numbers(texts) is not None:
        found = {"number"} if len(texts) else set()
        marked = compute.all(compute.match_substring(texts, "."), min_count=0).as_py()
        return found, bool(compute.any(compute.equal(texts, field)).as_py()), bool(marked)
    numbers = compute.match_substring_regex(texts, f"^({NUMBER}|{COMMA_NUMBER})$")
    dates = compute.match_substring_regex(texts, f"^{DATE}$")
    found = {name for name, mask in (("number", numbers), ("date", dates)) if compute.any(mask).as_py()}
    if not compute.all(compute.or_(numbers, dates), min_count=0).as_py():
        found.add("word")
    marked = compute.all(compute.match_substring_regex(texts, "[.,]"), min_count=0).as_py()
    return found, bool(compute.any(compute.equal(texts, field)).as_py()), bool(marked)


def _holds(chunk: Any, field: str) -> bool:
    """Say whether one of a chunk's fields is this one, but for padding."""
    from pyarrow import compute

    if not holds_text(chunk, field):
        return False
    return bool(compute.any(compute.equal(compute.utf8_trim_whitespace(chunk), field)).as_py())


def _are_names(first: Sequence[str], below: Sequence[Any], signs: Sequence[_Signs]) -> bool | None:
    """Say whether the first line's numbers name columns: they are evenly spaced, or years, and the next line's are not.

    None: they are years, and too few to say.
    """
    places = [place for place, sign in enumerate(signs) if sign.value]
    numbers = [_value(first[place]) for place in places]
    following = [_value(below[place][0].as_py().strip()) for place in places]
    if None in numbers:
        return False
    if not all(number in _YEARS for number in numbers):
        return len(places) >= 4 and _evenly(numbers) and not _evenly(following)
    if len(places) == 1:
        column = below[places[0]]
        if any(_value(text.strip()) in _YEARS for text in column.unique().to_pylist()):
            return False
        return True if len(column) >= _FEW else None
    if any(number in _YEARS for number in following):
        return False
    return True if _evenly(numbers) else None


def _evenly(numbers: Sequence[float | None]) -> bool:
    steps = [b - a for a, b in pairwise(numbers) if a is not None and b is not None]
    even = all(abs(step - steps[0]) <= 1e-6 * abs(steps[0]) for step in steps)
    return len(steps) == len(numbers) - 1 and steps[0] != 0 and even


def _counts_up(fields: Sequence[str], *, alone: bool) -> bool:
    """Say whether fields are 0, 1, ... or 1, 2, ..., as programs name columns that have no names."""
    numbers = [str(number) for number in range(len(fields) + 1)]
    return list(fields) in (numbers[:-1], numbers[1:]) and (len(fields) > 1 or list(fields) == ["0"] or not alone)


def _kind(text: str) -> str:
    if _NUMBER.fullmatch(text) or _COMMA.fullmatch(text):
        return "number"
    return "date" if _DATE.fullmatch(text) else "word"


def _value(text: str) -> float | None:
    return float(text.replace(",", ".")) if _kind(text) == "number" else None


def _doubt(first: Sequence[str]) -> DataError:
    shown = ", ".join(map(short, first[:4])) + (", ..." if len(first) > 4 else "")
    return DataError(
        f"the first line ({shown}) may name the columns or be the first row: say header=True (--header) or "
        "header=False (--no-header)"
    )
