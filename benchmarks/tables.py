"""A large CSV read and encoded here, beside pandas' own read of it, which leaves text as it is (extra: table).

Run: python -m benchmarks.tables [OUT.jsonl] [--rows 1000000] [--rounds 3]

Forty columns: 20 of decimals, 10 of whole numbers, 10 of words. Ours finds encoding, dialect, header and kinds by a
look at every field, refuses what it would have to guess, and ends with rows that a network takes. Each side's best of
some rounds, one after the other, in one process.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv

from benchmarks._rates import best, keep
from withstand.data.tables.source import TableSource


def write(path: Path, rows: int) -> None:
    draws = np.random.default_rng(0)
    columns = {f"decimal {place}": np.round(draws.normal(size=rows), 4) for place in range(20)}
    columns |= {f"whole {place}": draws.integers(0, 10 ** (1 + place % 5), rows) for place in range(10)}
    for place in range(10):
        names = np.array([f"kind {number}" for number in range(3 * (place + 1) ** 2)])
        columns[f"words {place}"] = names[draws.integers(0, len(names), rows)]
    pyarrow.csv.write_csv(pyarrow.table(columns), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write(path, options.rows)
        ours, theirs = (best(read, options.rounds) for read in (lambda: TableSource(path), lambda: pd.read_csv(path)))
    work = f"rows of a CSV of {options.rows:,} x 40, read and encoded"
    keep(work, options.rows, ours, "pandas, read alone", theirs, options.out)


if __name__ == "__main__":
    main()
