"""Make the embedded subset of Fashion-MNIST from the official idx files; run once, kept for the record.

    python tools/make_fashion_mnist_small.py FOLDER

FOLDER holds the four official `*-ubyte.gz` files, for example `usr/share/datasets/fashion-mnist` of Debian's
package `dataset-fashion-mnist` after `dpkg -x`. From each class 1,000 training and 200 test pictures are drawn by a
fixed permutation, and shuffled by another. Pictures go into one greyscale PNG mosaic a split (100 pictures to a
row); of the lossless formats that Pillow or NumPy read by themselves, on the training pictures:

    PNG mosaic 4.07 MB, decoded in 0.08 s    WebP lossless mosaic 3.96 MB, 0.11 s    deflated npz 4.37 MB
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from withstand.core.random import permutation

TARGET = Path(__file__).parents[1] / "src" / "withstand" / "data" / "pictures" / "fashion_mnist"
NAME = "fashion_mnist_small"
ACROSS = 100
"""Pictures in a row of the mosaic."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in a gzipped idx file of unsigned bytes."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def balanced(labels: NDArray[np.uint8], each: int, split: str) -> NDArray[np.int64]:
    """Return the places of `each` samples of every class, in a fixed mixed order."""
    chosen = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        chosen.append(places[permutation(len(places), NAME, split, int(label)).numpy()[:each]])
    rows = np.concatenate(chosen)
    return rows[permutation(len(rows), NAME, split, "order").numpy()]


def mosaic(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay pictures `(N, H, W)` out as one, `ACROSS` to a row."""
    count, height, width = pictures.shape
    grid = pictures.reshape(count // ACROSS, ACROSS, height, width).swapaxes(1, 2)
    return grid.reshape(count // ACROSS * height, ACROSS * width)


def main(folder: Path) -> None:
    """Write the two mosaics, and the labels with each picture's row in the official set."""
    tables = {}
    for split, prefix, each in (("train", "train", 1000), ("test", "t10k", 200)):
        pictures = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        rows = balanced(labels, each, split)
        Image.fromarray(mosaic(pictures[rows])).save(TARGET / f"{NAME}.{split}.png", optimize=True)
        tables |= {f"y_{split}": labels[rows], f"row_{split}": rows.astype(np.uint16)}
    np.savez_compressed(TARGET / f"{NAME}.npz", **tables)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
