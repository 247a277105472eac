"""Learning-rate schedules, as the factor on the base rate after a share of the run.

A schedule is a function of the step alone, so that resuming needs no schedule state.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

from withstand.core.errors import ConfigError
from withstand.core.part import Part


class Schedule(Part):
    """A factor on the base learning rate."""

    @abstractmethod
    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor for the update that follows `step` finished ones."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The base rate throughout."""

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """Rise linearly over `warmup` epochs, then fall by half a cosine to `final`.

    Args:
        warmup: epochs of the rise; fractions are allowed. Longer than the run means a rise only.
        start: factor at step 0 (Barlow Twins: 0).
        final: factor at the end (Barlow Twins: 0.001; SimCLR: 0).
        share: largest share of the run that the rise may take, for short runs; None for any.

    >>> WarmupCosine(warmup=1).factor(0, 10, 5), WarmupCosine(warmup=1).factor(10, 10, 5)
    (0.0, 1.0)
    """

    warmup: float = 0.0
    start: float = 0.0
    final: float = 0.0
    share: float | None = None

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.start < 0 or self.final < 0:
            raise ConfigError(f"warmup, start and final must be at least 0: {self}")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ConfigError(f"share must lie in [0, 1], or be None, not {self.share!r}")

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        longest = self.warmup if self.share is None else min(self.warmup, self.share * epochs)
        rise = longest * steps_per_epoch
        if step < rise:
            return self.start + (1 - self.start) * step / rise
        total = epochs * steps_per_epoch
        done = min(1.0, (step - rise) / max(1.0, total - rise))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))
