"""Frequency audit: pictures whose colors hold a frequency that others do not, and frequencies that many of them share.

Sizes: `N` pictures, `H` x `W` pixels, windows of `w` x `w`. A coefficient is one of the orthonormal DCT-II of the mean
of a picture's windows, of U or V, in grey levels: a fixed pattern adds the same to every one, and texture averages out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.random import Draws, derive
from withstand.core.roles import Source
from withstand.views.triggers import CHANNELS, TO_YUV, check_window, cosine_basis, divisors

FEWEST = 20
"""Pictures in color below which nothing is usual or unusual."""
LARGEST = 64
"""Side of the largest window that is looked at by itself."""
_USUAL = (8, 16, 32)
_COLOR = torch.tensor(TO_YUV, dtype=torch.float64)[1:]
_ROUNDING = (_COLOR.square().sum(1) / 12).sqrt()
"""Standard deviation that rounding to bytes gives a coefficient of U and of V, in grey levels."""
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Shared:
    """A coefficient that far more pictures exceed on one side than on the other, as a fixed pattern would make it.

    Attributes:
        window: side of the windows.
        channel: "u" or "v".
        place: (row, column) of the coefficient.
        sign: 1 where they lie above the others, -1 below.
        count: different pictures beyond the threshold on that side.
        opposite: and on the other.
        p: chance of so uneven sides if either were as likely, times the number of coefficients that were looked at.
        rows: the places of all pictures beyond the threshold on that side, int64.
        deviations: how far each lies, in robust standard deviations.
    """

    window: int
    channel: str
    place: tuple[int, int]
    sign: int
    count: int
    opposite: int
    p: float
    rows: Tensor
    deviations: Tensor


@dataclass(frozen=True)
class Spectra:
    """What the audit finds.

    Attributes:
        score: of each picture: its largest deviation from the median of any coefficient, in robust standard deviations,
            float64 `(N,)`; 0 of grey pictures.
        grey: which pictures have no color at all, bool `(N,)`.
        peak: window, channel, row and column of that coefficient, int64 `(N, 4)`; channels are 1 for U, 2 for V.
        shared: coefficients that many exceed on one side, the least likely first, each without
            the pictures of those before.
        coefficients: how many were looked at.
    """

    score: Tensor
    grey: Tensor
    peak: Tensor
    shared: tuple[Shared, ...]
    coefficients: int

    def flagged(self) -> dict[int, Shared]:
        """Return the pictures that hold a shared coefficient, by place, with that one."""
        return {row: one for one in self.shared for row in one.rows.tolist()}


@dataclass(frozen=True)
class FrequencyAudit(Part):
    """Looks for fixed patterns in pictures' colors. Brightness is not looked at.

    Natural pictures exceed any but the lowest coefficients as often above the median as below. A pattern that was added
    to some pictures moves them all to one side.

    Args:
        windows: sides of the windows, which divide the pictures' sides; None for 8, 16, 32 and the whole side up to 64,
            as far as they do, or the largest divisor up to 64 where none does.
        threshold: robust standard deviations from which a picture counts as beyond.
        level: a coefficient is shared where its corrected chance is below this.
        sample: pictures that medians and deviations are taken from, drawn by (seed, index).
        seed: of that draw.

    Raises:
        ConfigError: settings out of range.
    """

    windows: tuple[int, ...] | None = None
    threshold: float = 10.0
    level: float = 0.01
    sample: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ConfigError(f"threshold must be above 0, not {self.threshold!r}")
        if not 0 < self.level < 1:
            raise ConfigError(f"level must lie between 0 and 1, not {self.level!r}")
        if self.sample < FEWEST:
            raise ConfigError(f"sample must be at least {FEWEST}, not {self.sample!r}")
        if self.windows is not None and not self.windows:
            raise ConfigError("windows are empty: give one or more, say (32,)")

    def look(self, source: Source) -> Spectra:
        """Audit all pictures of a source.

        Raises:
            ConfigError: a window that does not divide the pictures' sides.
            DataError: no color pictures, or fewer than 20 that are in color.
        """
        shape = source.shape
        if len(shape) != 3 or shape[0] != 3:
            grey = ": grey ones have no colors" if len(shape) == 3 and shape[0] == 1 else ""
            raise DataError(f"the audit reads the colors of pictures (3, H, W), not {shape}{grey}")
        windows = self._windows(shape[1], shape[2])
        count = len(source)
        grey_ones = torch.cat([_is_grey(x) for _, x in _read(source, torch.arange(count))])
        colored = (~grey_ones).nonzero()[:, 0]
        if len(colored) < FEWEST:
            raise DataError(f"{len(colored)} of {count:,} pictures have colors, and the audit needs at least {FEWEST}")
        keys = Draws(derive(self.seed, "frequencies"), colored).bits(1)[:, 0]
        drawn = colored[keys.argsort(stable=True)[: self.sample]].sort().values
        score, peak = torch.zeros(count, dtype=torch.float64), torch.zeros(count, 4, dtype=torch.int64)
        beyond: list[tuple[Tensor, Tensor, Tensor]] = []
        for window in windows:
            usual = torch.cat([coefficients_of(x, window) for _, x in _read(source, drawn)])
            middle = usual.median(0).values
            spread = (usual - middle).abs_().median(0).values / 0.6745
            # What rounding does to any picture is no deviation.
            floor = _ROUNDING / (shape[1] * shape[2] / window**2) ** 0.5
            scale = torch.maximum(spread, floor[:, None, None])
            for rows, x in _read(source, colored):
                far = ((coefficients_of(x, window) - middle) / scale).flatten(1)
                largest, where = far.abs().max(1)
                more = largest > score[rows]
                score[rows[more]] = largest[more]
                peak[rows[more]] = _places(where[more], window)
                out = (far.abs() > self.threshold).nonzero()
                beyond.append((rows[out[:, 0]], _places(out[:, 1], window), far[out[:, 0], out[:, 1]]))
        rows, places, deviations = (torch.cat(parts) for parts in zip(*beyond, strict=True))
        coefficients = sum(2 * window**2 for window in windows)
        shared = tuple(self._shared(rows, places, deviations, coefficients))
        return Spectra(score, grey_ones, peak, shared, coefficients)

    def _windows(self, height: int, width: int) -> tuple[int, ...]:
        if self.windows is not None:
            for window in self.windows:
                check_window(window, height, width)
            return self.windows
        fitting = [side for side in divisors(height, width) if side <= LARGEST]
        if not fitting:
            raise DataError(f"pictures of {height} x {width} pixels have no common windows: bring them to a square")
        usual = [side for side in fitting if side in _USUAL or side == height == width]
        return tuple(usual or fitting[-1:])

    def _shared(self, rows: Tensor, places: Tensor, far: Tensor, coefficients: int) -> Iterator[Shared]:
        """Yield the shared coefficients: the least likely one, and again without the pictures that it explains.

        A strong pattern moves many coefficients a little; without its pictures these are as even as any.
        """
        kinds, kind = torch.unique(places, dim=0, return_inverse=True)
        while len(rows):
            # Copies of one picture are one piece of evidence.
            once = torch.unique(torch.stack([kind.double(), far.mul(1e6).round()], 1), dim=0)
            sides = torch.zeros(len(kinds), 2).index_put_(
                (once[:, 0].long(), (once[:, 1] < 0).long()), torch.ones(len(once)), accumulate=True
            )
            most, whole = sides.max(1).values.numpy(), sides.sum(1).numpy()
            chance = torch.from_numpy(2 * binom.sf(most - 1, whole, 0.5)) * coefficients
            least = int(chance.argmin())
            if not float(chance[least]) < self.level:
                return
            above, below = (int(one) for one in sides[least])
            sign = 1 if above >= below else -1
            window, channel, row, column = kinds[least].tolist()
            mine = (kind == least) & (far * sign > 0)
            yield Shared(
                window, CHANNELS[channel], (row, column), sign, max(above, below), min(above, below),
                float(chance[least]), rows[mine], far[mine].abs(),
            )  # fmt: skip
            left = ~torch.isin(rows, rows[mine])
            rows, kind, far = rows[left], kind[left], far[left]


def coefficients_of(x: Tensor, window: int) -> Tensor:
    """Return the coefficients of U and V of the mean window of pictures in [0, 1], float64 `(N, 2, w, w)`."""
    count, _, height, width = x.shape
    tiles = x.double().mul(255).view(count, 3, height // window, window, width // window, window).mean((2, 4))
    basis = cosine_basis(window)
    found: Tensor = basis @ torch.einsum("rc,nchw->nrhw", _COLOR, tiles) @ basis.T
    return found


def _read(source: Source, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures in [0, 1] with their places, few enough at once."""
    numbers = 1
    for side in source.shape:
        numbers *= side
    for some in torch.split(rows, max(1, _BLOCK // numbers)):
        yield some, unit_range(source[some].x)


def _is_grey(x: Tensor) -> Tensor:
    return ((x[:, 0] == x[:, 1]) & (x[:, 1] == x[:, 2])).flatten(1).all(1)


def _places(numbers: Tensor, window: int) -> Tensor:
    """Return window, channel, row and column of flat numbers of coefficients, `(n, 4)`."""
    row, column = numbers % window**2 // window, numbers % window
    return torch.stack([torch.full_like(numbers, window), 1 + numbers // window**2, row, column], 1)
