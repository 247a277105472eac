"""How far an audit is outside AutoAttack, which tells that of itself: curves of noise and of PGD, then checks."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.ensemble import AttackProgress


@dataclass
class Stages:
    """Tells which run of an attack begins.

    Args:
        progress: is told.
        samples: that are audited.
        total: passes over a sample that the curves are expected to take.
    """

    progress: Callable[[AttackProgress], None]
    samples: int
    total: float
    _done: float = 0.0
    _running: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def begin(self, attack: InputAttack, name: str, where: str, left: int, accuracy: float = math.nan) -> None:
        """Tell that an attack begins.

        Args:
            attack: the attack.
            name: what it is called.
            where: the ball, in words.
            left: samples that it is given.
            accuracy: the share of samples that hold so far; NaN where accuracy is not audited.
        """
        spent = time.monotonic() - self._began
        self._done += self._running
        self._running = passes(getattr(attack, "steps", 0), getattr(attack, "restarts", 1))
        pace = spent / self._done if self._done else math.inf
        remaining = pace * max(self.total - self._done, 0.0) * left / self.samples
        self.progress(AttackProgress(name, 0, left, accuracy, spent, remaining, where))

    def checks(self, count: int) -> None:
        """Tell that the checks begin, on so many samples."""
        self.progress(AttackProgress("checks", 0, count, math.nan, time.monotonic() - self._began, math.inf))


def passes(steps: int, restarts: int) -> int:
    """Return roughly how many passes over a sample an attack takes."""
    return steps * restarts + 1
