"""Views of color: jitter, greyscale, solarize."""

from dataclasses import dataclass

from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.colors.color import HUE, greyscale, jitter_sorted, solarize
from withstand.views.pictures.picture import PictureView, change_some, check_probability, rows_where


@dataclass(frozen=True)
class ColorJitter(PictureView):
    """Brightness, contrast, saturation and hue by random amounts, in a random order for each sample.

    Args:
        brightness: b; the factor is uniform in [max(0, 1 - b), 1 + b].
        contrast: as brightness.
        saturation: as brightness.
        hue: h <= 1/2; the shift is uniform in [-h, h] turns.
        probability: chance that a picture is changed at all.
    """

    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    probability: float = 0.8

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        for name, value, most in (
            ("brightness", self.brightness, float("inf")),
            ("contrast", self.contrast, float("inf")),
            ("saturation", self.saturation, float("inf")),
            ("hue", self.hue, 0.5),
        ):
            if not 0 <= value <= most:
                raise ConfigError(f"{name} must lie in [0, {most:g}], not {value!r}")

    def parameters(self, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Draw whether `(N,)`, by which factors `(N, 4)` and in which order `(N, 4)` pictures are changed."""
        numbers = draws.uniform(9)
        ranges = [(max(0.0, 1 - most), 1 + most) for most in (self.brightness, self.contrast, self.saturation)]
        low, high = numbers.new_tensor([*ranges, (-self.hue, self.hue)]).T
        return numbers[:, 0] < self.probability, numbers[:, 1:5] * (high - low) + low, numbers[:, 5:].argsort(1)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        chosen, factors, order = self.parameters(draws)
        turn = (order == HUE).int().argmax(1)
        rows = rows_where(chosen)
        rows = rows[turn[rows].argsort()]
        return change_some(x, rows, lambda part: jitter_sorted(part, factors[rows], order[rows], turn[rows]))


@dataclass(frozen=True)
class Greyscale(PictureView):
    """Take the color away with a probability; the number of channels stays."""

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return change_some(x, rows_where(draws.chance(self.probability, 1)[:, 0]), greyscale)


@dataclass(frozen=True)
class Solarize(PictureView):
    """Invert bright pixels with a probability.

    Args:
        threshold: where brightness begins, in [0, 1].
        probability: chance that a picture is changed.
    """

    threshold: float = 128 / 255
    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_probability("threshold", self.threshold)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        rows = rows_where(draws.chance(self.probability, 1)[:, 0])
        return change_some(x, rows, lambda part: solarize(part, part.new_full((len(part),), self.threshold)))
