"""Views of pixel values: Gaussian noise with a strength of each sample's own, and normalisation."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.picture import (
    PictureView,
    change_some,
    check_probability,
    check_range,
    per_sample,
    rows_where,
)


def gaussian_noise(x: Tensor, deviation: Tensor, draws: Draws) -> Tensor:
    """Add white noise of each sample's own strength, and clamp to [0, 1].

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        deviation: the noise's standard deviation, `(N,)`.
        draws: N streams.
    """
    return draws.normal(*x.shape[1:]).mul_(per_sample(deviation)).add_(x).clamp_(0, 1)


@dataclass(frozen=True)
class RandomGaussianNoise(PictureView):
    """Add white noise of a random strength with a probability.

    Args:
        deviation: range of the standard deviation, uniform; pictures lie in [0, 1].
        probability: chance that a picture is changed.
    """

    deviation: tuple[float, float] = (0.0, 0.1)
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("deviation", self.deviation, 0, 1)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        chance, strength = draws.uniform(2).unbind(1)
        deviation = strength * (self.deviation[1] - self.deviation[0]) + self.deviation[0]
        rows = rows_where(chance < self.probability)
        noise = draws.child("noise")[rows]
        return change_some(x, rows, lambda part: gaussian_noise(part, deviation[rows], noise))


@dataclass(frozen=True)
class Normalize(PictureView):
    """Subtract a mean and divide by a deviation, channel by channel.

    For encoders of others that expect it; the encoders here own their normalisation. Comes last: its
    output is not in [0, 1].

    Args:
        mean: one number a channel.
        std: one positive number a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ConfigError(f"mean and std must be equally long, std positive, not {self.mean!r} and {self.std!r}")

    @classmethod
    def example(cls) -> Self:
        return cls((0.5,), (0.25,))

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        if len(self.mean) not in (1, x.shape[1]):
            raise ConfigError(f"mean has {len(self.mean)} numbers, the pictures have {x.shape[1]} channels")
        shape = (1, -1, 1, 1)
        return x.sub_(x.new_tensor(self.mean).view(shape)).div_(x.new_tensor(self.std).view(shape))
