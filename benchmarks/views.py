"""Two SimCLR views of CIFAR-size pictures: ours against lightly, kornia and torchvision, in one process.

    python benchmarks/views.py [results.jsonl] [--threads 2] [--seconds 3]

Prints a table and, with a path, appends one JSON line a kind of work:
`{"work": ..., "ours": ..., "peers": {...}, "ratio": {...}}`, all rates in pictures (with two views each) a second.
Reads the CIFAR-10 subset below WITHSTAND_DATA where that is set, and draws random pictures otherwise.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.views import presets

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 512


def pictures(count: int) -> Tensor:
    """Return uint8 pictures `(count, 3, 32, 32)`."""
    folder = os.environ.get("WITHSTAND_DATA")
    if folder is None:
        return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with np.load(Path(folder) / "cifar10" / "cifar10_5k_2k.npz") as arrays:
        return torch.from_numpy(arrays["x_train"][:count]).permute(0, 3, 1, 2).contiguous()


def ours(x: Tensor) -> Callable[[], object]:
    views, index = presets.simclr_small(x.shape[-1]), torch.arange(len(x))
    epoch = 0

    def work() -> object:
        nonlocal epoch
        epoch += 1
        return views(Batch(x, index), Draws(0, index, epoch=epoch))

    return work


def lightly(x: Tensor) -> Callable[[], object]:
    from lightly.transforms import SimCLRTransform

    transform = SimCLRTransform(input_size=x.shape[-1], gaussian_blur=0.0)
    images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in x]
    return lambda: [transform(image) for image in images]


def torchvision(x: Tensor) -> Callable[[], object]:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(x.shape[-1], (0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return lambda: [(transform(picture), transform(picture)) for picture in x]


def kornia(x: Tensor) -> Callable[[], object]:
    import kornia.augmentation as K

    side = x.shape[-1]
    transform = K.AugmentationSequential(
        K.RandomResizedCrop((side, side), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    )
    return lambda: [transform(x.float().div_(255)) for _ in range(2)]


PEERS = {"lightly": (lightly, "oracles"), "kornia": (kornia, "timm"), "torchvision": (torchvision, None)}


def best_rates(works: dict[str, tuple[Callable[[], object], int]], seconds: float) -> dict[str, float]:
    """Return each work's best pictures a second, taking turns so that a busy moment strikes all alike."""
    best = dict.fromkeys(works, 0.0)
    for work, _ in works.values():
        work()  # warm up
    for _ in range(5):
        for name, (work, count) in works.items():
            end = time.perf_counter() + seconds / 5
            while True:
                start = time.perf_counter()
                work()
                now = time.perf_counter()
                best[name] = max(best[name], count / (now - start))
                if now >= end:
                    break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, help="file that gets one JSON line")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each contestant")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = pictures(BATCH)
    works = {"withstand": (ours(x), len(x))}
    for name, (make, extra) in PEERS.items():
        # Sample by sample a peer's rate does not depend on the count; the batched ones get the batch we get.
        part = x if name == "kornia" else x[:128]
        try:
            works[name] = (make(part), len(part))
        except ImportError:
            print(f"{name} is missing: pip install 'withstand[{extra}]'")
    rates = best_rates(works, options.seconds)
    mine = rates.pop("withstand")
    print(
        f"two SimCLR views, {x.shape[-1]} pixels, batch {len(x)}, {options.threads} threads, torch {torch.__version__}"
    )
    print(f"{'withstand':24s} {mine:9.0f} pictures/s")
    for name, rate in rates.items():
        print(f"{name + ' ' + version(name):24s} {rate:9.0f} pictures/s   {mine / rate:6.1f}x")
    if options.results is not None:
        line = {
            "work": "two SimCLR views of CIFAR-size pictures",
            "ours": mine,
            "peers": rates,
            "ratio": {name: mine / rate for name, rate in rates.items()},
        }
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
