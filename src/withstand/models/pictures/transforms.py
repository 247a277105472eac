"""Quarter turns and orders of channels: the sets of changes that tasks on pictures are made of.

Self-supervised Label Augmentation via Input Transformations (2020), with the sets' names and orders from its official
code; Unsupervised Representation Learning by Predicting Image Rotations (2018).
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.models.blocks.transforms import Combined, TransformSet

UNCHANGED: Final = "unchanged"


class Rotations(TransformSet):
    """Quarter turns.

    Args:
        quarters: how many quarter turns each change makes, 0 to 3, the first 0.
        clockwise: which way, as one looks at the picture, row 0 on top.
    """

    def __init__(self, quarters: tuple[int, ...] = (0, 1, 2, 3), *, clockwise: bool = False) -> None:
        quarters = tuple(quarters)
        if not quarters or quarters[0] != 0 or len({*quarters}) < len(quarters) or not {*quarters} <= {0, 1, 2, 3}:
            raise ConfigError(f"quarters must be different numbers from 0 to 3, 0 first, not {quarters!r}")
        self.quarters, self.clockwise = quarters, clockwise

    @property
    def names(self) -> tuple[str, ...]:
        way = "clockwise" if self.clockwise else "counter-clockwise"
        called = {0: UNCHANGED, 2: "turned by 180°"}
        return tuple(called.get(turns, f"turned by {90 * turns}° {way}") for turns in self.quarters)

    def apply(self, x: Tensor, number: int) -> Tensor:
        turns = self.quarters[number]
        if turns % 2 and x.shape[-2] != x.shape[-1]:
            raise DataError(
                f"only square pictures can be turned by a quarter, not {tuple(x.shape[-2:])}: rotation2, half a turn, "
                "fits any picture"
            )
        # Flips and a transposition, which move entries alone: so proofs and exported files have them too.
        if turns == 0:
            return x
        if turns == 2:
            return x.flip((-2, -1))
        turned = x.transpose(-2, -1)
        return turned.flip(-1 if (turns == 1) == self.clockwise else -2)


class ChannelOrders(TransformSet):
    """Orders of the channels.

    Args:
        orders: which channel comes to each place; the first order leaves all where they are.
    """

    def __init__(
        self,
        orders: tuple[tuple[int, ...], ...] = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
    ) -> None:
        orders = tuple(tuple(order) for order in orders)
        straight = tuple(range(len(orders[0]))) if orders else ()
        sound = all(tuple(sorted(order)) == straight for order in orders) and len({*orders}) == len(orders)
        if not straight or orders[0] != straight or not sound:
            raise ConfigError(f"orders must be different orders of the same channels, 0, 1, ... first, not {orders!r}")
        self.orders = orders

    @property
    def names(self) -> tuple[str, ...]:
        return (UNCHANGED, *(f"channels {' '.join(map(str, order))}" for order in self.orders[1:]))

    def apply(self, x: Tensor, number: int) -> Tensor:
        order = self.orders[number]
        if x.shape[-3] != len(order):
            raise DataError(f"these orders are of {len(order)} channels, and the pictures have {x.shape[-3]}")
        return x if number == 0 else x.index_select(-3, torch.tensor(order, device=x.device))


def _cyclic() -> ChannelOrders:
    return ChannelOrders(((0, 1, 2), (1, 2, 0), (2, 0, 1)))


_NAMED: dict[str, Callable[[], TransformSet]] = {
    "rotation": Rotations,
    "rotation2": lambda: Rotations((0, 2)),
    "color_perm": ChannelOrders,
    "color_perm3": _cyclic,
    "rot_color_perm6": lambda: Combined(Rotations((0, 2)), _cyclic()),
    "rot_color_perm12": lambda: Combined(Rotations(), _cyclic()),
    "rot_color_perm24": lambda: Combined(Rotations(), ChannelOrders()),
}
"""The official sets by their official names; turns are counter-clockwise there."""


def transform_set(name: str) -> TransformSet:
    """Return a set by its official name: rotation, rotation2, color_perm, color_perm3, rot_color_perm6, 12 or 24.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in _NAMED:
        raise ConfigError(f"transforms {name!r} is unknown: {nearest(name, _NAMED)}")
    return _NAMED[name]()
