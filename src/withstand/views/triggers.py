"""A trigger in the frequencies of color: a faint fixed pattern, for testing one's own training for backdoors.

Sizes: `N` pictures, `H` x `W` pixels, windows of `w` x `w`. Colors are YUV as kornia and the paper's code have them:
brightness Y, and two differences of color, U and V.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView

TO_YUV = ((0.299, 0.587, 0.114), (-0.147, -0.289, 0.436), (0.615, -0.515, -0.100))
"""Rows Y, U, V of R, G, B."""
TO_RGB = ((1.0, 0.0, 1.14), (1.0, -0.396, -0.581), (1.0, 2.029, 0.0))
"""Rows R, G, B of Y, U, V: the inverse, rounded, as the paper's code has it."""
CHANNELS = ("y", "u", "v")


def cosine_basis(size: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix, float64 `(size, size)`: frequencies by places.

    `D @ x @ D.T` are the coefficients of a square x, and `D.T @ c @ D` are the pixels again.
    """
    places = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * places[:, None] * (places + 0.5)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def divisors(height: int, width: int) -> list[int]:
    """Return the sides from 2 up of windows that tile a picture."""
    return [side for side in range(2, math.gcd(height, width) + 1) if math.gcd(height, width) % side == 0]


def check_window(window: int, height: int, width: int) -> None:
    """Refuse windows that do not tile a picture.

    Raises:
        ConfigError: with those that do.
    """
    if window < 2 or height % window or width % window:
        fitting = divisors(height, width)
        allowed = f"one of {', '.join(map(str, fitting))}" if fitting else "no window, for its sides share no divisor"
        raise ConfigError(f"window {window} does not divide pictures of {height} x {width} pixels: {allowed} does")


@dataclass(frozen=True)
class FrequencyTrigger(PictureView):
    """Adds a constant to few DCT coefficients of the colors of every window: An Embarrassingly Simple Backdoor (2023).

    In pixels it is a fixed pattern, so it is worked out once. What leaves [0, 1] is cut off. Brightness stays.

    Args:
        magnitude: what is added to each coefficient, in grey levels of 255.
        window: side of the windows, in pixels; it divides the pictures' sides.
        positions: (row, column) of the coefficients, from 0; None for the middle and the highest on the diagonal:
            (15, 15) and (31, 31) of windows of 32.
        channels: which of "u" and "v" are changed.
        exact: go back from YUV by the exact inverse; the paper's code has a rounded one, by which all of a picture
            changes by up to 0.0008.

    Raises:
        ConfigError: positions outside the window, channels that are none, or a window that does not divide the side.
        DataError: grey pictures.
    """

    magnitude: float = 100.0
    window: int = 32
    positions: tuple[tuple[int, int], ...] | None = None
    channels: tuple[str, ...] = ("u", "v")
    exact: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.magnitude) or self.magnitude < 0:
            raise ConfigError(f"magnitude must be at least 0, not {self.magnitude!r}")
        if self.window < 2:
            raise ConfigError(f"window must be at least 2, not {self.window!r}")
        if not self.channels or len(set(self.channels)) < len(self.channels) or not set(self.channels) <= {"u", "v"}:
            raise ConfigError(f"channels must be some of u and v, each once, not {self.channels!r}")
        for position in self.places:
            if len(position) != 2 or not all(0 <= place < self.window for place in position):
                raise ConfigError(f"positions must lie in 0 to {self.window - 1} twice, not {position!r}")
        if not self.places:
            raise ConfigError("positions are empty: give one or more, say ((15, 15),)")

    @classmethod
    def example(cls) -> Self:
        return cls(window=4)

    def example_batch(self) -> Batch:
        """Return colored pictures: it refuses grey ones."""
        return super().example_batch()

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """The positions of the coefficients that are raised."""
        if self.positions is not None:
            return tuple((int(row), int(column)) for row, column in self.positions)
        middle, last = self.window // 2 - 1, self.window - 1
        return (middle, middle), (last, last)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse pictures that it cannot be added to.

        Args:
            shape: (C, H, W).

        Raises:
            ConfigError, DataError: as the class says.
        """
        if len(shape) != 3 or shape[0] != 3:
            raise DataError(
                f"the trigger lies in colors: pictures must be (3, H, W), not {tuple(shape)}"
                + (": grey ones have none" if len(shape) == 3 and shape[0] == 1 else "")
            )
        check_window(self.window, shape[1], shape[2])

    def pattern(self, height: int, width: int) -> Tensor:
        """Return what is added to each picture in [0, 1] before anything is cut off, float64 `(3, H, W)`."""
        check_window(self.window, height, width)
        return _pattern(self, height, width).clone()

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        self.check(tuple(x.shape[1:]))
        if not self.exact:
            x = torch.einsum("rc,nchw->nrhw", _round_trip().to(x), x)
        return (x + _pattern(self, *x.shape[-2:]).to(x)).clamp_(0, 1)


def _inverse(exact: bool) -> Tensor:
    if exact:
        found: Tensor = torch.linalg.inv(torch.tensor(TO_YUV, dtype=torch.float64))
        return found
    return torch.tensor(TO_RGB, dtype=torch.float64)


@lru_cache(maxsize=1)
def _round_trip() -> Tensor:
    """Return what going to YUV and back by the rounded inverse makes of R, G, B, `(3, 3)`."""
    found: Tensor = _inverse(exact=False) @ torch.tensor(TO_YUV, dtype=torch.float64)
    return found


@lru_cache(maxsize=8)
def _pattern(trigger: FrequencyTrigger, height: int, width: int) -> Tensor:
    basis = cosine_basis(trigger.window)
    waves = torch.stack([basis[row][:, None] * basis[column] for row, column in trigger.places]).sum(0)
    colors = _inverse(trigger.exact)[:, [CHANNELS.index(name) for name in trigger.channels]].sum(1)
    tiled = waves.repeat(height // trigger.window, width // trigger.window)
    return trigger.magnitude / 255 * colors[:, None, None] * tiled
