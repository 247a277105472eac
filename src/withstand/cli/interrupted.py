"""What an interrupted command says: what was kept, and what the same command does next time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from withstand.core.errors import Preempted


@contextmanager
def when_interrupted(words: Callable[[], str]) -> Iterator[None]:
    """Say these words where the command is interrupted; they are asked for then."""
    try:
        yield
    except Preempted as error:
        raise Preempted(error.signal, words()) from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(words()) from None


def of_training(folder: Path, *, fresh: bool) -> str:
    """Return what is left of training in a run folder."""
    from withstand.engine.checkpoint import last_step
    from withstand.engine.folder import RunFolder

    step = last_step(RunFolder(folder).checkpoints)
    if not step:
        return "there is no checkpoint yet: the same command starts over"
    return f"the same command{' without --fresh' if fresh else ''} goes on from step {step}, the last checkpoint"


def of_audit(folder: Path) -> str:
    """Return what is left of an audit whose state lies in a folder."""
    if (folder / "audit.state").exists():
        return "the same command repeats noise and curves, and goes on with AutoAttack where it was"
    return "nothing of the audit was kept: the same command starts it over"
