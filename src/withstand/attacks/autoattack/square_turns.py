"""Square's search in Linf, several turns at a time.

Late in the search hardly any rectangle is kept, so the next turns can be tried from where the sample stands, all in
one forward pass. What comes after a kept one is thrown away and tried anew: every sample meets the same rectangles in
the same order as one by one, in a third of the time where few samples are left. With a screen, turns that the slope
rules out are passed over.

Shapes: M samples, K turns ahead, pictures `(M, C, H, W)`, P places in a rectangle, T turns asked of the victim.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from withstand.attacks.fast_passes.whole_rows import put, take
from withstand.attacks.problem import Problem
from withstand.core.random import Draws

if TYPE_CHECKING:
    from withstand.attacks.autoattack.shortcuts.giving_up import Growth
    from withstand.attacks.autoattack.shortcuts.slope_screen import SlopeScreen

PAGE = 128
"""Turns after which a search with shortcuts is looked at."""

FIRST = 192
"""The turn from which on slopes are worth their price: before it, changes are large, and many are kept."""

_ROOM = 256
"""Pictures in a forward pass, at most."""
_FEW = 16
"""Pictures below which a pass costs hardly less."""
_FURTHEST = 16


class SquareTurns:
    """Where each sample stands in a search that tries several turns in one pass.

    Attributes:
        problem: the samples whose goal is not met.
        x: their points.
        gain: what the objective says there.
        turns: rectangles tried on each so far.
        screen: leaves out turns; None where every one is asked.
        growth: tells which searches are hopeless; None where none is given up.

    Args:
        problem: the samples, with a ball in Linf.
        x: where to begin, inside ball and range.
        gain: the objective there.
        draws: each sample's own stream.
        sides: of the rectangle in each turn.
        shape: C, H and W of a sample seen as a picture.
        screened: whether slopes may leave out turns.
        first_gain: what the objective says of the clean input, where hopeless searches shall be given up.
    """

    def __init__(
        self,
        problem: Problem,
        x: Tensor,
        gain: Tensor,
        draws: Draws,
        sides: Sequence[tuple[int, int]],
        shape: tuple[int, int, int],
        *,
        screened: bool = False,
        first_gain: Tensor | None = None,
    ) -> None:
        self.problem, self.gain, self.draws, self.shape = problem, gain, draws, shape
        self.x = torch.empty_like(problem.x).copy_(x)  # in the layout that the victim is fastest in
        self.sides = torch.tensor(sides, device=x.device)
        self.turns = torch.zeros_like(problem.rows)
        self.screen = _screen(self._flat(x)) if screened else None
        self.growth = None if first_gain is None else _growth(first_gain, len(sides))
        self.kept, self.asked = 1.0, 1.0

    def run(self, found: Tensor) -> None:
        """Search until every goal is met or given up, or every turn taken; `found` gets the points, by their rows."""
        end, last = 0, len(self.sides)
        while len(self.x) and end < last:
            if self.screen is not None and end >= FIRST and not self.screen.turn_page(self.problem, self.x):
                self.screen = None
            in_pages = self.screen is not None or self.growth is not None
            end = min(end + PAGE if end else FIRST, last) if in_pages else last
            met = self._page(end)
            found[self.problem.rows] = self.x
            left = ~met
            if self.growth is not None:
                left &= ~self.growth.hopeless(end, self.gain)
                self.growth.keep(left)
            self.problem, self.draws = self.problem.take(left), self.draws[left]
            self.x, self.gain, self.turns = self.x[left], self.gain[left], self.turns[left]
            if self.screen is not None:
                self.screen.keep(left)

    def _page(self, end: int) -> Tensor:
        """Take all turns before `end`; return whose goal is met."""
        met = torch.zeros_like(self.turns, dtype=torch.bool)
        while True:
            rows = (~met & (self.turns < end)).nonzero().squeeze(1)
            if not len(rows):
                return met
            met[rows] = self._block(rows, end)

    def _flat(self, x: Tensor) -> Tensor:
        channels, height, width = self.shape
        return x.view(len(x), channels, height * width)

    def _block(self, rows: Tensor, end: int) -> Tensor:
        """Try the next turns of some samples; return whose goal is met."""
        count, turns = len(rows), self.turns[rows]
        # So far ahead that a tenth of what is asked is thrown away: a matter of speed alone.
        some = max(min(max(int(0.2 / self.kept), _FEW // count), _FURTHEST, _ROOM // count), 1)
        ahead = min(math.ceil(some / self.asked), PAGE, end - int(turns.min()))
        turns = turns[:, None] + torch.arange(ahead, device=turns.device)
        valid = turns < end
        old, index, values = self._rectangles(rows, turns.clamp_max(end - 1))
        asked, foretold = valid, None
        if self.screen is not None and end > FIRST:
            foretold = self.screen.foretell(rows, index, values - old)
            asked = valid & self.screen.asks(rows, turns, foretold)
        chosen = asked & (asked.cumsum(1) <= some)
        sample, place = chosen.nonzero(as_tuple=True)
        tried = take(self.x, rows[sample])
        self._flat(tried).scatter_(2, index[sample, place], values[sample, place])
        said, hit = self._values(tried, rows[sample])
        rise, met = torch.full(chosen.shape, -torch.inf, dtype=said.dtype, device=said.device), torch.zeros_like(chosen)
        rise[chosen], met[chosen] = said - self.gain[rows[sample]], hit
        better = met | (rise > 0)
        moved, first = better.any(1), better.long().argmax(1)
        # Where none is kept, all turns up to the first that there was no room to ask are behind.
        later = asked & ~chosen
        used = torch.where(moved, first + 1, torch.where(later.any(1), later.long().argmax(1), valid.sum(1)))
        behind = torch.arange(ahead, device=used.device) < used[:, None]
        counted = chosen & behind
        risen = moved.nonzero().squeeze(1)
        winner = (chosen.flatten().cumsum(0) - 1)[risen * ahead + first[risen]]
        put(self.x, rows[risen], take(tried, winner))
        self.gain[rows[risen]] = said[winner]
        self.turns[rows] += used
        self.problem.queries[self.problem.rows[rows]] += counted.sum(1)
        if self.screen is not None and foretold is not None:
            self.screen.learn(rows, foretold, torch.where(counted, rise, -torch.inf), behind)
        spent, passed = max(int(counted.sum()), 1), int(used.sum())
        self.kept = max(0.9 * self.kept + 0.1 * len(risen) / spent, 1e-3)
        self.asked = max(0.9 * self.asked + 0.1 * min(spent / passed, 1.0), 1e-3)
        return met.gather(1, first[:, None])[:, 0]

    def _values(self, tried: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and success of `(T, ...)`; only what turns out to be of use is counted as a query."""
        rows = torch.arange(len(tried), device=tried.device)
        asked = replace(self.problem, y=self.problem.y[sample], rows=rows, queries=torch.zeros_like(rows))
        gain, met = asked.values(tried)
        return gain.to(self.gain), met

    def _rectangles(self, rows: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what stands `(M, K, C, P)`, where in a flat picture, and what the turns `(M, K)` of samples write."""
        (channels, height, width), (count, ahead) = self.shape, turns.shape
        bits = self.draws[rows].bits_at(
            turns[:, :, None] * (channels + 2) + torch.arange(channels + 2, device=turns.device)
        )
        tall, wide = self.sides[turns].unbind(2)
        places = []
        for side, whole, draw in ((tall, height, bits[..., 0]), (wide, width, bits[..., 1])):
            unit = (draw >> 32).bitwise_and_((1 << 32) - 1)
            begin = (unit * (whole - side + 1)) >> 32
            most = int(side.max())
            line = begin.clamp_max(whole - most)[..., None] + torch.arange(most, device=turns.device)
            places.append((line, (line >= begin[..., None]) & (line < (begin + side)[..., None])))
        (row, in_row), (column, in_column) = places
        index = (row[..., :, None] * width + column[..., None, :]).flatten(2)
        inside = (in_row[..., :, None] & in_column[..., None, :]).flatten(2)[:, :, None]
        index = index[:, :, None].expand(-1, -1, channels, -1)
        reach = self.problem.reach
        assert reach is not None
        flat = (count, 1, channels, height * width)
        every = count == len(self.x)  # rows are in order
        old, low, high = (
            (value if every else take(value, rows)).view(flat).expand(-1, ahead, -1, -1).gather(3, index)
            for value in (self.x, *reach)
        )
        up = (bits[..., 2:] >= 0)[..., None]
        new = torch.where(up, high, low)
        wasted = ((new == old) | ~inside).flatten(2).all(2)[:, :, None, None]
        # The opposite signs: a query that changes nothing would be wasted.
        new = torch.where(up ^ wasted, high, low)
        return old, index, torch.where(inside, new, old)


def _screen(x: Tensor) -> "SlopeScreen":
    from withstand.attacks.autoattack.shortcuts.slope_screen import SlopeScreen

    return SlopeScreen(x)


def _growth(first: Tensor, turns: int) -> "Growth":
    from withstand.attacks.autoattack.shortcuts import giving_up

    return giving_up.Growth(first, turns)
