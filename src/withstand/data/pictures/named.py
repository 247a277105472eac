"""Well-known picture sets by name."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError, nearest
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource, npz_parts
from withstand.data.derived.subset import Held
from withstand.data.pictures.fashion_mnist.small import FASHION_CLASSES, read_small
from withstand.data.shared.cache_folder import cache_folder
from withstand.data.shared.digest import digest

VARIABLE = "WITHSTAND_DATA"
"""Names the folder with compact files, `<set>/*.npz`."""

_REACH_SECONDS = 10.0


@dataclass(frozen=True)
class _Official:
    """A set that torchvision can fetch: its class there, its training and test sizes, and a host to try first."""

    name: str
    sizes: tuple[int, int]
    host: str


_OFFICIAL = {
    "fashion-mnist": _Official(
        "FashionMNIST", (60000, 10000), "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    ),
    "mnist": _Official("MNIST", (60000, 10000), "https://ossci-datasets.s3.amazonaws.com/"),
    "cifar10": _Official("CIFAR10", (50000, 10000), "https://www.cs.toronto.edu/"),
    "cifar100": _Official("CIFAR100", (50000, 10000), "https://www.cs.toronto.edu/"),
}

NAMES: tuple[str, ...] = (*_OFFICIAL, "digits", "fashion-mnist-small")


class NamedSource(Source):
    """A well-known labelled picture set.

    | name | pictures |
    |---|---|
    | `fashion-mnist`, `mnist` | 60,000 + 10,000, 28x28 grey |
    | `cifar10`, `cifar100` | 50,000 + 10,000, 32x32 color |
    | `digits` | 1,438 + 359, 8x8 grey, bundled with scikit-learn; the split is `holdout(..., 0.2, seed=0)` |
    | `fashion-mnist-small` | 10,000 + 2,000 of `fashion-mnist`, inside this package |

    The first four come from the compact file `$WITHSTAND_DATA/<name>/*.npz` where there is one (the largest if
    there are several; keys `x_train`, `y_train`, `x_test`, `y_test`, perhaps `classes`), else from torchvision's
    official files in the user's cache folder, which are downloaded once. `origin` says which it was, and how
    much of the official set it is; the fingerprint depends on it.

    Args:
        name: one of the names above.
        split: `train` or `test`.

    Raises:
        DataError: an unknown name or split, or a set that is neither here nor within reach.
    """

    kind = "picture"

    def __init__(self, name: str, split: str = "train") -> None:
        if name not in NAMES:
            raise DataError(f"there is no data set {name!r}: {nearest(name, NAMES)}")
        if split not in ("train", "test"):
            raise DataError(f"{name} has no split {split!r}: 'train' or 'test'")
        self.name, self.split = name, split
        self.origin, self._inner = _resolve(name, split)

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, indices: Indices) -> Batch:
        return self._inner[indices]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._inner.shape

    @property
    def labels(self) -> Tensor | None:
        return self._inner.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._inner.classes

    def fingerprint(self) -> str:
        return digest(self, self.origin)

    def __reduce__(self) -> tuple[Callable[[], "NamedSource"], tuple[()]]:
        return partial(NamedSource, self.name, self.split), ()


def _resolve(name: str, split: str) -> tuple[str, Source]:
    """Return where the set was found, in words without paths, and its source."""
    if name == "digits":
        return "scikit-learn's bundled digits", _digits(split)
    if name == "fashion-mnist-small":
        pictures, labels = read_small(split)
        return (
            f"embedded in withstand: {len(pictures):,} of the {_whole('fashion-mnist', split):,} {split} pictures",
            ArraySource(pictures, labels, layout="NHW", classes=FASHION_CLASSES),
        )
    compact = _compact(name)
    if compact is not None:
        source = ArraySource(compact, split=split)
        return (
            f"{VARIABLE}: {name}/{compact.name}, {len(source):,} of the {_whole(name, split):,} {split} pictures",
            source,
        )
    return f"official: all {_whole(name, split):,} {split} pictures", _official(name, split)


def _whole(name: str, split: str) -> int:
    return _OFFICIAL[name].sizes[split == "test"]


def _compact(name: str) -> Path | None:
    """Return the set's compact file, or None where the variable is not set or has no such file."""
    base = os.environ.get(VARIABLE)
    if not base:
        return None
    if not Path(base).is_dir():
        raise DataError(f"{VARIABLE}={base!r} is not a folder: correct or unset it")
    found = [path for path in sorted((Path(base) / name).glob("*.npz")) if {"train", "test"} <= set(npz_parts(path))]
    return max(found, key=lambda path: path.stat().st_size, default=None)


def _digits(split: str) -> Source:
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    scaled = np.rint(pictures.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Held(ArraySource(scaled, labels, classes=tuple("0123456789")), split)


def _official(name: str, split: str) -> Source:
    """Return torchvision's copy, fetched into the cache folder when it is not there yet."""
    from torchvision import datasets

    official = _OFFICIAL[name]
    root = cache_folder() / "datasets"
    open_set = partial(getattr(datasets, official.name), root, train=split == "train")
    try:
        found = open_set(download=False)
    except Exception as error:
        if "download=True" in str(error):  # how torchvision says that the files are not there
            return _arrays(_download(name, official, root, open_set))
        # Half-written files fail in as many ways as there are formats; the remedy is the same.
        reason = " ".join(str(error).split())
        raise DataError(f"the copy of {name} under {str(root)!r} is damaged ({reason}): delete it") from error
    return _arrays(found)


def _arrays(found: Any) -> Source:
    return ArraySource(found.data, found.targets, classes=found.classes)


def _download(name: str, official: _Official, root: Path, open_set: Callable[..., object]) -> object:
    try:
        # torchvision has no time limit of its own, and a firewall may swallow what it asks.
        urlopen(Request(official.host, method="HEAD"), timeout=_REACH_SECONDS).close()
    except HTTPError:
        pass  # an answer, so the network is there
    except OSError as error:
        raise DataError(_remedies(name, root, error)) from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        return open_set(download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(_remedies(name, root, error)) from None


def _remedies(name: str, root: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())
    small = ", or use 'fashion-mnist-small', which is inside withstand" if name == "fashion-mnist" else ""
    return (
        f"{name} is not on this machine and cannot be downloaded ({reason}): set {VARIABLE} to a folder with "
        f"{name}/*.npz, or run once where there is a network and copy {str(root)!r}{small}"
    )
