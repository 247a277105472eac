"""Parts of a labelled feature set, drawn by (seed, index): the order of the samples changes none of them."""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.random import Draws, derive
from withstand.evaluation.features import Features


def ranks_within_class(features: Features, *words: int | str) -> Tensor:
    """Return each sample's place, from 0, in a random order of its class, int64 `(N,)`.

    The order is drawn by the words, as in `derive`, and each sample's index.
    """
    labels = features.labels
    keys = Draws(derive("split", *words), features.index).bits(1)[:, 0]
    order = keys.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order)) - starts[labels[order]]
    return ranks


def hold_out(features: Features, share: float, *words: int | str) -> tuple[Features, Features]:
    """Return (kept, held out), stratified: `share` of each class is held out, and one sample at least stays.

    Raises:
        DataError: no class has two samples, so that nothing can be held out.
    """
    counts = torch.bincount(features.labels)
    taken = torch.minimum((counts * share).round().long().clamp_min(1), counts - 1)
    out = ranks_within_class(features, "hold out", *words) < taken[features.labels]
    if not bool(out.any()):
        raise DataError("no class has two labelled samples, so none can be held out: label more")
    return features[~out], features[out]


def per_class(features: Features, count: int, *words: int | str) -> Features:
    """Return `count` samples of each class that occurs.

    Raises:
        DataError: a class has fewer.
    """
    counts = torch.bincount(features.labels)
    least = int(counts[counts > 0].min())
    if least < count:
        raise DataError(f"{count} samples a class were asked for, but one class has only {least}")
    return features[ranks_within_class(features, "per class", *words) < count]
