"""A bar for an audit: which attack is at work, how far, what is left, how long it will take."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from withstand.attacks.autoattack.ensemble import AttackProgress


@contextmanager
def audit_bar() -> Iterator[Callable[["AttackProgress"], None]]:
    """Give what draws a bar on a terminal, and elsewhere writes a line when an attack begins."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}")
    bar = Bar(*columns, console=console, disable=not console.is_terminal)
    said: set[str] = set()
    with bar:

        def show(now: "AttackProgress") -> None:
            known = [f"{now.accuracy:.1%} left"] if math.isfinite(now.accuracy) else []
            known += [f"about {now.remaining:.0f} s more"] if math.isfinite(now.remaining) else []
            facts, name = ", ".join(known), now.attack
            if not console.is_terminal:
                if name not in said:
                    line = f"{name}: {now.done}/{now.queue} samples" + (f", {facts}" if facts else "")
                    console.print(line, highlight=False)
            else:
                name = f"{name}, {now.where}" if now.where else name
                if not bar.tasks:
                    bar.add_task(name, facts=facts)
                bar.update(bar.tasks[0].id, description=name, completed=now.done, total=now.queue, facts=facts)
            said.add(now.attack)

        yield show
