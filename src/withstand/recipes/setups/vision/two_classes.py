"""Two classes of a labelled set, for classifiers that know no more."""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.random import Draws, derive
from withstand.evaluation.features import Features


def two_classes(
    train: Features, test: Features, first: int, second: int, *, most: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, y of train and of test for two classes, float64, labels 0 and 1.

    Args:
        train: labelled training features.
        test: labelled test features.
        first: the class that becomes 0.
        second: the class that becomes 1.
        most: samples a class in train, drawn by the seed; None for all.
        seed: of the choice and of the order.

    Raises:
        DataError: a class has no samples.
    """
    parts: list[Tensor] = []
    for features, limit in ((train, most), (test, None)):
        chosen = []
        for label in (first, second):
            rows = (features.labels == label).nonzero()[:, 0]
            if not len(rows):
                raise DataError(f"there are no samples of class {label}")
            order = Draws(derive(seed, "tilting"), features.index[rows]).uniform(1)[:, 0].argsort()
            chosen.append(rows[order][:limit])
        rows = torch.cat(chosen)
        parts += [features.x[rows].double(), (features.labels[rows] == second).long()]
    return parts[0], parts[1], parts[2], parts[3]


def flipped(y: Tensor, share: float, seed: int) -> Tensor:
    """Return labels 0 and 1 with a share of each class's flipped."""
    order = Draws(derive(seed, "flipped"), torch.arange(len(y))).uniform(1)[:, 0]
    changed = y.clone()
    for label in (0, 1):
        rows = (y == label).nonzero()[:, 0]
        changed[rows[order[rows].argsort()[: round(share * len(rows))]]] = 1 - label
    return changed
