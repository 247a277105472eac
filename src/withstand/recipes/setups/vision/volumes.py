"""What recipes on slices of volumes share: how deep a U-Net fits, and how the data are told of."""

import torch

from withstand.core.errors import ConfigError
from withstand.core.roles import Source
from withstand.models.dense.unet import PUBLISHED

_COARSEST = 6
"""Cells a side of the published network's coarsest map, which no map here falls below."""


def levels_of(side: int, levels: int | None) -> int:
    """Return the levels of a U-Net for slices of a side: those asked for, or as many as suit it, six at most.

    Raises:
        ConfigError: levels by which the side cannot be halved.
    """
    fitting = [count for count in range(2, len(PUBLISHED) + 1) if side % 2 ** (count - 1) == 0]
    if levels is None:
        return max([count for count in fitting if side >> (count - 1) >= _COARSEST] or fitting[:1])
    if levels not in fitting:
        shown = f"{min(fitting)} to {max(fitting)}" if fitting else "none: give another size"
        raise ConfigError(f"levels must fit slices of {side} pixels ({shown}), not {levels!r}")
    return levels


def channels_of(width: int, levels: int) -> tuple[int, ...]:
    """Return each level's channels, in the published proportions."""
    return tuple(width * channels // PUBLISHED[0] for channels in PUBLISHED[:levels])


def slices_of(source: Source) -> tuple[int, ...]:
    """Return how many slices each volume has, in the order of the data; nothing where there are no volumes."""
    volume = source.attributes.get("volume")
    return () if volume is None else tuple(torch.unique_consecutive(volume, return_counts=True)[1].tolist())
