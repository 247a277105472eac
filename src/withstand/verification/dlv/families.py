"""Changes of a picture that a box of pixels describes badly: a few parameters each, so that a grid over them is small.

Each family gives the changed pictures, and for a cell of parameters a box of pixels that holds all of its pictures, so
that bounds of the network turn the grid into a proof. Pictures are float64 `(C, H, W)` in [0, 1]; parameters `(B, P)`.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.verification.dlv.warp import distance_to_middle, sampled, sampled_bounds, square_grid

_ROUNDING = 2.0**-23
"""Pixels' boxes are this much wider than computed: a network in float32 is shown pixels rounded by half of it."""


class Family(Part):
    """Pictures by a few parameters; the parameters 0 need not be the picture itself."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the parameters are called."""

    @property
    @abstractmethod
    def limits(self) -> tuple[tuple[float, float], ...]:
        """Smallest and largest value of each parameter."""

    @abstractmethod
    def apply(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return the changed pictures `(B, C, H, W)` of one picture `(C, H, W)`."""

    @abstractmethod
    def bounds(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels' smallest and largest values over cells of parameters, `(B, C, H, W)` each."""

    def box(self) -> tuple[Tensor, Tensor]:
        """Return the limits as `(1, P)` low and high.

        Raises:
            ConfigError: a limit that is below the other, or not finite.
        """
        limits = torch.tensor(self.limits, dtype=torch.float64)
        if not bool(torch.isfinite(limits).all()) or bool((limits[:, 0] > limits[:, 1]).any()):
            raise ConfigError(f"{type(self).__name__}'s limits must be finite and ascending, not {self.limits}")
        return limits[None, :, 0], limits[None, :, 1]


@dataclass(frozen=True)
class Brightness(Family):
    """Add the same value everywhere, then clip: x + b.

    Args:
        most: b goes from -most to most.
    """

    most: float = 0.1

    @property
    def names(self) -> tuple[str, ...]:
        return ("brightness",)

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        return ((-self.most, self.most),)

    def apply(self, x: Tensor, parameters: Tensor) -> Tensor:
        return (_picture(x) + _side(parameters[:, 0])).clamp(0, 1)

    def bounds(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return _widened(self.apply(x, low), self.apply(x, high))


@dataclass(frozen=True)
class Contrast(Family):
    """Stretch or flatten about the picture's mean, then clip: mean + (1 + c) (x - mean).

    Args:
        most: c goes from -most to most, below 1.
    """

    most: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.most < 1:
            raise ConfigError(f"most must be at least 0 and below 1, not {self.most}")

    @property
    def names(self) -> tuple[str, ...]:
        return ("contrast",)

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        return ((-self.most, self.most),)

    def apply(self, x: Tensor, parameters: Tensor) -> Tensor:
        picture = _picture(x)
        return (picture.mean() + (1 + _side(parameters[:, 0])) * (picture - picture.mean())).clamp(0, 1)

    def bounds(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        # Each pixel is monotone in c.
        first, second = self.apply(x, low), self.apply(x, high)
        return _widened(torch.minimum(first, second), torch.maximum(first, second))


@dataclass(frozen=True)
class Rotation(Family):
    """Turn about the middle, by bilinear interpolation, with zeros from outside.

    Args:
        most: degrees, to both sides.
    """

    most: float = 10.0

    @property
    def names(self) -> tuple[str, ...]:
        return ("degrees",)

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        return ((-self.most, self.most),)

    def _places(self, x: Tensor, parameters: Tensor) -> Tensor:
        angle = torch.deg2rad(parameters[:, 0]).view(-1, 1, 1)
        rows, columns = square_grid(x)
        cosine, sine = angle.cos(), angle.sin()
        middle = torch.tensor([(side - 1) / 2 for side in x.shape[1:]], dtype=torch.float64)
        turned = torch.stack([cosine * rows - sine * columns, sine * rows + cosine * columns], dim=-1)
        return turned + middle

    def apply(self, x: Tensor, parameters: Tensor) -> Tensor:
        return sampled(_picture(x), self._places(x, parameters))

    def bounds(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        # A pixel's source goes along an arc: no further than its length.
        way = torch.deg2rad((high - low)[:, 0] / 2).view(-1, 1, 1) * distance_to_middle(x)
        reach = torch.stack([way, way], dim=-1)
        return _widened(*sampled_bounds(_picture(x), self._places(x, (low + high) / 2), reach))


@dataclass(frozen=True)
class Translation(Family):
    """Move by a number of pixels, whole or not, by bilinear interpolation, with zeros from outside.

    Args:
        most: pixels, to all sides.
    """

    most: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return ("down", "right")

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        return ((-self.most, self.most), (-self.most, self.most))

    def _places(self, x: Tensor, parameters: Tensor) -> Tensor:
        rows, columns = square_grid(x)
        middle = torch.tensor([(side - 1) / 2 for side in x.shape[1:]], dtype=torch.float64)
        return torch.stack([rows, columns], dim=-1) + middle - parameters.view(-1, 1, 1, 2)

    def apply(self, x: Tensor, parameters: Tensor) -> Tensor:
        return sampled(_picture(x), self._places(x, parameters))

    def bounds(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        reach = ((high - low) / 2).view(-1, 1, 1, 2).expand(-1, *x.shape[1:], 2)
        return _widened(*sampled_bounds(_picture(x), self._places(x, (low + high) / 2), reach))


@dataclass(frozen=True)
class Line(Family):
    """Lay a straight line over the picture, like a scratch: full color within its width, fading over one pixel.

    Args:
        width: pixels of full color.
        value: the color.
        angle: largest angle to the horizontal, in degrees to both sides.
        offset: largest distance of the line from the middle, in pixels.
    """

    width: float = 1.0
    value: float = 0.0
    angle: float = 90.0
    offset: float = 4.0

    def __post_init__(self) -> None:
        if self.width <= 0 or not 0 <= self.value <= 1:
            raise ConfigError(f"width must be positive and value in [0, 1], not {self.width} and {self.value}")

    @property
    def names(self) -> tuple[str, ...]:
        return ("degrees", "offset")

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        return ((-self.angle, self.angle), (-self.offset, self.offset))

    def _away(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return each pixel's distance to the line, `(B, H, W)`."""
        angle = torch.deg2rad(parameters[:, 0]).view(-1, 1, 1)
        rows, columns = square_grid(x)
        return (angle.cos() * rows - angle.sin() * columns - parameters[:, 1].view(-1, 1, 1)).abs()

    def _cover(self, away: Tensor) -> Tensor:
        return (self.width / 2 + 1 - away).clamp(0, 1)

    def apply(self, x: Tensor, parameters: Tensor) -> Tensor:
        cover = self._cover(self._away(x, parameters))[:, None]
        return _picture(x) * (1 - cover) + self.value * cover

    def bounds(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        away = self._away(x, (low + high) / 2)
        half = (high - low) / 2
        # The distance changes by no more than the offset does, and the arc that the pixel's direction turns.
        reach = half[:, 1].view(-1, 1, 1) + torch.deg2rad(half[:, 0]).view(-1, 1, 1) * distance_to_middle(x)
        most, least = (self._cover(distance)[:, None] for distance in (away - reach, away + reach))
        picture = _picture(x)
        first = picture * (1 - most) + self.value * most
        second = picture * (1 - least) + self.value * least
        return _widened(torch.minimum(first, second), torch.maximum(first, second))


def _picture(x: Tensor) -> Tensor:
    if x.dim() != 3 or not x.is_floating_point():
        raise DataError(f"a family of pictures takes one float picture (C, H, W), not {x.dtype} {tuple(x.shape)}")
    return x.double()


def _side(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _widened(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return low - _ROUNDING, high + _ROUNDING
