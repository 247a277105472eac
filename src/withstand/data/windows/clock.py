"""Clocks: readings of several devices brought onto one regular grid, and cut into windows that cross no gap.

Sizes: n readings of a device, C channels, D devices, m points of the grid, T of a window, W windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError

Floats: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int64]
STEPS_IN_A_GAP = 10
"""So many steps without a reading are a gap, where nothing else is said."""
_REGULAR = 0.01
"""A clock is regular where 98 % of its steps are as long as the middle one, up to this share."""


@dataclass(frozen=True)
class Readings:
    """What one device recorded.

    Attributes:
        times: of each reading, in seconds, rising, float64 `(n,)`.
        values: float64 `(n, C)`.
        labels: what went on, as whole numbers from 0, int64 `(n,)`; -1 where nobody knows.
    """

    times: Floats
    values: Floats
    labels: Whole

    @classmethod
    def sorted(cls, times: Floats, values: Floats, labels: Whole) -> tuple["Readings", str]:
        """Return readings in the order of their times, and what had to be mended, in words.

        Readings without a time or a value are left out, those of one instant averaged.

        Raises:
            DataError: fewer than two are left.
        """
        known = np.isfinite(times) & np.isfinite(values).all(1)
        said = [f"{int((~known).sum()):,} readings without a time or a value left out"] if not known.all() else []
        times, values, labels = times[known], values[known], labels[known]
        if (np.diff(times) < 0).any():
            said.append("readings sorted by time")
        order = times.argsort(kind="stable")
        instants, first, own, count = np.unique(
            times[order], return_index=True, return_inverse=True, return_counts=True
        )
        if len(instants) < 2:
            raise DataError(f"{len(instants)} reading(s) with a time and all values: at least 2 are needed")
        if len(instants) < len(times):
            said.append(f"{len(times) - len(instants):,} readings of an instant that has one already averaged with it")
        sums = np.zeros((len(instants), values.shape[1]))
        np.add.at(sums, own, values[order])
        return cls(instants, sums / count[:, None], labels[order][first]), "; ".join(said)

    @property
    def step(self) -> float:
        """The middle time from one reading to the next, in seconds."""
        return float(np.median(np.diff(self.times)))

    @property
    def regular(self) -> bool:
        """Whether nearly all steps are of one length."""
        off = np.abs(np.diff(self.times) - self.step) > _REGULAR * self.step
        return bool(off.mean() < 0.02)


@dataclass(frozen=True)
class Grid:
    """Devices at common times, a step apart but where points deep in a gap are left out.

    Attributes:
        values: float32 `(m, D, C)`.
        labels: of the reading nearest in time, int64 `(m,)`.
        known: where no device has a gap, bool `(m,)`.
    """

    values: npt.NDArray[np.float32]
    labels: Whole
    known: npt.NDArray[np.bool_]


def on_grid(devices: Sequence[Readings], rate: float, gap: float) -> Grid:
    """Return devices' readings at the regular times that all of them cover, by linear interpolation.

    Args:
        devices: what each recorded, with the same channels.
        rate: points a second.
        gap: seconds between two readings from which on the time between them is unknown.

    Raises:
        DataError: there is no time that all cover.
    """
    first, last = max(one.times[0] for one in devices), min(one.times[-1] for one in devices)
    if last <= first:
        raise DataError("the devices recorded at no common time: their clocks may have different units or offsets")
    count = int(np.floor((last - first) * rate + 1e-6)) + 1
    times = first + _points(devices, first, count, rate, gap) / rate
    known = np.ones(len(times), dtype=bool)
    values = np.empty((len(times), len(devices), devices[0].values.shape[1]), dtype=np.float32)
    labels = np.full(len(times), -1, dtype=np.int64)
    for place, one in enumerate(devices):
        after = one.times.searchsorted(times, side="right").clip(1, len(one.times) - 1)
        left, right = one.times[after - 1], one.times[after]
        share = ((times - left) / (right - left)).clip(0, 1)
        values[:, place] = one.values[after - 1] * (1 - share[:, None]) + one.values[after] * share[:, None]
        known &= (right - left <= gap * (1 + 1e-9)) | (share == 0) | (share == 1)
        labels = np.where(labels < 0, one.labels[np.where(share < 0.5, after - 1, after)], labels)
    return Grid(values, labels, known)


_MARGIN = 2
"""Points of a gap that are kept on either side: one of them may be that of a lone reading, and is known."""


def _points(devices: Sequence[Readings], first: float, count: int, rate: float, gap: float) -> Whole:
    """Return the places on the grid that are near readings of all devices, int64 `(m,)`, rising.

    One false time, or a pause of days, would fill the memory with points that no window holds.
    """
    stretches = []
    for one in devices:
        close = np.diff(one.times) <= gap * (1 + 1e-9)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], close, [False]]).astype(np.int8)))
        begins, ends = ((one.times[edges[side::2]] - first) * rate for side in (0, 1))
        low, high = np.floor(begins) - _MARGIN, np.ceil(ends) + _MARGIN
        inside = (high >= 0) & (low < count)
        stretches.append(_covered(low[inside].clip(0), high[inside].clip(max=count - 1), 1))
    low, high = (np.concatenate(sides) for sides in zip(*stretches, strict=True))
    pieces = zip(*_covered(low, high, len(devices)), strict=True)
    return np.concatenate([np.empty(0, np.int64), *(np.arange(begin, end + 1) for begin, end in pieces)])


def _covered(low: npt.NDArray[Any], high: npt.NDArray[Any], least: int) -> tuple[Whole, Whole]:
    """Return the first and the last places of stretches that at least so many of those from `low` to `high` cover."""
    places, which = np.unique(np.concatenate([low, high + 1]).astype(np.int64), return_inverse=True)
    change = np.zeros(len(places), dtype=np.int64)
    np.add.at(change, which, np.repeat([1, -1], len(low)))
    enough = np.concatenate([[False], change.cumsum() >= least])
    return places[~enough[:-1] & enough[1:]], places[enough[:-1] & ~enough[1:]] - 1


def starts(known: npt.NDArray[np.bool_], length: int, stride: int) -> tuple[Whole, int]:
    """Return where windows begin that cross no gap, int64 `(W,)`, and how many stretches are shorter than one.

    Args:
        known: where there are readings, `(m,)`.
        length: T, points of a window.
        stride: points from one window's beginning to the next.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    whole = ends - begins >= length
    found = [np.arange(begin, end - length + 1, stride) for begin, end in zip(begins[whole], ends[whole], strict=True)]
    return np.concatenate([np.empty(0, np.int64), *found]), int((~whole).sum())


def cut(grid: Grid, begin: Whole, length: int) -> tuple[npt.NDArray[np.float32], Whole]:
    """Return windows, float32 `(W, D, C, T)`, and their labels, int64 `(W,)`: -1 where it changes inside one."""
    if not len(begin):  # a length in points may be beyond all bounds where the step is tiny
        return np.empty((0, *grid.values.shape[1:], length), np.float32), np.empty(0, np.int64)
    places = begin[:, None] + np.arange(length)
    labels = grid.labels[places]
    one = (labels == labels[:, :1]).all(1)
    return np.ascontiguousarray(grid.values[places].transpose(0, 2, 3, 1)), np.where(one, labels[:, 0], -1)
