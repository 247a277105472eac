"""What a table's columns are: kinds inferred or said, columns left out and why, the target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.data.tables.frame import Frame, Numbers, Values, Words, distinct, missing, occurring, rounded, short
from withstand.data.tables.schema import DAY, Column, Schema, as_words, dates_of
from withstand.data.tables.written.reading import Written

Task: TypeAlias = Literal["auto", "classes", "number"]
KINDS = ("numeric", "categorical", "date")
"""What a column can be said to be; a date is numeric."""
MOST_CATEGORIES = 256
"""Beyond this many, the rarest categories share the slot of those that training did not have."""
_BLOCK = 1 << 16
FEW = 20
"""Up to this many different values, words are categories, and whole numbers may be classes."""


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        labels: class numbers, int64 `(N,)`, -1 where missing; None for a number.
        values: the number, float64 `(N,)`, NaN where missing; None for classes.
        classes: the classes' names.
    """

    labels: Tensor | None = None
    values: Tensor | None = None
    classes: tuple[str, ...] = ()

    @property
    def known(self) -> Tensor | None:
        """Where the target is not missing, bool `(N,)`; None where nothing is predicted."""
        if self.labels is not None:
            return self.labels >= 0
        return None if self.values is None else ~self.values.isnan()


def find_target(frame: Frame, name: str, task: Task = "auto", classes: tuple[str, ...] = ()) -> Target:
    """Return the target's values; none of them may be missing.

    Args:
        frame: the rows.
        name: the target's column.
        task: "classes", "number", or "auto": words, and up to 20 different whole numbers, are classes.
        classes: their names, where they are known already.

    Raises:
        DataError: one class only, a class that is not known, words where a number is wanted, free text, infinity.
    """
    values = _finite(name, frame.columns[name])
    if len(values) == 1 and not classes:
        raise DataError(f"target {short(name)} is known in one row alone: there is nothing to learn and to judge by")
    if task == "auto":
        if not classes and isinstance(values, Words) and (reason := _free_text(values, distinct(values), len(values))):
            raise DataError(
                f"target {short(name)} holds no classes but {reason.partition(' (')[0]}: name another column"
            )
        few = not isinstance(values, Words) and distinct(values) <= FEW and bool((values % 1 == 0).all())
        task = "classes" if classes or isinstance(values, Words) or few else "number"
    if task == "number":
        numbers = rounded(values) if isinstance(values, Words) else values
        if numbers is None:
            shown = as_words(values).names[0]
            raise DataError(f"target {short(name)} holds words, such as {short(shown)}: task='classes' predicts them")
        if distinct(numbers) < 2:
            raise DataError(f"target {short(name)} has the same value in every row: there is nothing to predict")
        return Target(values=torch.from_numpy(numbers.copy()))
    words = as_words(values)
    named = classes or _by_value(values, words)
    unknown = sorted(set(words.names) - set(named))
    if unknown:
        raise DataError(f"target {short(name)} holds the class {short(unknown[0])}, which training did not have")
    if len(named) < 2:
        raise DataError(f"target {short(name)} has one class, {short(named[0])}: there is nothing to predict")
    if not isinstance(values, Words) and len(named) > MOST_CATEGORIES:
        raise DataError(f"target {short(name)} has {len(named)} different numbers: task='number' predicts a number")
    number = {word: rank for rank, word in enumerate(named)}
    place = np.array([number[word] for word in words.names], dtype=np.int64)
    return Target(labels=torch.from_numpy(place[words.codes]), classes=named)


def _by_value(values: Values, words: Words) -> tuple[str, ...]:
    """Return the classes' names: numbers in their own order."""
    return tuple(words.names) if isinstance(values, Words) else tuple(sorted(words.names, key=float))


def fit_schema(
    frame: Frame,
    *,
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    target: str | None = None,
    classes: tuple[str, ...] = (),
    names: str | None = None,
) -> Schema:
    """Return the schema of training rows.

    Args:
        frame: training rows.
        kinds: what a column is, where the inferred kind is wrong: "numeric", "categorical" or "date".
        ignore: columns to leave out.
        target: the column that is predicted: never a feature.
        classes: its classes.
        names: the column that names rows: never a feature.

    Raises:
        ConfigError: an unknown column or kind.
        DataError: a feature that says the same as the target, words in a column said to be numeric, no column left.
    """
    said = dict(kinds or {})
    known = None if target is None else frame.rows(~missing(frame.columns[target]))
    for name in (*said, *ignore):
        if name not in frame.columns and name not in frame.unread:
            raise ConfigError(
                f"the table has no column {short(name)}: {nearest(name, [*frame.columns, *frame.unread])}"
            )
        if name in said and name in frame.unread:
            raise DataError(
                f"column {short(name)} holds {frame.unread[name]}: it can be neither numeric nor categorical nor a date"
            )
    for name, kind in said.items():
        if kind not in KINDS:
            raise ConfigError(f"column {name!r} is said to be {kind!r}: {nearest(kind, KINDS)}")
    if names is not None and names in (target, *said):
        raise ConfigError(f"{names!r} names the rows: it can be neither the target nor of a kind")
    if target in said or target in ignore:
        raise ConfigError(f"{target!r} is the target: it has no kind and cannot be ignored (task says what it is)")
    found: list[Column] = []
    left: list[tuple[str, str]] = [(name, "as asked for") for name in ignore]
    left += [(names, "names the rows")] if names is not None and names not in ignore else []
    unread = {name: what for name, what in frame.unread.items() if name not in ignore}
    left += [(name, f"holds {what}, not numbers, words, booleans or times") for name, what in unread.items()]
    for name, values in frame.columns.items():
        if name in (target, names) or name in ignore:
            continue
        column = _column(name, _finite(name, values), said.get(name), frame.written.get(name, Written(".")))
        if isinstance(column, str):
            left.append((name, column))
            continue
        if target is not None and known is not None and same_everywhere(known.columns[name], known.columns[target]):
            raise DataError(
                f"column {short(name)} says the same as the target {short(target)} in every row: ignore it, or the "
                "features hold the answer"
            )
        found.append(column)
    if not found:
        shown = "; ".join(f"{short(name)[1:-1]}: {reason}" for name, reason in left[:3])
        raise DataError(f"no column is left to learn from ({shown})")
    ordered = sorted(found, key=lambda column: column.kind != "numeric")
    return Schema(tuple(ordered), tuple(left), target, classes)


def _multiples(values: Numbers, of: int) -> bool:
    """Say whether all numbers are multiples of one."""
    return all(bool((values[first : first + _BLOCK] % of == 0).all()) for first in range(0, len(values), _BLOCK))


def _column(name: str, values: Values, said: str | None, written: Written) -> Column | str:
    """Return a column as training rows show it, or why it is left out."""
    if said == "date" and not written.date:
        values, written = dates_of(values), Written(date="ymd")
        if isinstance(values, Words):
            raise DataError(f"column {short(name)} is said to be a date and holds none that is written like 20241231")
    gone = missing(values)
    if gone.all():
        return "every value is missing"
    kept = values[~gone] if gone.any() else values
    constant = distinct(kept) == 1 if isinstance(kept, Words) else bool(kept.min() == kept.max())
    if constant and not gone.any():
        return "constant in training rows"
    share = float(gone.mean())
    if said != "categorical" and not isinstance(kept, Words):
        if constant:
            return "constant in training rows, where it is not missing"
        low, high, whole = float(kept.min()), float(kept.max()), _multiples(kept, 1)
        days = bool(written.date) and _multiples(kept, DAY)
        return Column(name, "numeric", low, high, whole, missing=share, written=written, days=days)
    if said == "numeric" and isinstance(values, Words):
        read = rounded(values)
        if read is None:
            word = next(name for name in values.names if rounded(Words(values.codes[:0], (name,))) is None)
            raise DataError(f"column {short(name)} is said to be numeric and holds words, such as {short(word)}")
        return _column(name, read, said, written)
    words = as_words(values)
    if said is None and (reason := _free_text(words, distinct(words), int((~gone).sum()))):
        return reason
    return Column(name, "categorical", categories=_most_frequent(words), missing=share)


def _finite(name: str, values: Values) -> Values:
    if not isinstance(values, Words) and bool(np.isinf(values).any()):
        raise DataError(
            f"column {short(name)} holds infinity, first in row {int(np.isinf(values).argmax())}: ignore it"
        )
    return values


def _free_text(words: Words, count: int, rows: int) -> str:
    """Return why a column of words is no categories, or "": most values stand in one row only."""
    if count <= FEW or count <= rows / 2:
        return ""
    held = occurring(words)
    length = sum(len(name.split()) for name, there in zip(words.names, held, strict=True) if there) / count
    kind = "free text" if length > 2 else "names or identifiers"
    shown = short(words.names[int(words.codes[(words.codes >= 0).argmax()])], 40)
    return f"{kind}, such as {shown}: {count} different values in {rows} rows (kinds: {'categorical'!r} keeps it)"


def _most_frequent(words: Words) -> tuple[str, ...]:
    """Return the categories that occur, at most `MOST_CATEGORIES`, sorted."""
    counts = np.bincount(words.codes[words.codes >= 0], minlength=len(words.names))
    order = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    return tuple(sorted(words.names[place] for place in order if counts[place]))


def same_everywhere(values: Values, target: Values) -> bool:
    """Say whether a column and the target each determine the other, with repeats, or are equal throughout."""
    if not isinstance(values, Words) and not isinstance(target, Words) and distinct(target) > FEW:
        return bool(np.array_equal(values, target))
    first, second = as_words(values), as_words(target)
    both = len(np.unique((first.codes.astype(np.int64) + 1) * (len(second.names) + 1) + second.codes))
    count = distinct(first)
    return count == distinct(second) == both and count < len(first) and not bool((first.codes < 0).any())


def kinds_of(words: Sequence[str]) -> dict[str, str]:
    """Return kinds, which `fit_schema` checks, from words like "zip=categorical".

    Raises:
        ConfigError: a word without "=".
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, kind = word.rpartition("=")
        if not equals:
            raise ConfigError(f"kinds are given as COLUMN=KIND, say zip=categorical, not {short(word)}")
        found[name] = kind
    return found
