"""Pictures read at other places by bilinear interpolation, and how far the reading goes when the place moves.

Sizes: pictures `(C, H, W)`, places `(B, H, W, 2)` as (row, column) in pixels; outside of the picture there are zeros.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def square_grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each pixel's row and column, counted from the middle, `(H, W)` each."""
    height, width = x.shape[1:]
    rows = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return rows[:, None].expand(height, width), columns[None].expand(height, width)


def distance_to_middle(x: Tensor) -> Tensor:
    """Return each pixel's distance to the middle, in pixels, `(H, W)`."""
    rows, columns = square_grid(x)
    return (rows**2 + columns**2).sqrt()


def sampled(x: Tensor, places: Tensor) -> Tensor:
    """Return the picture read at places, `(B, C, H, W)`."""
    first = places.floor().long()
    part = places - first
    found = x.new_zeros(len(places), x.shape[0], *places.shape[1:3])
    for down in (0, 1):
        for right in (0, 1):
            weight = (part[..., 0] if down else 1 - part[..., 0]) * (part[..., 1] if right else 1 - part[..., 1])
            found += _pixels(x, first[..., 0] + down, first[..., 1] + right) * weight[:, None]
    return found


def sampled_bounds(x: Tensor, places: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest readings when each place may move by up to `reach` along each axis.

    Two bounds hold, and the tighter one counts: the extreme pixels of the window that can be touched, and the reading
    in the middle, give or take the steepest step between neighbouring pixels there, times the way.

    Args:
        x: the picture.
        places: `(B, H, W, 2)`.
        reach: at least 0, `(B, H, W, 2)` or broadcast to it.
    """
    reach = reach.expand_as(places)
    first, last = (places - reach).floor().long(), (places + reach).floor().long() + 1
    side = int((last - first).max()) + 1
    tables = _windows(x, side)
    least, most, down, right = (_pixels(table, first[..., 0] + side, first[..., 1] + side) for table in tables)
    middle = sampled(x, places)
    way = down * reach[..., 0][:, None] + right * reach[..., 1][:, None]
    return torch.maximum(least, middle - way), torch.minimum(most, middle + way)


def _windows(x: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return, for each window of a side by its first pixel: extremes, and the steepest steps along both axes.

    The tables begin one side outside of the picture; where they end, there are only zeros.
    """
    padded = F.pad(x, (side, side, side, side))
    high, low = F.max_pool2d(padded, side, 1), -F.max_pool2d(-padded, side, 1)
    down = F.max_pool2d(padded.diff(dim=1).abs(), (side - 1, side), 1)
    right = F.max_pool2d(padded.diff(dim=2).abs(), (side, side - 1), 1)
    return low, high, down, right


def _pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels at whole places `(B, H, W)`, zero outside, `(B, C, H, W)`."""
    height, width = x.shape[1:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    found = x.flatten(1)[:, flat.flatten()].view(x.shape[0], *rows.shape)
    return torch.where(inside[:, None], found.transpose(0, 1), 0.0)
