"""Which devices attract and which repel: by how far their readings' distributions lie from the anchor's.

ColloSSL: Collaborative Self-Supervised Learning for Human Activity Recognition (2022).

Sizes: D devices, B windows, T readings.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.losses.discrepancy import WIDTHS, mmd

Strategy: TypeAlias = Literal["closest_pos_all_neg", "closest_pos_rest_neg", "closest_only", "hard_negative"]
FLOOR = 1e-4
"""The least distance: weights are its inverse."""


def distances_to(norms: Tensor, anchor: int, widths: Sequence[float] = WIDTHS) -> Tensor:
    """Return each device's distance from the anchor, the squared MMD of their windows, at least 1e-4; `(D,)`.

    Args:
        norms: the length of the acceleration at every reading, `(B, D, T)`: turning a device does not change it.
        anchor: a device's place; its own distance is 0.
        widths: of the kernel, see `losses.discrepancy.mmd`.
    """
    found = [norms.new_zeros(()) if place == anchor else mmd(norms[:, anchor], norms[:, place], widths)
             for place in range(norms.shape[1])]  # fmt: skip
    floors = torch.full((norms.shape[1],), FLOOR, dtype=found[0].dtype, device=norms.device)
    floors[anchor] = 0
    return torch.stack(found).maximum(floors)


def select(distances: Sequence[float], anchor: int, strategy: Strategy) -> tuple[list[int], list[int]]:
    """Return the devices that are positives, and those that are negatives.

    `closest_pos_all_neg`, the published one: the closest attracts, all others and the closest too repel (at another
    time). `closest_pos_rest_neg`: the closest does not repel. `closest_only`: it alone attracts and repels.
    `hard_negative`: the closest attracts, the two next repel. Of equal distances the first device comes first.

    Args:
        distances: from the anchor, one a device.
        anchor: its place, which is never chosen.
        strategy: one of these.

    Raises:
        ConfigError: an unknown strategy.
        DataError: too few devices for it.
    """
    if strategy not in get_args(Strategy):
        raise ConfigError(f"selection {strategy!r} is unknown: {nearest(strategy, get_args(Strategy))}")
    others = sorted((place for place in range(len(distances)) if place != anchor), key=lambda place: distances[place])
    alone = strategy in ("closest_pos_rest_neg", "hard_negative")
    if len(others) < 1 + alone:
        raise DataError(f"{len(distances)} device(s): selection {strategy} needs at least {2 + alone}")
    closest, rest = others[:1], others[1:]
    if strategy == "closest_pos_all_neg":
        return closest, others
    if strategy == "closest_pos_rest_neg":
        return closest, rest
    return (closest, closest) if strategy == "closest_only" else (closest, rest[:2])


def group_weights(distances: Tensor, negatives: Sequence[int], largest: float | None = None) -> tuple[Tensor, Tensor]:
    """Return the weight of a positive `()` and of each negative `(N,)`: 1 and 1 / distance, over the largest of all.

    Args:
        distances: `(D,)`.
        negatives: places.
        largest: bound of a negative's weight over a positive's; None for none, as published.
    """
    inverse = 1 / distances[list(negatives)]
    if largest is not None:
        inverse = inverse.clamp_max(largest)
    most = torch.cat([inverse, inverse.new_ones(1)]).max()
    return 1 / most, inverse / most
