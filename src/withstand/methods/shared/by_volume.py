"""What methods on slices of volumes need: which volume and partition each slice is of, and data that fit."""

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Source

EXAMPLE = (8, 8)
"""Slices of the volumes that examples are of: 16 places, of which eight make a batch."""


def volumes_in_batches(source: Source, slices: tuple[int, ...], partitions: int, fewest: int = 2) -> int:
    """Return how many volumes have a slice in every partition, so that batches can hold them.

    Refuses data that are not slices of as many volumes, of so many slices each, one volume after the other.

    Raises:
        DataError: no volumes, or fewer than `fewest` with a slice in every partition.
        ConfigError: other numbers of slices.
    """
    volume = source.attributes.get("volume")
    if volume is None or len(source.shape) != 3:
        raise DataError(f"this method learns from slices of volumes, and {source.name} holds {source.kind}s")
    counts = torch.unique_consecutive(volume, return_counts=True)[1].tolist()
    if tuple(counts) != slices:
        theirs = f"{len(counts)} volumes of {len(volume)} slices"
        raise ConfigError(f"slices tells of {len(slices)} volumes of {sum(slices)}, and the data are {theirs}")
    whole: int = sum(count >= partitions for count in counts)
    if whole < fewest:
        deepest = sorted(counts)[-fewest] if len(counts) >= fewest else 0
        remedy = f", or use {deepest} partitions" if deepest > 1 else ""
        raise DataError(
            f"{whole} of {len(counts)} volumes have a slice in each of {partitions} partitions, and a step compares "
            f"{fewest}: give more volumes{remedy}"
        )
    return whole


def other_slots(rows: int, partitions: int, shift: int) -> Tensor:
    """Return, for each row of a batch of volumes, the row of the same partition some volumes further on, cyclically."""
    return (torch.arange(rows) + shift * partitions) % rows


def partner_rows(rows: int, partitions: int) -> Tensor:
    """Return, for each row of a batch of volumes, the row of the same partition in its volume's partner."""
    place = torch.arange(rows)
    return ((place // partitions ^ 1) * partitions + place % partitions).clamp_max(rows - 1)


def example_slices(rows: range, channels: int = 1, side: int = 16) -> Batch:
    """Return slices of two volumes in four partitions, one after the other, with two views and a mask."""
    generator = torch.Generator().manual_seed(0)
    size = (8, channels, side, side)
    x, one, two = (torch.randint(0, 256, size, dtype=torch.uint8, generator=generator) for _ in range(3))
    mask = torch.randint(0, 3, (8, side, side), generator=generator)
    index = torch.tensor([0, 2, 4, 6, 9, 11, 13, 15])
    whole = (x, index, one, (one // 4 + two // 4 * 3).to(torch.uint8), mask)
    x, index, one, two, mask = (each[list(rows)] for each in whole)
    return Batch(x, index, views=(one, two), extras={"mask": mask})
