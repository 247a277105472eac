"""Volumes with few masks: learn to outline structures, and write the masks of new volumes.

python examples/volumes.py
"""

from pathlib import Path

import numpy as np

import withstand as ws


def scans(path: Path, volumes: int, seed: int = 0) -> Path:
    """Write made-up volumes with a bright ball in each, and its mask."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"))
    centres = rng.uniform(10, 22, (volumes, 3, 1, 1, 1))
    masks = (np.square(grid[None] - centres).sum(1) < 49).astype(np.uint8)
    x = (60 + 120 * masks + rng.normal(0, 12, masks.shape)).clip(0, 255).astype(np.uint8)
    np.savez(path, x=x, y=masks)
    return path


def main(out: Path = Path("runs/scans"), epochs: int = 20, volumes: int = 6) -> Path:
    """Learn, judge, and return the folder of the new volumes' masks."""
    run = ws.train("segmentation", str(scans(out.parent / "scans.npz", volumes)), out=out, epochs=epochs)
    for finding in run.probe():
        print(finding)
    print(run.report())
    return run.apply_to(out.parent / "masks", str(scans(out.parent / "new.npz", 1, seed=1))).folder


if __name__ == "__main__":
    print(main())
