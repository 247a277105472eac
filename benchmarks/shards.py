"""Tar shards beside a folder of as many small files: seconds to the first batch, and pictures a second after it.

python benchmarks/shards.py [results.jsonl] [COUNT]
"""

import io
import json
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from withstand.core.random import permutation
from withstand.core.roles import Source
from withstand.data.pictures.folder import ImageFolder
from withstand.data.pictures.shards.source import Shards

SIZE, BATCH, EACH = 32, 256, 10_000


def contents() -> list[bytes]:
    """Return some JPEG files of 36 x 36 pixels."""
    draws, found = np.random.default_rng(0), []
    for _ in range(100):
        content = io.BytesIO()
        Image.fromarray(draws.integers(0, 256, (36, 36, 3), dtype=np.uint8)).save(content, "JPEG")
        found.append(content.getvalue())
    return found


def write(folder: Path, count: int) -> None:
    some = contents()
    (folder / "files").mkdir()
    (folder / "shards").mkdir()
    for first in range(0, count, EACH):
        with tarfile.open(folder / "shards" / f"{first // EACH:05d}.tar", "w") as archive:
            for number in range(first, min(first + EACH, count)):
                content = some[number % len(some)]
                (folder / "files" / f"{number:06d}.jpg").write_bytes(content)
                member = tarfile.TarInfo(f"{number:06d}.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def timed(make: type[ImageFolder] | type[Shards], path: Path, cache: Path, count: int) -> dict[str, float]:
    """Return seconds to the first batch, and the pictures a second of three epochs."""
    start = time.perf_counter()
    source: Source = make(path, SIZE, cache=cache)
    source[permutation(count, 0)[:BATCH]]
    first = time.perf_counter() - start
    found = {"first batch, seconds": first}
    for epoch in range(3):
        began = start if epoch == 0 else time.perf_counter()
        for rows in permutation(count, epoch).split(BATCH):
            source[rows]
        found[f"epoch {epoch + 1}, pictures a second"] = count / (time.perf_counter() - began)
    return found


def main(path: str | None = None, count: str = "200000") -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, int(count))
        ours = timed(Shards, folder / "shards", folder / "a", int(count))
        files = timed(ImageFolder, folder / "files", folder / "b", int(count))
    for work, value in ours.items():
        print(f"{work}: shards {value:,.1f}, folder {files[work]:,.1f}")
        if path is not None:
            with Path(path).open("a") as file:
                line = {"work": f"shards, {work}", "ours": value, "peers": {"folder": files[work]}, "ratio": {}}
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
