"""I-JEPA's masks: some target blocks of patches in each picture, and a large context block without them.

Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture (Assran et al., CVPR 2023), as in
its official code. Sizes: `B` pictures, `L` patches, `S` target blocks of `T` patches each, `K` patches of the context.
"""

import math
from typing import TypeAlias

import torch
from torch import Tensor

from withstand.core.devices.distributed import gather
from withstand.core.errors import ConfigError
from withstand.core.random import Draws

Span: TypeAlias = tuple[float, float]
"""The least and the largest."""
_TRIES = 20
"""Contexts that are tried before one target block less is kept out of them."""


def context_and_targets(
    draws: Draws,
    sizes: Draws,
    grid: tuple[int, int],
    *,
    context: Span = (0.85, 1.0),
    targets: Span = (0.15, 0.2),
    aspect: Span = (0.75, 1.5),
    count: int = 4,
    least: int = 10,
) -> tuple[Tensor, Tensor]:
    """Return the context of each picture, int64 `(B, K)`, and its target blocks, `(B, S, T)`.

    Blocks have one size in a whole batch, and may overlap. As in the code, one number draws both the share and the
    aspect ratio of targets; no block, and so no context, reaches the last row or the last column of patches; and
    contexts are cut to the smallest in the batch, here over all processes, their last patches left out. Where twenty
    contexts in turn keep too little, one target block less is kept out of the next ones.

    Args:
        draws: each picture's own stream.
        sizes: one stream for all.
        grid: rows and columns of patches.
        context: share of the patches in the context's square block, before targets are taken out.
        targets: share in a target block.
        aspect: height over width of target blocks.
        count: S.
        least: a context keeps more patches than this.

    Raises:
        ConfigError: shares or aspect ratios that are none, no block, or contexts that cannot keep enough.
    """
    rows, columns = grid
    for name, (low, high), top in (("context", context, 1.0), ("targets", targets, 1.0), ("aspect", aspect, math.inf)):
        if not 0 < low <= high <= top:
            raise ConfigError(f"{name} must be two rising numbers above 0, shares at most 1, not {(low, high)!r}")
    if count < 1 or least < 0 or min(grid) < 2:
        raise ConfigError(
            f"there must be a target block or more, least 0 or more, and 2 x 2 patches or more, not count={count!r}, "
            f"least={least!r}, {rows} x {columns} patches"
        )
    unit = sizes.uniform(2)[0].tolist()
    height, width = _sides(grid, _between(unit[0], targets), _between(unit[0], aspect))
    tall, wide = _sides(grid, _between(unit[1], context), 1.0)
    if min(height, width) < 1 or tall * wide <= least:
        raise ConfigError(
            f"of {rows} x {columns} patches a target block would be {height} x {width}, and a context {tall} x {wide}, "
            f"which must keep more than least={least}: use smaller patches, or a smaller least"
        )
    blocks = _blocks(draws, grid, (height, width), count)
    covered = torch.zeros(len(draws), count, rows * columns, dtype=torch.bool, device=draws.device)
    covered.scatter_(2, blocks, True)
    seen = torch.zeros(len(draws), rows * columns, dtype=torch.bool, device=draws.device)
    short = torch.ones(len(draws), dtype=torch.bool, device=draws.device)
    for attempt in range(_TRIES * count + 1):
        block = _blocks(draws, grid, (tall, wide), 1)[:, 0]
        kept = torch.zeros_like(seen).scatter_(1, block, True)
        kept &= ~covered[:, : count - attempt // _TRIES].any(1)
        seen = torch.where(short[:, None], kept, seen)
        short = seen.sum(1) <= least
        if not short.any():
            break
    fewest = int(gather(seen.sum(1)).min())
    return seen.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :fewest], blocks


def _between(unit: float, span: Span) -> float:
    return span[0] + unit * (span[1] - span[0])


def _sides(grid: tuple[int, int], share: float, aspect: float) -> tuple[int, int]:
    """Return a block's rows and columns, each fewer than the grid's."""
    area = int(grid[0] * grid[1] * share)
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(height, grid[0] - 1), min(width, grid[1] - 1)


def _blocks(draws: Draws, grid: tuple[int, int], sides: tuple[int, int], count: int) -> Tensor:
    """Return the patches of blocks at random places, row by row, int64 `(B, count, T)`."""
    top, left = (draws.integers(0, side - own, count) for side, own in zip(grid, sides, strict=True))
    down, across = (torch.arange(side, device=draws.device) for side in sides)
    inside = (down[:, None] * grid[1] + across).flatten()
    return (top * grid[1] + left)[:, :, None] + inside
