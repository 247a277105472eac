"""Journal: `metrics.jsonl`, the progress bar, and the collapse warning."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from withstand.core.errors import MissingExtra
from withstand.core.files import replacing
from withstand.core.roles import Source
from withstand.data.derived.subset import in_whole
from withstand.losses.contrast.geometry import alignment, effective_rank, per_dimension_std, uniformity


def gauges(embeddings: Tensor) -> dict[str, float]:
    """Return the collapse gauges of embeddings `(V, B, D)` of V views.

    `std`: mean per-dimension standard deviation of unit-length embeddings, times sqrt(D): 1 when spread
    evenly, 0 when collapsed. The rest as in `withstand.losses.contrast.geometry`; alignment needs two views.
    """
    first = embeddings[0].float()
    found = {
        "std": float(per_dimension_std(first).mean()) * first.shape[1] ** 0.5,
        "effective_rank": float(effective_rank(first)),
        "uniformity": float(uniformity(first)),
    }
    if len(embeddings) > 1:
        found["alignment"] = float(alignment(first, embeddings[1].float()))
    return found


def announce(source: Source, test: Source | None = None, *more: str) -> None:
    """Say what is learnt from before training begins: how data were read is seen while it can still be changed.

    Args:
        source: what is learnt from.
        test: what is kept to judge by.
        more: what else is to be known, a line each.
    """
    told = f"data: {source.name}, {len(source):,} {source.kind}s{_kept(source, test)}: {source.origin}"
    console = Console(stderr=True, soft_wrap=True)
    for line in (told, *(f"  {line}" for line in source.account), *more):
        console.print(line, highlight=False, markup=False)


def _kept(source: Source, test: Source | None) -> str:
    """Return in words what is not learnt from."""
    if test is None:
        return " learn, all there are; none is kept to judge by"
    whole, rows = in_whole(source)
    other, tested = in_whole(test)
    if bool(torch.isin(tested, rows).any()) and whole.fingerprint() == other.fingerprint():
        return f", {len(test):,} of them to judge by"
    return f" learn, {len(test):,} are kept to judge by"


_EARLY = 100
"""Steps of a long run, a tenth of a short one, that say more of its first weights than of its training."""


class Journal:
    """Writes what a run measures; only one process of a run keeps one.

    Args:
        path: the metrics file; None writes nothing.
        total: steps of the whole run.
        done: steps that a resumed run has behind it; later lines are cut off, for they will be written again.
        quiet: show no progress bar.
        writer: also gets every line; see `tensorboard_writer`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        total: int,
        done: int,
        title: str,
        quiet: bool,
        writer: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        self._path, self._writer = path, writer
        if path is not None:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            kept = [line for line in lines if _step_of(line) <= done]
            with replacing(path) as aside:
                aside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8") if path is not None else None
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._console = None if quiet else console
        self._plain = None if quiet or console.is_terminal else console
        self._task = self._progress.add_task(title, total=total, completed=done, facts="")
        self._title, self._warned, self._early = title, False, min(total / 10, _EARLY)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._file is not None:
            self._file.close()

    def advance(self) -> None:
        """Count one step on the progress bar."""
        self._progress.advance(self._task)

    def write(self, line: dict[str, float]) -> None:
        """Add a line of metrics."""
        if self._file is not None:
            self._file.write(json.dumps({key: round(value, 7) for key, value in line.items()}) + "\n")
            self._file.flush()
        if self._writer is not None:
            self._writer(line)
        facts = f"loss {line['loss']:.3f}  {line['rate']:,.0f} samples/s"
        self._progress.update(self._task, facts=facts)

    def epoch(self, epoch: int, epochs: int, line: dict[str, float]) -> None:
        """Say where a run is when there is no terminal to draw a bar on, about fifty times in all."""
        due = epoch % max(1, epochs // 50) == 0 or epoch == epochs  # an epoch may be a step: a graph's is
        if self._plain is not None and line and due:
            left = line["seconds"] / epoch * (epochs - epoch) if epoch else 0.0
            self._plain.print(
                f"{self._title}: epoch {epoch}/{epochs}, loss {line['loss']:.3f}, "
                f"{line['rate']:,.0f} samples/s, {left:.0f} s left",
                highlight=False,
            )

    def note(self, said: str) -> None:
        """Say something once, where anything is said."""
        if self._console is not None:
            self._console.print(f"{self._title}: {said}", highlight=False, markup=False, soft_wrap=True)

    def watch(self, found: dict[str, float]) -> None:
        """Warn once when a line's gauges say that the embeddings have collapsed to a point or a line.

        Those of new weights often lie close together: the first steps are not judged.
        """
        collapsed = found.get("std", 1.0) < 0.05 or found.get("effective_rank", 2.0) < 1.5
        if collapsed and not self._warned and found.get("step", self._early) >= self._early:
            self._warned = True
            warnings.warn(
                f"the embeddings are collapsing (std {found['std']:.3f} of 1, effective rank "
                f"{found['effective_rank']:.1f}): usual remedies are a lower learning rate and a larger batch",
                stacklevel=2,
            )


def _step_of(line: str) -> float:
    """Return a metrics line's step; a line that a kill cut short counts as never written."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def tensorboard_writer(folder: Path) -> Callable[[dict[str, float]], None]:
    """Return a writer of TensorBoard events into `folder`.

    Raises:
        MissingExtra: the extra `tensorboard` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("--tensorboard", "tensorboard", "tensorboard") from error
    events = SummaryWriter(str(folder))

    def write(line: dict[str, float]) -> None:
        for name, value in line.items():
            events.add_scalar(name, value, int(line["step"]))
        events.flush()

    return write
