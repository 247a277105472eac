"""Small parts that tests train and attack; importable as `toys` (see pythonpath in pyproject.toml)."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.random import derive
from withstand.core.roles import Indices, Method, Source
from withstand.data.pictures.folder import ImageFolder
from withstand.data.tables.source import TableSource
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import SGD, Optimizer
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.views.presets import simclr_small


class ToyPictures(Source):
    """Random pictures with labels, the same for the same seed."""

    kind = "picture"

    def __init__(self, count: int = 64, channels: int = 3, size: int = 16, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(derive("toy", seed))
        self._x = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
        self._y = torch.arange(count) % 4
        self.seed = seed

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        return Batch(self._x[rows], rows, self._y[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape[1:])

    @property
    def labels(self) -> Tensor:
        return self._y

    @property
    def classes(self) -> tuple[str, ...]:
        return ("a", "b", "c", "d")

    def fingerprint(self) -> str:
        return f"toy-{len(self)}-{self.seed}"


def toy_photos(folder: Path, count: int, *, cache_size: int | None = 32) -> ImageFolder:
    """Return pictures of 16 x 16 of photos of several sizes, which are made below a folder."""
    place = folder / "photos"
    if not place.exists():
        place.mkdir(parents=True)
        draws = np.random.default_rng(0)
        for number in range(count):
            sides = int(draws.integers(20, 60)), int(draws.integers(20, 60)), 3
            Image.fromarray(draws.integers(0, 256, sides, dtype=np.uint8)).save(place / f"{number:03}.png")
    return ImageFolder(place, 16, cache=folder / "cache", cache_size=cache_size)


def toy_rows(count: int = 16, seed: int = 0) -> TableSource:
    """Return rows with five columns, numbers and words, some missing, and labels."""
    draws = np.random.default_rng(seed)
    words = np.array(["red", "green", "blue", ""])
    columns = {
        "age": draws.integers(18, 80, count),
        "color": words[np.arange(count) % 4],
        "weight": np.where(np.arange(count) % 5 == 0, np.nan, draws.normal(70, 9, count)),
        "size": np.array(["small", "large"])[draws.permutation(count) % 2],
        "height": draws.normal(170, 9, count),
        "answer": np.array(["no", "yes"])[draws.permutation(count) % 2],
    }
    return TableSource(columns, target="answer")


def toy_method(kind: type[Method] = SimCLR, **settings: object) -> Method:
    """Return a method round a very narrow ResNet."""
    return kind(Normalized(ResNet(4, 10), (0.5,) * 3, (0.25,) * 3), dim=16, **settings)


def toy_experiment(
    *,
    epochs: int = 3,
    batch: int = 16,
    count: int = 64,
    seed: int = 0,
    optimizer: Optimizer | None = None,
    method: Method | None = None,
    **plan: object,
) -> Experiment:
    """Return a few seconds' experiment with fixed numerics."""
    settings: dict[str, object] = {"precision": "float32", "layout": "contiguous", "log_every": 1} | plan
    return Experiment(
        "toy",
        ToyPictures(count),
        simclr_small(16),
        method or toy_method(),
        Plan(epochs=epochs, batch=batch, seed=seed, optimizer=optimizer or SGD(0.05), **settings),
    )


def weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a run's last checkpoint."""
    from safetensors.torch import load_file

    return load_file(sorted((folder / "checkpoint").glob("step-*"))[-1] / "model.safetensors")
