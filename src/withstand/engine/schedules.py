"""Learning-rate schedules, as the factor on the base rate after a share of the run.

A schedule is a function of the step alone, so that resuming needs no schedule state.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from withstand.core.errors import ConfigError, nearest
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


@dataclass(frozen=True)
class Linear(Schedule):
    """Rise linearly over `warmup` epochs, then fall linearly to `final` at the end, as language models are tuned.

    Args:
        warmup: epochs of the rise from 0; fractions are allowed.
        final: factor at the end.

    >>> Linear().factor(25, 10, 10), Linear(warmup=1).factor(5, 10, 10)
    (0.75, 0.5)
    """

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if min(self.warmup, self.final) < 0:
            raise ConfigError(f"warmup and final must be at least 0: {self}")

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        rise = self.warmup * steps_per_epoch
        if step < rise:
            return step / rise
        gone = min(1.0, (step - rise) / max(1.0, epochs * steps_per_epoch - rise))
        return 1 - (1 - self.final) * gone


@dataclass(frozen=True)
class Infinite(Schedule):
    """Rise, cool down to a plateau, stay there however long data keep coming, and fall at the very end.

    Beyond Cosine Decay (2025), in its authors' code: before the fall nothing hangs on the run's length, so that a run
    can go on from its plateau with further data. A later stage of a stream has neither rise nor cooldown.

    Args:
        warmup: epochs of the linear rise from 0; fractions are allowed, as in all lengths here.
        cooldown: epochs from the top to the plateau.
        plateau: factor there.
        anneal: epochs of the exponential fall at the end; 0 for none, to stay on the plateau. In a run that is too
            short for it, it begins where the rise ends.
        final: factor at the end of the fall, above 0.
        shape: of the cooldown: "cosine", "inverse-sqrt" or "linear".

    >>> Infinite(warmup=1, cooldown=2, plateau=0.5).factor(30, 10, 9)
    0.5
    """

    warmup: float = 0.0
    cooldown: float = 0.0
    plateau: float = 0.75
    anneal: float = 0.0
    final: float = 0.05
    shape: Literal["cosine", "inverse-sqrt", "linear"] = "cosine"

    def __post_init__(self) -> None:
        if min(self.warmup, self.cooldown, self.anneal) < 0:
            raise ConfigError(f"warmup, cooldown and anneal must be at least 0: {self}")
        if not 0 < self.final <= self.plateau <= 1:
            raise ConfigError(
                f"0 < final <= plateau <= 1 must hold, not final {self.final!r} and plateau {self.plateau!r}: "
                "an exponential fall never gets to 0"
            )
        if self.shape not in ("cosine", "inverse-sqrt", "linear"):
            raise ConfigError(f"shape {self.shape!r} is unknown: {nearest(self.shape, _COOLDOWNS)}")

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        total = epochs * steps_per_epoch
        begin = max(self.warmup, epochs - self.anneal) * steps_per_epoch
        if self.anneal and begin < step:
            gone = min(1.0, (step - begin) / max(1.0, total - begin))
            high = self._before(begin, steps_per_epoch)
            return high * math.pow(self.final / high, gone)
        return self._before(step, steps_per_epoch)

    def _before(self, step: float, steps_per_epoch: int) -> float:
        rise, cool = self.warmup * steps_per_epoch, self.cooldown * steps_per_epoch
        if step < rise:
            return step / rise
        if step >= rise + cool:
            return self.plateau
        return self.plateau + (1 - self.plateau) * _COOLDOWNS[self.shape]((step - rise) / cool)


_COOLDOWNS: dict[str, Callable[[float], float]] = {
    "cosine": lambda gone: 0.5 * (1 + math.cos(math.pi * gone)),
    "inverse-sqrt": lambda gone: 1 - (1 / math.sqrt(1 + 10 * gone) - 1) / (1 / math.sqrt(11) - 1),
    "linear": lambda gone: 1 - gone,
}
"""How much of the way down is left, after a share of it."""


@dataclass(frozen=True)
class WSD(Schedule):
    """Rise, stay at the base rate, and fall to `final` over the last epochs (warm-up, stable, decay; MiniCPM, 2024).

    Args:
        warmup: epochs of the linear rise from 0.
        decay: epochs of the linear fall at the end.
        final: factor at the end.
    """

    warmup: float = 0.0
    decay: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if min(self.warmup, self.decay, self.final) < 0:
            raise ConfigError(f"warmup, decay and final must be at least 0: {self}")

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        rise, fall = self.warmup * steps_per_epoch, self.decay * steps_per_epoch
        left = max(0.0, epochs * steps_per_epoch - step)
        up = min(1.0, step / rise) if rise else 1.0
        return min(up, self.final + (1 - self.final) * left / fall) if left < fall else up


@dataclass(frozen=True)
class Stepped(Schedule):
    """Stay at the base rate, and fall at once after each of some shares of the run (SRGAN: to a tenth at the half).

    Args:
        at: shares of the run, between 0 and 1, in rising order.
        by: what the rate is multiplied by at each.
    """

    at: tuple[float, ...] = (0.5,)
    by: float = 0.1

    def __post_init__(self) -> None:
        if list(self.at) != sorted(self.at) or not all(0 < share < 1 for share in self.at):
            raise ConfigError(f"at must be rising shares between 0 and 1, not {self.at!r}")
        if not self.by > 0:
            raise ConfigError(f"by must be above 0, not {self.by!r}")

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        whole = epochs * steps_per_epoch
        return self.by ** sum(step >= share * whole for share in self.at)
