"""Rows of a table: learn features without the target, probe them, embed rows that come later.

python examples/table.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

import withstand as ws


def people(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return made-up rows: two numbers, two categories, and a target that hangs on all of them."""
    rng = np.random.default_rng(seed)
    age, hours = rng.integers(18, 70, rows), rng.normal(38, 8, rows).round(1)
    work, city = rng.choice(["office", "field", "home"], rows), rng.choice(["Lyon", "Turin", "Ghent", None], rows)
    score = age / 20 + hours / 10 + np.where(work == "office", 2.0, 0.0) + rng.normal(0, 0.5, rows)
    return pd.DataFrame({"age": age, "hours": hours, "work": work, "city": city, "income": score > np.median(score)})


def main(out: Path = Path("runs/people"), epochs: int = 20, rows: int = 1000) -> np.ndarray:
    """Learn, probe, and return the features of new rows, float32 `(20, width)`."""
    run = ws.train("t-jepa", people(rows), out=out, epochs=epochs, options={"target": "income"})
    for finding in run.probe():  # each beside an untrained encoder
        print(finding)
    later = run.embed(people(20, seed=1))  # columns as the run learnt them; new categories are counted
    print(run.report())
    return later.x.numpy()


if __name__ == "__main__":
    print(main().shape)
