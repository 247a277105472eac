"""Which columns of a row are seen and which are to be predicted: subsets drawn for each row, of one size in a batch.

Sizes: `B` rows, `D` columns, `M` target sets.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.roles import View

Shares: TypeAlias = tuple[float, float]
"""The least and the largest share of the columns."""


@dataclass(frozen=True)
class AsIs(View):
    """Samples as they are, bytes as float in [0, 1]: for methods that hide parts by themselves."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_views(unit_range(batch.x))


def subset_sizes(columns: int, context: Shares, target: Shares) -> dict[tuple[int, int], float]:
    """Return the law of (context size, target size): each n = round(low + (high - low) u), given that both fit.

    Here low and high are the shares of D, rounded; u is uniform. Pairs with more than D columns are never drawn.

    Args:
        columns: D.
        context: shares of the columns that are seen.
        target: shares of the columns to be predicted.

    Raises:
        ConfigError: a share outside (0, 1], or shares that give no column, or that no pair of sizes fits.
    """
    laws = []
    for name, (low, high) in (("context", context), ("target", target)):
        if not 0 < low <= high <= 1:
            raise ConfigError(f"{name} shares must rise within (0, 1], not {low:g} to {high:g}")
        least, most = round(columns * low), round(columns * high)
        if least < 1:
            raise ConfigError(
                f"a {name} of {low:g} of {columns} columns rounds to none: the least share must be above "
                f"{0.5 / columns:.3g} here"
            )
        laws.append(_rounded_uniform(least, most))
    pairs = {(c, t): p * q for c, p in laws[0].items() for t, q in laws[1].items() if c + t <= columns}
    if not pairs:
        raise ConfigError(
            f"{columns} columns are too few: a context of at least {min(laws[0])} and targets of at least "
            f"{min(laws[1])} do not fit; lower the shares"
        )
    whole = sum(pairs.values())
    return {pair: chance / whole for pair, chance in pairs.items()}


def _rounded_uniform(least: int, most: int) -> dict[int, float]:
    """Return the law of round(least + (most - least) u): the ends are half as likely as the others."""
    if least == most:
        return {least: 1.0}
    inner = 1 / (most - least)
    return {size: inner / 2 if size in (least, most) else inner for size in range(least, most + 1)}


def draw_sizes(law: dict[tuple[int, int], float], draws: Draws) -> tuple[int, int]:
    """Return one pair of sizes by its law, from the first of the draws."""
    point = float(draws.uniform()[0])
    for pair, chance in law.items():
        point -= chance
        if point < 0:
            return pair
    return pair


def column_subsets(draws: Draws, columns: int, context: int, target: int, sets: int) -> tuple[Tensor, Tensor]:
    """Return a context and `sets` independent target sets outside it for each row, each uniform and in random order.

    Args:
        draws: each row's own stream.
        columns: D.
        context: columns seen.
        target: columns in each target set; with `context` at most D.
        sets: M; they may share columns with one another.

    Returns:
        context int64 `(B, context)` and targets int64 `(B, M, target)`.
    """
    order = draws.child("context").permutations(columns)
    rest = order[:, context:]
    places = draws.child("targets").bits(sets, columns - context).argsort(2)[:, :, :target]
    chosen = rest.gather(1, places.flatten(1))
    return order[:, :context], chosen.view(len(draws), sets, target)
