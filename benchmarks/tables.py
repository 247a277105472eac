"""A large CSV read and encoded here, beside pandas' own read of it, which leaves text as it is (extra: table).

Run: python -m benchmarks.tables [OUT.jsonl] [--rows 1000000] [--rounds 3]

Forty columns: 20 of decimals, 10 of whole numbers, 10 of words. Ours finds encoding, dialect, header and kinds by a
look at every field, refuses what it would have to guess, and ends with rows that a network takes. Each side's best of
some rounds, one after the other, in one process.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
import torch

from withstand.data.tables.source import TableSource


def write(path: Path, rows: int) -> None:
    draws = np.random.default_rng(0)
    columns = {f"decimal {place}": np.round(draws.normal(size=rows), 4) for place in range(20)}
    columns |= {f"whole {place}": draws.integers(0, 10 ** (1 + place % 5), rows) for place in range(10)}
    for place in range(10):
        names = np.array([f"kind {number}" for number in range(3 * (place + 1) ** 2)])
        columns[f"words {place}"] = names[draws.integers(0, len(names), rows)]
    pyarrow.csv.write_csv(pyarrow.table(columns), path)


def best(read: Callable[[], object], rounds: int) -> float:
    """Return the fewest seconds."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        read()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def measure(rows: int, rounds: int) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write(path, rows)
        ours, theirs = best(lambda: TableSource(path), rounds), best(lambda: pd.read_csv(path), rounds)
    return {
        "work": f"rows of a CSV of {rows:,} x 40, read and encoded, {torch.get_num_threads()} thread(s)",
        "ours": rows / ours,
        "peers": {"pandas, read alone": rows / theirs},
        "ratio": {"pandas, read alone": theirs / ours},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    record = json.dumps(measure(options.rows, options.rounds))
    print(record)
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(record + "\n")


if __name__ == "__main__":
    main()
