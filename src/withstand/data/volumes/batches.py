"""Batches of volumes: some volumes, and of each one slice from every partition of its depth.

Contrastive learning of global and local features for medical image segmentation with limited annotations (2020).
Sizes: N slices, S partitions, m volumes a batch.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.data.volumes.slices import partitions_of


def volume_batches(order: Tensor, counts: tuple[int, ...], partitions: int, batch: int) -> Tensor:
    """Return an epoch's samples in batches of m = batch / S volumes, int64, at least N // batch of them.

    A batch holds its volumes one after the other, of each one slice from every partition in the order of depth. In an
    epoch each slice comes once where volumes are alike; of partitions smaller than their volume's largest, and of
    volumes that keep larger ones company, some come again, and as many of the others wait. No batch has a volume twice,
    unless there are fewer than it takes. Volumes of fewer than S slices are left out.

    Args:
        order: a random order of all samples, int64 `(N,)`.
        counts: slices of each volume, which lie in a row.
        partitions: S.
        batch: samples, a multiple of S.

    Raises:
        DataError: no volume has S slices.
    """
    volumes, depths = partitions_of(counts, partitions)
    keys = (volumes * partitions + depths)[order]
    rows = order[keys.argsort(stable=True)]  # partition by partition, each in the random order
    sizes = torch.bincount(keys, minlength=len(counts) * partitions)
    starts = (sizes.cumsum(0) - sizes).view(-1, partitions)
    sizes = sizes.view(-1, partitions)
    whole = [place for place, count in enumerate(counts) if count >= partitions]
    if not whole:
        raise DataError(f"no volume has a slice in each of {partitions} partitions: take fewer")
    together, wanted = batch // partitions, len(order) // batch
    generator = torch.Generator().manual_seed(int(order[0]) * 1_000_003 + int(order[-1]))
    found: list[Tensor] = []
    current: list[int] = []
    turns = [0] * len(counts)
    left = sizes.amax(1).tolist()
    while len(found) < wanted * together:
        shuffled = [whole[place] for place in torch.randperm(len(whole), generator=generator).tolist()]
        waiting = [volume for volume in shuffled if left[volume] > 0] or shuffled
        while waiting:
            fresh = next((volume for volume in waiting if volume not in current), None)
            if fresh is None:  # a large volume's last slices: others keep it company once more
                fresh = next((volume for volume in shuffled if volume not in current), waiting[0])
            if fresh in waiting:
                waiting.remove(fresh)
            found.append(rows[starts[fresh] + turns[fresh] % sizes[fresh]])
            turns[fresh] += 1
            left[fresh] -= 1
            current = [] if len(current) + 1 == together else [*current, fresh]
    batches = torch.stack(found[: wanted * together]).view(wanted, -1)
    return batches[torch.randperm(wanted, generator=generator)].flatten()
