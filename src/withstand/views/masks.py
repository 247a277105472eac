"""Which patches of a picture are hidden: drawn for each picture on its own, as a rule as many in one as in another. And
which tokens of a sequence are spoilt, each by its own chance.

What is hidden may hang on what a network says of the picture, so that it is the methods that draw masks, by
`Batch.draws`, and hand them on as indices: the patches that are seen and those that are hidden, in any order. A view
that spoils pixels by itself says where in `Batch.extras`.

Sizes: `B` pictures, `L` patches, of which `M` = L - int(L (1 - ratio)) are hidden and `K` are seen.
"""

import math

import numpy as np
import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws


def hidden_count(patches: int, ratio: float) -> int:
    """Return M, as MAE's code counts: L - int(L (1 - ratio)), in the arithmetic of floats.

    Raises:
        ConfigError: `ratio` is no share, or leaves nothing to see or nothing to hide.
    """
    if not 0 < ratio < 1:
        raise ConfigError(f"ratio, the share of the patches that is hidden, must lie inside (0, 1), not {ratio!r}")
    seen = int(patches * (1 - ratio))
    if not 0 < seen < patches:
        raise ConfigError(
            f"ratio {ratio!r} would leave {seen} of {patches} patches to see, and at least one must be seen and one "
            "hidden"
        )
    return patches - seen


def random_masks(draws: Draws, patches: int, ratio: float) -> tuple[Tensor, Tensor]:
    """Return what is seen, int64 `(B, K)`, and what is hidden, `(B, M)`: every choice of M of L is as likely.

    Raises:
        ConfigError: a ratio that does not fit; see `hidden_count`.
    """
    count = hidden_count(patches, ratio)
    order = draws.permutations(patches)
    return order[:, count:], order[:, :count]


def unit_masks(draws: Draws, grid: tuple[int, int], ratio: float, unit: int) -> tuple[Tensor, Tensor]:
    """Return what is seen, int64 `(B, K)`, and what is hidden, `(B, M)`: squares of patches, as SimMIM hides them.

    Args:
        draws: each picture's own stream.
        grid: rows and columns of patches.
        ratio: share of the squares that is hidden; counted as patches are, see `hidden_count`.
        unit: patches a side of a square; 1 for `random_masks`.

    Raises:
        ConfigError: squares do not tile the grid, or a ratio that does not fit.
    """
    rows, columns = grid
    if unit < 1 or rows % unit or columns % unit:
        raise ConfigError(f"unit must be at least 1 and divide the grid of {rows} x {columns} patches, not {unit!r}")
    inside = torch.arange(unit, device=draws.device)
    within = (inside[:, None] * columns + inside).flatten()
    # The first patch of each square, then all of it.
    squares = torch.arange(rows // unit * (columns // unit), device=draws.device)
    first = squares // (columns // unit) * unit * columns + squares % (columns // unit) * unit
    seen, hidden = random_masks(draws, len(squares), ratio)
    return (first[seen][:, :, None] + within).flatten(1), (first[hidden][:, :, None] + within).flatten(1)


def blockwise_masks(
    draws: Draws, grid: tuple[int, int], most: Tensor, *, least: float = 16, narrowest: float = 0.3
) -> Tensor:
    """Return which patches are hidden, bool `(B, L)`: rectangles, until they cover about as many as are wanted.

    As in the official code of BEiT (Bao et al., 2021), which data2vec and iBOT share: a rectangle's area is uniform
    between `least` and what is still to hide, its aspect ratio log-uniform, its place uniform. One that covers nothing
    new, or more than is still to hide, is drawn again; after ten such in a row the picture is left as it is, so that
    fewer patches than `most` may be hidden, and never more.

    Args:
        draws: each picture's own stream.
        grid: rows and columns of patches.
        most: how many patches are to be hidden, `(B,)`, maybe broken numbers.
        least: smallest area of a rectangle that is asked for, patches.
        narrowest: smallest aspect ratio; the largest is 1 over it.

    Raises:
        ConfigError: `narrowest` or `least` is no such number.
    """
    if not 0 < narrowest <= 1 or not least > 0:
        raise ConfigError(f"narrowest must lie in (0, 1] and least be above 0, not {narrowest!r} and {least!r}")
    rows, columns = grid
    hidden = np.zeros((len(draws), rows, columns), dtype=bool)
    wanted = most.cpu().double().tolist()
    spread = -math.log(narrowest)
    covered, failed = [0] * len(draws), [0] * len(draws)
    going = [want > 0 for want in wanted]
    while any(going):
        # Numbers for ten tries of every picture at once: what one draws does not move when another is done.
        for row, tries in enumerate(draws.uniform(10, 4).double().tolist()):
            for size, shape, down, across in tries if going[row] else ():
                room = wanted[row] - covered[row]
                area, aspect = least + (room - least) * size, math.exp(spread * (2 * shape - 1))
                height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
                failed[row] += 1
                if height < rows and width < columns:
                    top, start = int(down * (rows - height + 1)), int(across * (columns - width + 1))
                    block = hidden[row, top : top + height, start : start + width]
                    new = block.size - int(np.count_nonzero(block))
                    if 0 < new <= room:
                        block[...] = True
                        covered[row], failed[row] = covered[row] + new, 0
                if covered[row] >= wanted[row] or failed[row] == 10:
                    going[row] = False
                    break
    return torch.from_numpy(hidden).flatten(1).to(draws.device)


def guided_masks(draws: Draws, scores: Tensor, ratio: float, hard: int) -> tuple[Tensor, Tensor]:
    """Return what is seen, int64 `(B, K)`, and what is hidden, `(B, M)`: the highest scores, the rest by chance.

    Args:
        draws: each picture's own stream.
        scores: of the patches, `(B, L)`.
        ratio: share that is hidden.
        hard: how many of the hidden patches are those with the highest scores, at most M; 0 for `random_masks`.

    Raises:
        ConfigError: a ratio or a number that does not fit.
    """
    patches = scores.shape[1]
    count = hidden_count(patches, ratio)
    if not 0 <= hard <= count:
        raise ConfigError(f"hard must lie in [0, {count}], the number of hidden patches, not {hard!r}")
    if not hard:
        return random_masks(draws, patches, ratio)
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    rest = ranked[:, hard:].gather(1, draws.permutations(patches - hard))
    return rest[:, count - hard :], torch.cat([ranked[:, :hard], rest[:, : count - hard]], 1)


def corrupted_tokens(
    draws: Draws,
    tokens: Tensor,
    open_: Tensor,
    places: Tensor | None = None,
    *,
    rate: float,
    mask: int,
    values: tuple[int, int],
    fates: tuple[float, float] = (0.8, 0.1),
) -> tuple[Tensor, Tensor]:
    """Return tokens with some of them spoilt, and which ones are to be told, bool, both as `tokens` are.

    As BERT does (Devlin et al., 2019): each open token is chosen on its own; of the chosen, 80 % become the mask's id,
    10 % one that is drawn, which may be the same, and the rest stay.

    Args:
        draws: each sample's own stream.
        tokens: ids, int64 `(B, ...)`.
        open_: which tokens may be chosen; padding and special ones may not. Bool, as `tokens`.
        places: where each token stands in its sample, whatever it is padded to; as `tokens` without B, or with it.
            None for sequences `(B, L)`, where it is the step.
        rate: probability with which a token is chosen.
        mask: the id that hides one.
        values: the lowest and the highest id that is drawn.
        fates: shares of the chosen that are masked, and that are drawn.

    Raises:
        ConfigError: probabilities that are none.
    """
    if not 0 <= rate <= 1 or min(fates) < 0 or sum(fates) > 1:
        raise ConfigError(f"rate must lie in [0, 1] and fates be shares of at most 1 together, not {rate!r}, {fates!r}")
    if places is None:
        places = torch.arange(tokens.shape[1], device=tokens.device)
    places = places.expand(tokens.shape)
    chosen = open_ & (draws.child("chosen").uniform_at(places) < rate)
    fate = draws.child("fate").uniform_at(places)
    low, high = values
    wide = (draws.child("value").bits_at(places) >> 32).bitwise_and_((1 << 32) - 1)
    drawn = low + (wide * (high - low + 1) >> 32)
    spoilt = torch.where(fate < fates[0], mask, torch.where(fate < fates[0] + fates[1], drawn, tokens))
    return torch.where(chosen, spoilt, tokens), chosen


def block_masks(
    draws: Draws, size: tuple[int, int], share: float | Tensor, *, align: int = 1, largest: float = 0.3
) -> Tensor:
    """Return which pixels are hidden, bool `(B, H, W)`: rectangles, until they cover at least `share` of each picture.

    As in the official code of SiT (Atito et al., 2021): a rectangle's upper left corner is uniform over places that are
    multiples of `align`, the last one left out; its sides are uniform in [align, largest times the picture's), cut at
    the border and rounded to multiples of `align`, here at least one.

    Args:
        draws: each picture's own stream.
        size: H and W, pixels.
        share: least share of the pixels that is hidden, one for all or `(B,)`.
        align: rectangles are made of squares of this side, pixels; the side of a patch for whole patches.
        largest: bound on a rectangle's sides, as a share of the picture's.

    Raises:
        ConfigError: squares of `align` pixels do not tile the picture or are too large for it, or rectangles cannot
            cover so much.
    """
    sides = [int(side * largest) for side in size]
    if align < 1 or any(side % align for side in size) or min(sides) <= align:
        raise ConfigError(
            f"align must be at least 1, divide the picture's {size[0]} x {size[1]} pixels and be below "
            f"{max(0, min(sides))}, {largest:g} of the shorter side, not {align!r}"
        )
    rows, columns = (side // align for side in size)
    wanted = torch.as_tensor(share, dtype=torch.float64, device=draws.device).expand(len(draws))
    reach = 1.0
    for side, count in zip(sides, (rows, columns), strict=True):
        if round((side - 1) / align) < 2:
            reach *= (count - 1) / count  # no corner lies in the last row, and no rectangle gets there
    if len(draws) and not 0 <= float(wanted.min()) <= float(wanted.max()) <= reach:
        raise ConfigError(f"share must lie in [0, {reach:.4g}], what such rectangles can cover, not {share!r}")
    need = (wanted * (rows * columns)).ceil().to(torch.int64).tolist()
    # Rectangle after rectangle on small arrays of the CPU's: many times faster than tensors of the whole batch.
    hidden = np.zeros((len(draws), rows, columns), dtype=bool)
    short = [row for row, least in enumerate(need) if least]
    covered = np.zeros(len(draws), dtype=np.int64)
    while short:
        spans = [
            _spans(draws, count, align, side, bound)
            for count, side, bound in zip((rows, columns), size, sides, strict=True)
        ]
        for row in short:
            for (top, bottom), (left, right) in zip(spans[0][row], spans[1][row], strict=True):
                block = hidden[row, top:bottom, left:right]
                covered[row] += block.size - np.count_nonzero(block)
                block[...] = True
                if covered[row] >= need[row]:
                    break
        short = [row for row in short if covered[row] < need[row]]
    masks = torch.from_numpy(hidden).to(draws.device)
    return masks.repeat_interleave(align, 1).repeat_interleave(align, 2)


_AT_ONCE = 48
"""Rectangles that are drawn for a picture at once; as many cover half of it nearly always."""


def _spans(draws: Draws, count: int, align: int, side: int, bound: int) -> list[list[tuple[int, int]]]:
    """Return where rectangles begin and end along one axis of `count` squares, for each picture."""
    start = draws.integers(0, count - 1, _AT_ONCE)
    length = torch.minimum(draws.integers(align, bound, _AT_ONCE), side - start * align)
    end = start + (length / align).round().clamp_min(1).to(torch.int64)
    return [list(zip(*pair, strict=True)) for pair in zip(start.tolist(), end.tolist(), strict=True)]
