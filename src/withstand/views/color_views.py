"""Views of color: jitter, greyscale, solarize."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.color import HUE, greyscale, jitter_sorted, solarize
from withstand.views.picture import PictureView, change_some, check_probability


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

    def parameters(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Draw factors and order, both `(N, 4)`, as `color_jitter` takes them."""
        most = torch.tensor((self.brightness, self.contrast, self.saturation, self.hue), device=draws.device)
        center = torch.tensor((1.0, 1.0, 1.0, 0.0), device=draws.device)
        least = torch.cat(((1 - most[:3]).clamp_min(0), -most[3:]))
        return draws.uniform(4) * (center + most - least) + least, draws.permutations(4)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        rows = draws.chance(self.probability).nonzero().squeeze(1)
        factors, order = self.parameters(draws)
        turn = (order == HUE).int().argmax(1)
        rows = rows[turn[rows].argsort()]
        if not len(rows):
            return x
        return x.index_copy_(0, rows, jitter_sorted(x.index_select(0, rows), factors[rows], order[rows], turn[rows]))


@dataclass(frozen=True)
class Greyscale(PictureView):
    """Take the color away with a probability; the number of channels stays."""

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return change_some(x, self.probability, draws, lambda rows, _: greyscale(rows))


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
        return change_some(
            x,
            self.probability,
            draws,
            lambda rows, _: solarize(rows, rows.new_full((len(rows),), self.threshold)),
        )
