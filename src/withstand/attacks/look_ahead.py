"""Square's search in Linf, several turns at a time.

Late in the search hardly any rectangle is kept, so the next turns can be tried from where the sample stands, all in
one forward pass. What comes after a kept one is thrown away and tried anew: every sample meets the same rectangles in
the same order as one by one, in a third of the time where few samples are left.

Shapes: M samples, K turns ahead, pictures `(M, C, H, W)`, P places in a rectangle.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from withstand.attacks.problem import Problem
from withstand.core.random import Draws

_ROOM = 256
"""Pictures in a forward pass, at most."""
_FURTHEST = 16


class LookAhead:
    """Where each sample stands.

    Attributes:
        problem: the samples whose goal is not met.
        x: their points.
        gain: what the objective says there.
        turns: rectangles tried on each so far.

    Args:
        problem: the samples, with a ball in Linf.
        x: where to begin, inside ball and range.
        gain: the objective there.
        draws: each sample's own stream.
        sides: of the rectangle in each turn.
        shape: C, H and W of a sample seen as a picture.
    """

    def __init__(
        self,
        problem: Problem,
        x: Tensor,
        gain: Tensor,
        draws: Draws,
        sides: Sequence[tuple[int, int]],
        shape: tuple[int, int, int],
    ) -> None:
        self.problem, self.x, self.gain, self.draws, self.shape = problem, x, gain, draws, shape
        self.sides = torch.tensor(sides, device=x.device)
        self.turns = torch.zeros_like(problem.rows)
        self.rate = 1.0

    def run(self, found: Tensor) -> None:
        """Search until every goal is met or every turn is taken; `found` gets the points, by the samples' rows."""
        while len(self.x):
            finished = self._block()
            if bool(finished.any()):
                found[self.problem.rows[finished]] = self.x[finished]
                left = ~finished
                self.problem, self.draws = self.problem.take(left), self.draws[left]
                self.x, self.gain, self.turns = self.x[left], self.gain[left], self.turns[left]

    def _block(self) -> Tensor:
        """Try the next turns of each sample; return which samples are through."""
        count, (channels, height, width) = len(self.x), self.shape
        # So far ahead that a tenth of the tries is thrown away: a matter of speed alone.
        ahead = max(min(int(0.2 / self.rate), _FURTHEST, _ROOM // count), 1)
        turns = self.turns[:, None] + torch.arange(ahead, device=self.x.device)
        valid = turns < len(self.sides)
        index, values = self._rectangles(turns.clamp_max(len(self.sides) - 1))
        tried = self.x[torch.arange(count, device=self.x.device).repeat_interleave(ahead)]
        tried.view(count, ahead, channels, height * width).scatter_(3, index, values)
        raised, met = (value.view(count, ahead) for value in self._values(tried, ahead))
        better = (met | (raised > self.gain[:, None])) & valid
        first = better.long().argmax(1)
        kept = better.any(1)
        used = torch.where(kept, first + 1, valid.sum(1))
        place = torch.arange(count, device=first.device) * ahead + first
        rows = kept.nonzero().squeeze(1)
        self.x[rows] = tried[place[rows]]
        self.gain[rows] = raised.flatten()[place[rows]]
        self.turns += used
        self.problem.queries[self.problem.rows] += used
        self.rate = max(0.9 * self.rate + 0.1 * len(rows) / int(used.sum()), 1e-3)
        return (kept & met.gather(1, first[:, None])[:, 0]) | (self.turns >= len(self.sides))

    def _values(self, tried: Tensor, ahead: int) -> tuple[Tensor, Tensor]:
        """Return gain and success of `(M * K, ...)`; only what turns out to be of use is counted as a query."""
        y = self.problem.y.repeat_interleave(ahead, 0)
        rows = torch.arange(len(tried), device=tried.device)
        return replace(self.problem, y=y, rows=rows, queries=torch.zeros_like(rows)).values(tried)

    def _rectangles(self, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Return where `(M, K, C, P)`, in a flat picture, and what each turn `(M, K)` writes."""
        (channels, height, width), (count, ahead) = self.shape, turns.shape
        bits = self.draws.bits_at(turns[:, :, None] * (channels + 2) + torch.arange(channels + 2, device=turns.device))
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
        old, low, high = (
            value.view(flat).expand(-1, ahead, -1, -1).gather(3, index) for value in (self.x, reach[0], reach[1])
        )
        up = (bits[..., 2:] >= 0)[..., None]
        new = torch.where(up, high, low)
        wasted = ((new == old) | ~inside).flatten(2).all(2)[:, :, None, None]
        # The opposite signs: a query that changes nothing would be wasted.
        new = torch.where(up ^ wasted, high, low)
        return index, torch.where(inside, new, old)
