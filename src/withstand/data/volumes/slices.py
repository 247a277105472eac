"""From volumes to slices: intensities as bytes, one size for all, and the depth that each slice lies at.

Contrastive learning of global and local features for medical image segmentation with limited annotations (2020): slices
of volumes of one organ that lie in the same share of the depth, the same partition, look alike.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.outputs import Seen
from withstand.data.volumes.volume import Array, Volume

Bytes = npt.NDArray[np.uint8]
Value = TypeVar("Value", bound=np.generic)
LEVELS = (1.0, 99.0)
"""Percentiles of a volume that become black and white."""
_THICK = 1.5
"""How much farther apart than the others voxels along an axis must lie for slices to be told by it."""


def partition_of(place: int | Tensor, count: int, partitions: int) -> int | Tensor:
    """Return in which of so many partitions, equal to within one slice, a slice of a volume lies, from 0.

    The published code drops the slices that are left over where partitions do not divide their number; here some
    partitions have one more.

    Args:
        place: of the slice, from 0; or several.
        count: slices of the volume.
        partitions: S.

    >>> [partition_of(place, 10, 4) for place in range(10)]
    [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    """
    if partitions < 1:
        raise ConfigError(f"partitions must be at least 1, not {partitions!r}")
    return place * partitions // count


def as_bytes(x: Array) -> Bytes:
    """Return intensities as bytes: the 1st percentile black, the 99th white, what lies beyond clipped."""
    low, high = np.percentile(x, LEVELS)
    if not high > low:
        low, high = float(x.min()), float(x.max())
    if not high > low:
        return np.zeros(x.shape, dtype=np.uint8)
    scaled: Bytes = np.rint(np.clip((x - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled


def usual_axis(volumes: list[Volume]) -> tuple[int, str]:
    """Return the axis that slices are stacked along, and why.

    It is the one along which voxels lie clearly farther apart, as scanners take slices; of volumes without such an
    axis, the longest.
    """
    spacing = np.median([volume.spacing for volume in volumes], axis=0)
    axis = int(spacing.argmax())
    if spacing[axis] >= _THICK * np.delete(spacing, axis).max():
        return axis, "along the axis whose voxels lie farthest apart"
    extent = np.median([np.array(volume.x.shape) * volume.spacing for volume in volumes], axis=0)
    return int(extent.argmax()), "along the longest axis"


def fitted(stack: npt.NDArray[np.generic], size: int, fill: int = 0) -> npt.NDArray[np.generic]:
    """Return slices `(n, h, w)` cropped and padded evenly to `(n, size, size)`."""
    out = np.full((len(stack), size, size), fill, dtype=stack.dtype)
    boxes = [_overlap(side, size) for side in stack.shape[1:]]
    (from_rows, to_rows), (from_columns, to_columns) = boxes
    out[:, to_rows, to_columns] = stack[:, from_rows, from_columns]
    return out


def placed(height: int, width: int, size: int) -> Seen:
    """Return where in a slice that lies which `fitted` makes of it."""
    (rows, to_rows), (columns, to_columns) = _overlap(height, size), _overlap(width, size)
    return Seen(height, width, columns.start - to_columns.start, rows.start - to_rows.start, size, size)


def _overlap(side: int, size: int) -> tuple[slice, slice]:
    start, target = max(0, (side - size) // 2), max(0, (size - side) // 2)
    length = min(side, size)
    return slice(start, start + length), slice(target, target + length)


def stacked(x: npt.NDArray[Value], axis: int) -> npt.NDArray[Value]:
    """Return a volume's slices along an axis, `(n, h, w)`: what is up, or to the front, is the first row."""
    planes = np.moveaxis(x, axis, 0)
    return planes.swapaxes(1, 2)[:, ::-1]


def empty(planes: Bytes) -> npt.NDArray[np.bool_]:
    """Return which slices `(n, h, w)` have one value all over."""
    flat = planes.reshape(len(planes), -1)
    alike: npt.NDArray[np.bool_] = flat.min(1) == flat.max(1)
    return alike


def partitions_of(counts: tuple[int, ...], partitions: int) -> tuple[Tensor, Tensor]:
    """Return each slice's volume and its partition, int64 `(N,)` each, of volumes of so many slices in a row."""
    sizes = torch.tensor(counts, dtype=torch.int64)
    volumes = torch.arange(len(counts)).repeat_interleave(sizes)
    places = torch.arange(int(sizes.sum())) - (sizes.cumsum(0) - sizes)[volumes]
    return volumes, places * partitions // sizes[volumes]
