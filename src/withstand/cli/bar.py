"""A bar for AutoAttack: which attack is at work, how far, what is left, how long it will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from withstand.attacks.ensemble import Progress


@contextmanager
def ensemble_bar() -> Iterator[Callable[["Progress"], None]]:
    """Give what draws a bar on a terminal, and elsewhere writes a line when an attack begins."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}")
    bar = Bar(*columns, console=console, disable=not console.is_terminal)
    said: set[str] = set()
    with bar:

        def show(now: "Progress") -> None:
            facts = f"{now.accuracy:.1%} left, about {now.remaining:.0f} s more"
            if not console.is_terminal:
                if now.attack not in said:
                    console.print(f"{now.attack}: {now.done}/{now.queue} samples, {facts}", highlight=False)
            elif bar.tasks:
                task = bar.tasks[0].id
                bar.update(task, description=now.attack, completed=now.done, total=now.queue, facts=facts)
            else:
                bar.add_task(now.attack, completed=now.done, total=now.queue, facts=facts)
            said.add(now.attack)

        yield show
