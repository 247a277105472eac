"""Clusters of features: what methods that group samples by an encoder share."""

import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from withstand.core.devices.distributed import as_on_first_process
from withstand.core.errors import ConfigError


def k_means_labels(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Return each sample's cluster, int64 `(N,)` on the features' device; every process gets the first one's.

    Args:
        features: `(N, D)`.
        clusters: K.
        seed: of the first centres.
    """
    # Lloyd's sums over several threads round differently from one time to the next, and a resumed run must not.
    with threadpool_limits(1):
        fitted = KMeans(clusters, n_init=1, random_state=seed % 2**32).fit(features.detach().cpu().double().numpy())
    return as_on_first_process(torch.from_numpy(fitted.labels_).to(features.device, torch.int64))


def refuse_few_samples(samples: int, clusters: int) -> None:
    """Refuse fewer samples than clusters.

    Raises:
        ConfigError: with the largest number that fits.
    """
    if samples < clusters:
        raise ConfigError(f"clusters {clusters} are more than the {samples} samples: use {samples} or fewer")
