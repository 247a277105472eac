"""Cleansing: a source without its most suspicious samples."""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.roles import Source
from withstand.data.derived.subset import Subset


def cleansed(source: Source, suspicion: Tensor, share: float) -> Subset:
    """Return a source without the most suspicious share of its samples; of equal ones the earlier stay.

    Args:
        source: the samples.
        suspicion: their scores `(N,)`, higher for more suspicious ones.
        share: of all samples that go, rounded down; half as much again as is thought to be poisoned is usual.

    Raises:
        ConfigError: a share outside [0, 1), or another number of scores.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"share must lie in [0, 1), not {share!r}")
    if suspicion.shape != (len(source),):
        raise ConfigError(f"there must be one score for each of {len(source)} samples, not {tuple(suspicion.shape)}")
    gone = int(share * len(source) + 1e-9)
    kept = torch.sort(suspicion, stable=True).indices[: len(source) - gone]
    return Subset(source, kept.sort().values)
