"""What single precision does to numbers in double: where little is left of their differences.

Sizes: `N` rows, `F` columns.
"""

import torch
from torch import Tensor

SHARE = 1e-3
"""From which share of a column's range on its rounding is told."""


class Rounding:
    """Looks at rows `(N, F)`, some after the others; `told` says which columns lose their differences."""

    def __init__(self) -> None:
        self._ends: tuple[Tensor, Tensor, Tensor] | None = None

    def see(self, rows: Tensor) -> None:
        """Look at some rows; those that are no doubles lose nothing."""
        if rows.dtype != torch.float64 or not rows.numel():
            return
        lost = (rows - rows.float().double()).abs().amax(0)
        low, high = rows.amin(0), rows.amax(0)
        if self._ends is not None:
            before = self._ends
            low, high, lost = low.minimum(before[0]), high.maximum(before[1]), lost.maximum(before[2])
        self._ends = low, high, lost

    @property
    def told(self) -> str:
        """A warning in words, "" where none is needed."""
        if self._ends is None:
            return ""
        low, high, lost = self._ends
        bad = (lost > SHARE * (high - low)) & (high > low)
        if not bool(bad.any()):
            return ""
        place = int(bad.nonzero()[0, 0])
        return (
            f"single precision rounds {int(bad.sum()):,} of {len(bad):,} columns by more than {SHARE:.1%} of "
            f"their range (column {place} holds {float(low[place]):.10g} to {float(high[place]):.10g}): take off "
            "what is common, or scale them"
        )
