"""Suspicion: scores of samples that may carry a trigger, from features. Higher is more suspicious; none is a proof.

Sizes: `N` samples, `D` feature width, `K` classes. Classes are labels, or the clusters of `pseudo_classes`.
"""

from collections.abc import Callable, Iterator

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.evaluation.probes.knn import neighbors

DIRECTIONS = 10
"""Principal directions that activations are brought to before they are clustered, as in the paper."""


def pseudo_classes(x: Tensor, count: int, *, seed: int = 0) -> Tensor:
    """Return clusters of features `(N, D)` by k-means on the unit sphere, int64 `(N,)`: classes where none are known.

    Raises:
        ConfigError: no clusters, or more than samples.
    """
    if not 1 <= count <= len(x):
        raise ConfigError(f"clusters must be from 1 to the {len(x)} samples, not {count!r}")
    found = KMeans(count, n_init=4, random_state=seed % 2**32).fit_predict(normalize(x.double(), dim=1).numpy())
    return torch.from_numpy(found).long()


def activation_clustering(x: Tensor, labels: Tensor, *, directions: int = DIRECTIONS, seed: int = 0) -> Tensor:
    """Return how small the half is that each sample falls in when its class is cut in two, float64 `(N,)`.

    1 less the half's share of its class: from 0.5 on for the smaller half. Features are brought to principal
    directions. Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering (2018), whose own directions
    are independent components. Classes of fewer than 4 samples score 0.

    Args:
        x: features `(N, D)`.
        labels: classes, int64 `(N,)`.
        directions: how many, at most.
        seed: of the first centers.
    """
    score = torch.zeros(len(x), dtype=torch.float64)
    for rows in _by_class(labels, least=4):
        part = _centered(x[rows])
        axes = torch.linalg.svd(part, full_matrices=False).Vh[:directions]
        halves = KMeans(2, n_init=10, random_state=seed % 2**32).fit_predict((part @ axes.T).numpy())
        half = torch.from_numpy(halves).long()
        shares = half.bincount(minlength=2).double() / len(rows)
        score[rows] = 1 - shares[half]
    return score


def spectral_signatures(x: Tensor, labels: Tensor) -> Tensor:
    """Return the squared projection of each sample on its class's first principal direction, float64 `(N,)`.

    Spectral Signatures in Backdoor Attacks (2018).

    Args:
        x: features `(N, D)`.
        labels: classes, int64 `(N,)`.
    """
    score = torch.zeros(len(x), dtype=torch.float64)
    for rows in _by_class(labels, least=2):
        part = _centered(x[rows])
        score[rows] = (part @ torch.linalg.svd(part, full_matrices=False).Vh[0]).square()
    return score


def deep_neighbours(x: Tensor, labels: Tensor, *, k: int = 20) -> Tensor:
    """Return the share of a sample's k nearest others that are of another class, float64 `(N,)`.

    Deep k-NN Defense against Clean-label Data Poisoning Attacks (2020).

    Args:
        x: features `(N, D)`; nearness is the cosine.
        labels: classes, int64 `(N,)`.
        k: how many neighbors; with fewer samples all others.
    """
    k = min(k, len(x) - 1)
    if k < 1:
        return torch.zeros(len(x), dtype=torch.float64)
    _, rows = neighbors(x, x, k + 1)
    itself = rows == torch.arange(len(x))[:, None]
    # Of equal samples the first is found first: drop oneself where one is, else the farthest.
    itself[~itself.any(1), -1] = True
    others = rows[~itself].view(len(x), k)
    return (labels[others] != labels[:, None]).double().mean(1)


def strip(
    probabilities: Callable[[Tensor], Tensor], x: Tensor, clean: Tensor, draws: Draws, *, blends: int = 8
) -> Tensor:
    """Return minus the mean entropy of predictions for blends of each sample with clean ones, in nats, float64 `(N,)`.

    A trigger that decides the prediction outlives the blend. STRIP: A Defence Against Trojan Attacks (2019).

    Args:
        probabilities: of classes `(n, K)`, for samples `(n, ...)`.
        x: samples in [0, 1], `(N, ...)`.
        clean: what they are blended with, half and half, `(M, ...)`.
        draws: a stream for each sample, which chooses the clean ones.
        blends: how many for each.
    """
    if blends < 1:
        raise ConfigError(f"blends must be at least 1, not {blends!r}")
    total = torch.zeros(len(x), dtype=torch.float64)
    for chosen in draws.integers(0, len(clean), blends).T:
        p = probabilities((x + clean[chosen]) / 2).double()
        total += torch.special.entr(p).sum(1).cpu()
    return -total / blends


def _by_class(labels: Tensor, least: int) -> Iterator[Tensor]:
    for label in torch.unique(labels):
        rows = (labels == label).nonzero()[:, 0]
        if len(rows) >= least:
            yield rows


def _centered(x: Tensor) -> Tensor:
    x = x.double()
    return x - x.mean(0)
