"""The clock of a run: seconds of training, and the time since the last checkpoint."""

import time

from withstand.engine.checkpoint import RunProgress


class Clock:
    """Seconds of training, over all the times a run was resumed."""

    def __init__(self, progress: RunProgress) -> None:
        self._zero = time.perf_counter() - progress.seconds
        self._saved = time.perf_counter()
        self._lap = (time.perf_counter(), progress.step)

    def seconds(self) -> float:
        """Return the seconds of training until now."""
        return time.perf_counter() - self._zero

    def since_save(self) -> float:
        """Return the seconds since a checkpoint was last marked."""
        return time.perf_counter() - self._saved

    def reached(self, step: int) -> RunProgress:
        """Return how far the run is after a step."""
        return RunProgress(step, self.seconds())

    def mark(self, step: int) -> RunProgress:
        """Return how far the run is after a step whose checkpoint is about to be saved."""
        self._saved = time.perf_counter()
        return self.reached(step)

    def rate(self, step: int) -> float:
        """Return steps a second since this was last asked."""
        (then, before), now = self._lap, time.perf_counter()
        self._lap = (now, step)
        return (step - before) / max(now - then, 1e-9)
