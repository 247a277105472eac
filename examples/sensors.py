"""Recordings of several devices: learn from moments that they share, with no labels.

python examples/sensors.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

import withstand as ws
from withstand.evaluation.features import Features


def recordings(folder: Path, people: int = 3, seconds: int = 60, rate: int = 20, seed: int = 0) -> Path:
    """Write made-up recordings, one folder a person, one CSV a device: both devices feel the same walk."""
    rng = np.random.default_rng(seed)
    time = np.arange(seconds * rate) / rate
    for person in range(people):
        walk = np.sin(2 * np.pi * (1 + 0.5 * np.sin(time / 8 + person)) * time)
        place = folder / f"person-{person}"
        place.mkdir(parents=True, exist_ok=True)
        for device, gain in (("wrist", 1.5), ("hip", 0.7)):
            axes = {f"acc_{axis}": gain * walk + rng.normal(0, 0.2, time.size) for axis in "xyz"}
            pd.DataFrame({"time": time, **axes}).to_csv(place / f"{device}.csv", index=False)
    return folder


def main(out: Path = Path("runs/walks"), epochs: int = 10) -> Features:
    """Learn, and return the features of the wrist's windows."""
    data = recordings(out.parent / "recordings")
    told = {"anchor": "wrist", "seconds": 2, "batch": 32}
    run = ws.train("collossl", str(data), out=out, epochs=epochs, options=told)
    print(run.report())
    return run.embed()


if __name__ == "__main__":
    print(main())
