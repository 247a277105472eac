"""From a grid to a proof: every cell between the points gets a lower bound of its margin; cells that fail are split.

Where the bound is above 0 in each cell, no point of the whole region breaks the property, grid or not. This is the
condition under which DLV's finite search is exact (0-variation), checked and not assumed.

Sizes: `P` parameters or chosen dimensions, `B` cells.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import ConfigError

LowerBound = Callable[[Tensor, Tensor], Tensor]
"""Cells' low and high `(B, P)` to lower bounds of the margin `(B,)`."""
Margin = Callable[[Tensor], Tensor]
"""Points `(B, P)` to their margins `(B,)`; at most 0 breaks the property."""


@dataclass(frozen=True, eq=False)
class Cells:
    """What became of the cells.

    Attributes:
        proven: no cell is left in doubt.
        bound: the smallest proven lower bound.
        broken: points that break the property, `(n, P)`.
        cells: how many were bounded.
        reason: why it was given up, or empty.
    """

    proven: bool
    bound: float
    broken: Tensor
    cells: int
    reason: str = ""


def prove(
    low: Tensor,
    high: Tensor,
    lower_bound: LowerBound,
    margin: Margin,
    *,
    budget: int = 20_000,
    timeout: float = 60.0,
    batch: int = 256,
    every: bool = False,
) -> Cells:
    """Bound cells, look at the middle of each, and halve those that are neither proven nor broken.

    Args:
        low: smallest parameters of each cell, float64 `(B, P)`.
        high: largest.
        lower_bound: a sound lower bound of the margin over cells.
        margin: the real network's margin at points.
        budget: cells to bound at most.
        timeout: seconds.
        batch: cells bounded at once.
        every: go on after the first broken point, and list one of each cell that has one in its middle.
    """
    if budget < 1 or not timeout > 0:
        raise ConfigError(f"budget and timeout must be positive, not {budget} and {timeout}")
    start, done, least = time.monotonic(), 0, float("inf")
    broken: list[Tensor] = []
    scale = (high - low).amax(0).clamp_min(1e-300)
    reason = ""
    while len(low):
        if done >= budget:
            reason = f"{len(low):,} cells are still in doubt after {done:,}"
            break
        if time.monotonic() - start > timeout:
            reason = f"out of time after {timeout:g} s, with {len(low):,} cells in doubt"
            break
        now_low, now_high, low, high = low[:batch], high[:batch], low[batch:], high[batch:]
        done += len(now_low)
        middle = (now_low + now_high) / 2
        bad = margin(middle) <= 0
        if bool(bad.any()):
            broken.append(middle[bad])
            if not every:
                return Cells(False, float("-inf"), torch.cat(broken), done)
        found = lower_bound(now_low, now_high)
        fine = found > 0
        if bool(fine.any()):
            least = min(least, float(found[fine].min()))
        rest = ~fine & ~bad
        if bool(rest.any()):
            first, second = _halved(now_low[rest], now_high[rest], scale)
            low, high = torch.cat([low, first[0], second[0]]), torch.cat([high, first[1], second[1]])
    points = torch.cat(broken) if broken else scale.new_zeros(0, len(scale))
    proven = not reason and not len(points)
    return Cells(proven, least if proven else float("-inf"), points, done, reason)


def _halved(low: Tensor, high: Tensor, scale: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return both halves of each cell along its relatively widest side."""
    side = ((high - low) / scale).argmax(1, keepdim=True)
    middle = ((low + high) / 2).gather(1, side)
    return (low, high.scatter(1, side, middle)), (low.scatter(1, side, middle), high)
