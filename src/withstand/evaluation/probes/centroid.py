"""Nearest-centroid classification of frozen features: the probe without any parameter to choose."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.evaluation.features import Features


def centroids(train: Features, *, cosine: bool = True) -> tuple[Tensor, Tensor]:
    """Return class means `(K, D)` in float64, of unit-length features when `cosine`, and their classes `(K,)`."""
    classes, place, counts = torch.unique(train.labels, return_inverse=True, return_counts=True)
    x = train.x.double()
    x = normalize(x, dim=1) if cosine else x
    sums = x.new_zeros(len(classes), train.width).index_add_(0, place, x)
    return sums / counts[:, None], classes


def nearest_centroid(x: Tensor, means: Tensor, classes: Tensor, *, cosine: bool = True) -> Tensor:
    """Return the class of the nearest mean for features `(N, D)`, int64 `(N,)`; of equally near ones the first."""
    x = x.double()
    if cosine:
        return classes[(normalize(x, dim=1) @ normalize(means, dim=1).T).argmax(1)]
    return classes[(x @ means.T - means.square().sum(1) / 2).argmax(1)]
