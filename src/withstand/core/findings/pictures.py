"""Samples as pictures, where they are some that can be drawn."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.roles import Source


def drawn(source: Source) -> bool:
    """Return whether a source's samples are pictures or slices of volumes, grey or in color, and of one size."""
    of_one_size = source.at_once != 1
    return source.kind in ("picture", "slice") and len(source.shape) == 3 and source.shape[0] in (1, 3) and of_one_size


def pictures_of(source: Source, index: Tensor) -> npt.NDArray[np.uint8]:
    """Return samples as uint8 pictures `(N, H, W, C)`; floats are taken to lie in [0, 1], or scaled to it."""
    x = source[index].x
    if x.dtype == torch.uint8:
        return x.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    low, high = min(0.0, float(x.min())), max(1.0, float(x.max()))
    return as_bytes((x.float() - low) / (high - low))


def across_classes(rows: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return at most `count` of some rows, of every class one before any has two, the classes' turns in their order.

    Args:
        rows: places of samples, int64 `(M,)`.
        labels: of all samples, int64 `(N,)`.
        count: how many are wanted.
    """
    turn, seen = [], dict[int, int]()
    for label in labels[rows].tolist():
        turn.append((seen.get(label, 0), label))
        seen[label] = seen.get(label, 0) + 1
    order = sorted(range(len(turn)), key=turn.__getitem__)
    return rows[torch.tensor(order[:count], dtype=torch.int64, device=rows.device)]


def as_bytes(x: Tensor) -> npt.NDArray[np.uint8]:
    """Return pictures `(..., C, H, W)` in [0, 1] as uint8 `(..., H, W, C)`; what lies outside is cut off."""
    pixels: npt.NDArray[np.uint8] = (x.float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()
    return pixels
