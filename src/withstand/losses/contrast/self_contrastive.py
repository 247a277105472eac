"""Contrast between levels of one network: what a sample gives at an early exit and at the end are views of it.

Self-Contrastive Learning: Single-viewed Supervised Contrastive Framework using Sub-network (SelfCon, 2023), as ImagiNet
(2024) trains detectors of synthetic pictures by it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row
from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.losses.temperature import Temperature


def self_contrastive(
    levels: Sequence[Tensor],
    groups: Tensor | None = None,
    temperature: Temperature = 0.07,
    *,
    base_temperature: float | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """Return the supervised contrastive loss over all levels' rows, times tau over the base temperature, 0-d.

    Every row of every level is an anchor; its positives are the other levels of the same sample, and all levels of
    samples of its group. Two levels without groups give NT-Xent of the two. Rows that are all alike give
    `log(V B - 1)`.

    Args:
        levels: projections of V levels, `(B, D)` each, unnormalised.
        groups: int64 `(B,)`, each at least 0; None where every sample is alone in its group.
        temperature: tau, above 0.
        base_temperature: of the factor; None for tau itself, which leaves the factor out.
        kept: which samples count, bool `(B,)`; None for all. Where none does, the loss is 0.

    Raises:
        DataError: no levels, or levels of different shapes.
        ConfigError: a base temperature that is not above 0.
    """
    if not levels or len({level.shape for level in levels}) != 1:
        raise DataError(f"levels need projections of one shape (B, D), not {[tuple(level.shape) for level in levels]}")
    if base_temperature is not None and not base_temperature > 0:
        raise ConfigError(f"base_temperature must be above 0, not {base_temperature!r}")
    samples, count = len(levels[0]), len(levels)
    if groups is None:
        groups = torch.arange(samples, device=levels[0].device) + first_row(samples)
    loss = supervised_contrastive(
        torch.cat(list(levels)),
        groups.repeat(count),
        temperature,
        kept=None if kept is None else kept.repeat(count),
    )
    return loss if base_temperature is None else loss * (temperature / base_temperature)
