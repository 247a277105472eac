"""NT-Xent forward and backward against the plain formula, and its memory where the plain formula has none to spare.

    python benchmarks/nt_xent.py [RESULTS.jsonl]

Prints a table; with a path, appends one JSON line a row: {"work", "ours", "peers", "ratio"}, where a ratio is ours
over the peer's. Times are the best of several runs, taken in turns so that a busy machine slows all alike. Memory is
the growth of the resident set's high-water mark in a fresh process, which counts everything, whoever allocates it.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from withstand.losses.contrast.contrastive import nt_xent

WIDTH = 128
TEMPERATURE = 0.2


def plain(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """The usual ten lines: the whole 2N x 2N matrix, masked, and a cross-entropy."""
    z, count = normalize(torch.cat([z1, z2]), dim=1), len(z1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * count, dtype=torch.bool), -torch.inf)
    return cross_entropy(logits, torch.arange(2 * count).roll(count))


def losses() -> dict[str, Callable[[Tensor, Tensor, float], Tensor]]:
    found: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"ours": nt_xent, "plain": plain}
    try:
        from lightly.loss import NTXentLoss
    except ImportError:
        return found
    return found | {"lightly": lambda z1, z2, temperature: NTXentLoss(temperature)(z1, z2)}


def step(loss: Callable[[Tensor, Tensor, float], Tensor], z1: Tensor, z2: Tensor) -> float:
    """Return the seconds of one forward and backward pass."""
    z1.grad = z2.grad = None
    start = time.perf_counter()
    loss(z1, z2, TEMPERATURE).backward()
    return time.perf_counter() - start


def projections(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(count, WIDTH, generator=generator).requires_grad_() for _ in range(2))
    return z1, z2


def seconds(count: int, names: list[str], repeats: int) -> dict[str, float]:
    chosen = {name: loss for name, loss in losses().items() if name in names}
    z1, z2 = projections(count)
    best = dict.fromkeys(chosen, float("inf"))
    for _ in range(repeats + 1):  # the first round warms up, and can only be slower
        for name, loss in chosen.items():
            best[name] = min(best[name], step(loss, z1, z2))
    return best


def _status(field: str) -> float:
    """Return a line of this process's status in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def _measure(name: str, count: int, answer: "multiprocessing.Queue[float]") -> None:
    loss = losses()[name]
    step(loss, *projections(64))  # load the libraries that both passes use
    z1, z2 = projections(count)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = _status("VmRSS")
    step(loss, z1, z2)
    answer.put(_status("VmHWM") - before)


def extra_mebibytes(name: str, count: int) -> float:
    """Return how far one step raises the process's memory, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=_measure, args=(name, count, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def row(work: str, found: dict[str, float]) -> dict[str, object]:
    ours = found.pop("ours")
    return {"work": work, "ours": ours, "peers": found, "ratio": {name: ours / value for name, value in found.items()}}


def main(path: str | None = None) -> None:
    names = list(losses())
    rows = [
        row(f"NT-Xent, {count} pairs, width {WIDTH}: forward + backward, s", seconds(count, names, repeats))
        for count, repeats in ((256, 200), (1024, 30), (4096, 4))
    ]
    rows += [
        row("NT-Xent, 16384 pairs: forward + backward, s", seconds(16_384, ["ours"], 2)),
        row("NT-Xent, 4096 pairs: peak extra memory, MiB", {name: extra_mebibytes(name, 4096) for name in names}),
        row("NT-Xent, 16384 pairs: peak extra memory, MiB", {"ours": extra_mebibytes("ours", 16_384)}),
    ]
    for line in rows:
        peers = "   ".join(
            f"{name} {value:.4g} ({1 / line['ratio'][name]:.1f}x)" for name, value in line["peers"].items()
        )
        print(f"{line['work']:<62} ours {line['ours']:.4g}   {peers}")
    if path is not None:
        with Path(path).open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in rows)


if __name__ == "__main__":
    main(*sys.argv[1:2])
