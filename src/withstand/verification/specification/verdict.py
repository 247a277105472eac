"""What certification says of one sample."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Status = Literal["safe", "unsafe", "unknown"]

Clock = Callable[[], float]
"""Seconds that never fall: `time.monotonic`, or `time.process_time` to leave out what other programs take."""

CLOCK: Clock = time.monotonic


Late = Callable[[], bool]
"""Tells whether time is up. What is late leaves off between two passes; what it has found until then stays sound."""


def passed(clock: Clock, until: float) -> Late:
    """Return what tells whether a moment on a clock has passed."""
    return lambda: clock() > until


def never() -> bool:
    """Tell that there is no end of time."""
    return False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a property holds in all of a region.

    Attributes:
        status: "safe" is a proof; "unsafe" has a counterexample that the real model was shown; else "unknown".
        margin: a proven lower bound of the smallest margin over the region; -inf where there is none.
        counterexample: an input of the region, shaped like the sample, that breaks the property.
        reason: why it is unknown, or what was already wrong; else empty.
        method: what decided: "ibp", "crown", "attack", "milp" ...
        seconds: spent on this sample.
        steps: boxes, sub-problems or nodes looked at.
    """

    status: Status
    margin: float = float("-inf")
    counterexample: Tensor | None = None
    reason: str = ""
    method: str = ""
    seconds: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        if (self.status == "unsafe") != (self.counterexample is not None):
            raise ValueError("unsafe, and nothing else, has a counterexample")
        if (self.status == "unknown") != bool(self.reason) and self.status == "unknown":
            raise ValueError("unknown needs its reason")
