"""The real pictures inside this package: 10,000 + 2,000 of Fashion-MNIST, balanced, lossless.

Chosen and written by `tools/make_fashion_mnist_small.py`; MIT licence, Zalando SE, in
`fashion_mnist_small.LICENSE`.
"""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 28
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_small(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pictures `(N, 28, 28)` and labels `(N,)` of `train` or `test`."""
    folder = files("withstand.data.pictures.fashion_mnist")
    with folder.joinpath(f"fashion_mnist_small.{split}.png").open("rb") as file:
        mosaic = np.asarray(Image.open(file))
    with folder.joinpath("fashion_mnist_small.npz").open("rb") as file, np.load(file, allow_pickle=False) as tables:
        labels = tables[f"y_{split}"]
    tall, wide = mosaic.shape[0] // SIDE, mosaic.shape[1] // SIDE
    pictures = mosaic.reshape(tall, SIDE, wide, SIDE).swapaxes(1, 2).reshape(tall * wide, SIDE, SIDE)
    return pictures, labels
