"""Clips: learn to enlarge them four times without flicker, and enlarge a new one.

python examples/clips.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

import withstand as ws


def films(folder: Path, clips: int, frames: int = 6, seed: int = 0) -> Path:
    """Write made-up clips, waves that move over the frame: a folder of numbered frames each."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:64, :64]
    for clip in range(clips):
        (folder / f"film {clip}").mkdir(parents=True, exist_ok=True)
        slopes = rng.uniform(0.1, 0.5, (3, 2))
        for place in range(frames):
            waves = [np.sin(up * (down + place) + side * (across - place)) for up, side in slopes]
            pixels = (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"film {clip}" / f"{place:02}.png")
    return folder


def main(out: Path = Path("runs/clips"), epochs: int = 10, clips: int = 3) -> Path:
    """Learn, judge, and return the folder of the enlarged clip."""
    small = {
        "frames": 3,
        "crop": 32,
        "width": 8,
        "blocks": 2,
        "flow_width": 4,
        "critic_width": 4,
        "first_epochs": epochs,
    }
    run = ws.train("tecogan", str(films(out.parent / "films", clips)), out=out, epochs=epochs, options=small)
    for finding in run.probe():
        print(finding)
    print(run.report())
    return run.apply_to(out.parent / "enlarged", str(films(out.parent / "new", 1, seed=1))).folder


if __name__ == "__main__":
    print(main())
