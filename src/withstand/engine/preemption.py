"""Signals that ask a run to stop: SIGTERM, and SIGUSR1, which SLURM sends ahead of a job's end when it is told to.

The run ends its step, saves, and stops; the same command goes on from there.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from withstand.core.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Asked:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: remember it, and hand it on to processes that this one started."""
        self.signal = number
        for child in multiprocessing.active_children():
            if child.pid is not None:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(child.pid, number)

    def stop(self) -> None:
        """Stop if this process was asked to.

        Raises:
            Preempted: it was.
        """
        if self.signal is not None:
            raise Preempted(self.signal)


@contextmanager
def listening() -> Iterator[Asked]:
    """Listen for the signals while a run lasts; handlers that somebody else has set are left as they are.

    Signals come to the main thread alone: in another one nothing is heard.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    ours = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, asked.note)
    try:
        yield asked
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
