"""Misspelt and incomplete records: what a matcher must see through.

Every change is one gather of the whole batch. Sizes: `B` records, `A` attributes, `L` characters.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.data.pairs.source import RecordSource

SPACE = 32
_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = 8
_TABLE = 128
REPLACED, INSERTED, DELETED, SWAPPED = range(4)
Operator: TypeAlias = str
OPERATORS: tuple[Operator, ...] = ("attribute removal", "word removal", "word swap", "typo")


@cache
def _keyboard() -> Tensor:
    """Return the neighbours of each ASCII character on a keyboard, repeated to eight, int64 `(128, 8)`.

    A digit's are the other digits' neighbours in its row, so that a number stays one; what has none gets letters.
    """
    near: dict[str, str] = {}
    for level, row in enumerate(_ROWS):
        for place, key in enumerate(row):
            found = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            if level:
                for other in (level - 1, level + 1):
                    if 0 < other < len(_ROWS):
                        found += _ROWS[other][max(0, place - 1) : place + 1]
            near[key] = found
    rows = []
    for code in range(_TABLE):
        found = near.get(chr(code), "etaoinsr")
        rows.append([ord(found[slot % len(found)]) for slot in range(_NEIGHBOURS)])
    return torch.tensor(rows)


def typos(values: Tensor, count: int, draws: Draws, *, where: Tensor | None = None) -> Tensor:
    """Return values with `count` typos each, one after another: at most `count` edits, of neighbours swapped too.

    A typo replaces a character by a neighbour on the keyboard, inserts such a one, deletes a character or swaps it with
    the next, each with the same chance. A value never becomes empty or starts with a space, a missing one stays
    missing, and one that fills all L places is not lengthened.

    Args:
        values: code points, int64 `(B, A, L)`, 0 after a value's end.
        count: typos in each value.
        draws: a stream for each record.
        where: which values are changed, bool `(B, A)`; None for all.
    """
    attributes = values.shape[1]
    allowed = values[..., 0] != 0 if where is None else where & (values[..., 0] != 0)
    if not values.numel():
        return values.clone()
    lengths = list((values != 0).sum(2).unbind(1))
    # Only as much of each attribute as its longest value can come to need.
    widths = [min(values.shape[2], int(length.max()) + count) for length in lengths]
    columns = [values[:, place, :width].contiguous() for place, width in enumerate(widths)]
    for _ in range(count):
        kinds, slots = draws.integers(0, 4, attributes), draws.integers(0, _NEIGHBOURS, attributes)
        shares = draws.uniform(attributes)
        for place, column in enumerate(columns):
            length = lengths[place]
            at = torch.minimum((shares[:, place] * length).long(), (length - 1).clamp_min(0))
            change = kinds[:, place], at, slots[:, place]
            columns[place], lengths[place] = _typo(column, length, allowed[:, place], *change)
    found = torch.zeros_like(values)
    for place, column in enumerate(columns):
        found[:, place, : widths[place]] = column
    return found


def _typo(
    column: Tensor, length: Tensor, allowed: Tensor, kind: Tensor, at: Tensor, slot: Tensor
) -> tuple[Tensor, Tensor]:
    """Return one attribute's values `(B, L)` with a typo each, and their lengths; only what a typo touches is moved."""
    room = column.shape[1]
    here = column.gather(1, at[:, None])[:, 0]
    following = column.gather(1, (at + 1).clamp(max=room - 1)[:, None])[:, 0]
    key = _keyboard().to(column.device)[here.clamp(max=_TABLE - 1), slot]
    kind = torch.where((kind == DELETED) & (length < 2), REPLACED, kind)  # a value of one character is not deleted
    kind = torch.where((kind == INSERTED) & (length >= room), REPLACED, kind)
    kind = torch.where((kind == SWAPPED) & (at + 1 >= length), REPLACED, kind)
    # A leading space would make another word of the rest: the change is not made.
    allowed = allowed & ~((at == 0) & (following == SPACE) & (kind >= DELETED))
    found = column.clone()
    places = torch.arange(room, device=column.device)[None]
    for number in (INSERTED, DELETED):
        rows = (allowed & (kind == number)).nonzero()[:, 0]
        some, start = found[rows], at[rows, None]
        if number == INSERTED:
            some[:, 1:] = torch.where(places[:, 1:] > start, some[:, :-1], some[:, 1:])
        else:
            later = torch.cat([some[:, 1:], torch.zeros_like(some[:, :1])], 1)
            some = torch.where(places >= start, later, some)
        found[rows] = some
    written = (allowed & (kind < DELETED)).nonzero()[:, 0]
    found[written, at[written] + (kind[written] == INSERTED)] = key[written]
    swapped = (allowed & (kind == SWAPPED)).nonzero()[:, 0]
    found[swapped, at[swapped]], found[swapped, at[swapped] + 1] = following[swapped], here[swapped]
    grown = (kind == INSERTED).long() - (kind == DELETED).long()
    return found, torch.where(allowed, length + grown, length)


def _words(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the segment of each character, `(B, L)`, words even and the spaces behind them odd, and word counts."""
    space = values == SPACE
    before = torch.cat([torch.ones_like(space[:, :1]), space[:, :-1]], 1)
    starts = (~space & (values != 0) & before).cumsum(1)
    return 2 * (starts - 1) + space.long(), starts.amax(1)


def _arranged(values: Tensor, key: Tensor) -> Tensor:
    """Return characters in the order of their keys, `(B, L)`; equal keys stay in order."""
    return values.gather(1, key.argsort(dim=1, stable=True))


def _trimmed(values: Tensor) -> Tensor:
    """Return values without a space at their end."""
    length = (values != 0).sum(1, keepdim=True)
    last = torch.arange(values.shape[1], device=values.device)[None] == length - 1
    return torch.where(last & (values == SPACE), 0, values)


def remove_word(values: Tensor, chosen: Tensor) -> Tensor:
    """Return values `(B, L)` without their word at the place `chosen` `(B,)`; one of a single word stays as it is."""
    segment, count = _words(values)
    gone = (segment // 2 == chosen[:, None]) & (values != 0) & (count > 1)[:, None]
    return _trimmed(_arranged(torch.where(gone, 0, values), (gone | (values == 0)).long()))


def swap_words(values: Tensor, chosen: Tensor) -> Tensor:
    """Return values `(B, L)` with the word at `chosen` `(B,)` and the next in each other's place, if there are two."""
    segment, count = _words(values)
    first = 2 * chosen[:, None]
    swapped = torch.where(segment == first, first + 2, torch.where(segment == first + 2, first, segment))
    segment = torch.where((chosen + 1 < count)[:, None], swapped, segment)
    last = 2 * values.shape[1] + 2
    return _arranged(values, torch.where(values == 0, last, segment))


@dataclass(frozen=True)
class Perturbed(View):
    """Copies of records, each changed by one operator of its own draw, as SSACL makes its positives.

    An operator changes one value that the record has: "attribute removal" takes it away (never the last one), "word
    removal" takes a word of it (never the last), "word swap" exchanges two neighbours, "typo" misspells it. What cannot
    be done to a value is a typo.

    Args:
        copies: views of each record.
        operators: out of `OPERATORS`, drawn with the same chance.
        typos: characters that a typo operator changes.

    Raises:
        ConfigError: an unknown operator, or nothing to do.
    """

    copies: int = 6
    operators: tuple[Operator, ...] = OPERATORS
    typos: int = 1

    def __post_init__(self) -> None:
        if self.copies < 1 or self.typos < 1 or not self.operators:
            raise ConfigError("copies, typos and operators must be at least 1 each")
        for one in self.operators:
            if one not in OPERATORS:
                raise ConfigError(f"there is no operator {one!r}: {nearest(one, OPERATORS)}")

    def example_batch(self) -> Batch:
        return RecordSource.example()[range(7)]

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_views(*(self.copy(batch.x, draws.child(number)) for number in range(self.copies)))

    def copy(self, x: Tensor, draws: Draws) -> Tensor:
        """Return records, each changed by one operator.

        Args:
            x: code points, int64 `(B, A, L)`.
            draws: a stream for each record.
        """
        filled = x[..., 0] != 0
        value = (draws.uniform(x.shape[1]) + filled).argmax(1)  # any that is there
        chosen = x[torch.arange(len(x), device=x.device), value]
        count = _words(chosen)[1]
        names = torch.tensor([OPERATORS.index(one) for one in self.operators], device=x.device)
        operator = names[draws.integers(0, len(names), 1)[:, 0]]
        able = torch.stack([filled.sum(1) > 1, count > 1, count > 1, torch.ones_like(count, dtype=torch.bool)], 1)
        operator = torch.where(able.gather(1, operator[:, None])[:, 0], operator, OPERATORS.index("typo"))
        share = draws.uniform(1)[:, 0]
        outcomes = torch.stack(
            [
                torch.zeros_like(chosen),
                remove_word(chosen, (share * count).long()),
                swap_words(chosen, (share * (count - 1).clamp_min(1)).long()),
                typos(chosen[:, None], self.typos, draws.child("typo"))[:, 0],
            ],
            1,
        )
        changed = outcomes.gather(1, operator[:, None, None].expand(-1, 1, x.shape[2]))
        return torch.where((torch.arange(x.shape[1], device=x.device)[None] == value[:, None])[..., None], changed, x)


@dataclass(frozen=True)
class Misspelt(View):
    """Records with typos in every value, in place of `x`.

    Args:
        per_value: typos in each.
    """

    per_value: int = 2

    def example_batch(self) -> Batch:
        return RecordSource.example()[range(7)]

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_x(typos(batch.x, self.per_value, draws))
