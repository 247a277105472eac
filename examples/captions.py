"""Pictures with captions: learn both together, find pictures by words, and tell classes that no label named.

python examples/captions.py
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import withstand as ws
from withstand.core.findings.finding import Finding

COLORS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 40)}
SHAPES = ("circle", "square")


def album(folder: Path, samples: int = 80, seed: int = 0) -> Path:
    """Write made-up pictures of colored shapes, and what is to be seen on each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place in range(samples):
        color, shape = list(COLORS)[place % 4], SHAPES[place // 4 % 2]
        left, top, side = (int(number) for number in rng.integers((0, 0, 12), (12, 12, 20)))
        picture = Image.new("RGB", (32, 32), (235, 235, 235))
        draw = ImageDraw.Draw(picture)
        paint = draw.ellipse if shape == "circle" else draw.rectangle
        paint((left, top, left + side, top + side), fill=COLORS[color])
        picture.save(folder / f"{place:03}.png")
        rows.append((f"{place:03}.png", f"a {color} {shape} on paper"))
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    return folder


def main(out: Path = Path("runs/captions"), epochs: int = 10, pictures: int = 80) -> list[Finding]:
    """Learn, and return how well pictures and captions find each other."""
    told = {"size": 32, "batch": 16, "model": "resnet", "width": 8}
    run = ws.train("clip-rocket", str(album(out.parent / "album", pictures)), out=out, epochs=epochs, options=told)
    findings = run.probe()
    for finding in findings:
        print(finding)
    print(run.report())
    return findings


if __name__ == "__main__":
    main()
