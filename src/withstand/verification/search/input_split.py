"""Complete search by cutting the input box into smaller boxes, many at once; for inputs of few dimensions.

Every box is bounded by forward linear functions and one backward pass. A box that is not proven is cut in two across
the dimension that its linear bound depends on most. The point where that bound is lowest is tried on the network.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from withstand.verification.bounds.backward import Rows, concretize, linear_function
from withstand.verification.bounds.forward import relax_forward
from withstand.verification.bounds.rounding import full_precision, proven
from withstand.verification.network.network import Network
from withstand.verification.search.falsify import DOUBTS, Breaks, Replay, by_outputs, doubtful, falsify, first_broken
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property
from withstand.verification.specification.verdict import CLOCK, Clock, Late, Status, Verdict, never, passed

_FIRST = 32
"""Boxes of the first batch."""
_NONE = "which the search for counterexamples took: no box was bounded"
_SHARE = 0.05
"""Share of the time left that a batch may take for the next one to be larger."""


@dataclass
class _Pile:
    """Boxes yet to be proven; the last ones are taken first."""

    low: Tensor
    high: Tensor

    def take(self, count: int) -> Region:
        region = Region(self.low[-count:], self.high[-count:])
        self.low, self.high = self.low[:-count], self.high[:-count]
        return region

    def put(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = torch.cat([self.low, low]), torch.cat([self.high, high])


@torch.no_grad()
def search_inputs(
    network: Network,
    region: Region,
    wanted: Property,
    *,
    replay: Replay | None = None,
    breaks: Breaks | None = None,
    timeout: float = 60.0,
    batch: int = 512,
    most: int = 4_000_000,
    clock: Clock = CLOCK,
) -> Verdict:
    """Decide a property on one box.

    Args:
        network: the captured network, in float64; that is also what is computed in.
        region: one box (N = 1).
        wanted: what shall hold.
        replay: the real model, which a counterexample must also break; None for the captured network.
        breaks: judges points in place of the property and `replay`.
        timeout: seconds.
        batch: boxes bounded at once.
        most: boxes that may wait at once; beyond, the answer is unknown.
        clock: by which the time goes.
    """
    began, breaks = clock(), breaks or by_outputs(wanted, replay or network)
    late = passed(clock, began + timeout)
    region = Region(region.low.double(), region.high.double())
    pile = _Pile(region.low, region.high)
    margin, boxes, doubts = float("inf"), 0, 0

    def answer(status: Status, **said: Any) -> Verdict:
        return Verdict(status, method="input splits", seconds=clock() - began, steps=boxes, **said)

    point = falsify(network, region, wanted, breaks, late=late)
    size = min(_FIRST, batch)
    while True:
        if point is not None:
            return answer("unsafe", counterexample=point)
        if not len(pile.low):
            return answer("safe", margin=margin)
        if (ended := late()) or len(pile.low) > most or doubts >= DOUBTS:
            reason = f"time-out after {timeout:.3g} s" if ended else f"more than {most} boxes wait"
            if doubts >= DOUBTS:
                reason = doubtful(doubts)
            reason += f": {boxes} boxes bounded, {len(pile.low)} open" if boxes else f", {_NONE}"
            return answer("unknown", reason=reason)
        # Batches grow as far as time allows: one that is begun is ended.
        size, started = min(size, len(pile.low)), clock()
        now = pile.take(size)
        boxes += len(now)
        bound, slope = box_bounds(network, now, wanted, late)
        quick = clock() - started < _SHARE * (began + timeout - clock())
        size = min(batch, 2 * size) if quick else max(1, size // 2)
        held = wanted.least(bound)
        proven = held > 0
        if bool(proven.any()):
            margin = min(margin, held[proven].min().item())
        left = ~proven
        if not bool(left.any()):
            continue
        low, high, slope, bound = now.low[left], now.high[left], slope[left], bound[left]
        corner = _lowest(low, high, slope, bound, wanted)
        values = wanted.least(wanted.values(network(corner)))
        point = first_broken(corner, values, breaks)
        doubts += point is None and bool((values <= 0).any())
        pile.put(*_cut(low, high, slope, bound, wanted))


def box_bounds(network: Network, region: Region, wanted: Property, late: Late = never) -> tuple[Tensor, Tensor]:
    """Return lower bounds `(B, K)` of the property's values over boxes, and their slopes at the input `(B, K, D)`."""
    relaxed = relax_forward(network, region, late=late)
    rows = Rows(each=len(wanted.weight))
    weight = wanted.weight.to(network.dtype).expand(len(region), -1, -1).flatten(0, 1)
    with full_precision():
        slope, constant = linear_function(relaxed, len(network.nodes) - 1, weight, rows)
        bound = proven(constant + concretize(slope, region, rows))
    shape = (len(region), rows.each)
    return bound.view(shape) + wanted.offset, slope.view(*shape, -1)


def _hardest(bound: Tensor, wanted: Property) -> Tensor:
    """Return for each box the row that its worst group would be proven by, `(B,)`."""
    worst = wanted.per_group(bound).argmin(1)
    return bound.masked_fill(wanted.group[None] != worst[:, None], -torch.inf).argmax(1)


def _lowest(low: Tensor, high: Tensor, slope: Tensor, bound: Tensor, wanted: Property) -> Tensor:
    """Return the corners where the hardest rows' linear bounds are lowest."""
    row = _hardest(bound, wanted)
    chosen = slope[torch.arange(len(slope)), row].view(low.shape)
    return torch.where(chosen > 0, low, high)


def _cut(low: Tensor, high: Tensor, slope: Tensor, bound: Tensor, wanted: Property) -> tuple[Tensor, Tensor]:
    """Halve each box across the dimension in which slope times width, and a little of the width itself, is largest."""
    row = _hardest(bound, wanted)
    chosen = slope[torch.arange(len(slope)), row].abs()
    width = (high - low).flatten(1)
    score = width * (chosen + 0.05 * chosen.amax(1, keepdim=True) + 1e-12)
    dim = score.argmax(1, keepdim=True)
    middle = ((low + high) / 2).flatten(1).gather(1, dim)
    first_high, second_low = high.flatten(1).scatter(1, dim, middle), low.flatten(1).scatter(1, dim, middle)
    return torch.cat([low, second_low.view_as(low)]), torch.cat([first_high.view_as(high), high])
