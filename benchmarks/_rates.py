"""Rates of two sides of one run: the fewest seconds of some rounds, and a record for the page of benchmarks."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch


def best(run: Callable[[], object], rounds: int) -> float:
    """Return the fewest seconds."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def keep(work: str, count: int, seconds: float, peer: str, other: float, out: Path | None) -> None:
    """Print a record of `count` things done by either side, and add it to a file where there is one."""
    record = {
        "work": f"{work}, {torch.get_num_threads()} thread(s)",
        "ours": count / seconds,
        "peers": {peer: count / other},
        "ratio": {peer: other / seconds},
    }
    print(json.dumps(record))
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
