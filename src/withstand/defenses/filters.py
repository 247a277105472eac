"""Purifiers that need no training: what a learnt one must beat.

All of them fall to an attacker who knows them, wholly or for the most part (He et al., 2017; Athalye et al., 2018).
"""

from collections.abc import Callable
from typing import Literal, Self, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.defenses.purifier import Purifier
from withstand.defenses.small import small_victim
from withstand.models.blocks.filter import Filter, RandomFilter
from withstand.views.pictures.common_corruptions.corruptions import jpeg

Name: TypeAlias = Literal["bit-depth", "median", "jpeg", "noise"]


class _Levels(Filter):
    gradient = "straight-through"

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.steps = 2.0**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x * self.steps) / self.steps


class BitDepth(Purifier):
    """Fewer bits a value (Xu, Evans and Qi, Feature squeezing, 2018): `round((2^b - 1) x) / (2^b - 1)`.

    Args:
        victim: what is guarded.
        bits: b, 1 to 8; the paper takes 1 for MNIST, 4 or 5 for CIFAR-10 and 5 for ImageNet.
    """

    def __init__(self, victim: Victim | nn.Module, bits: int = 4) -> None:
        if not 1 <= bits <= 8:
            raise ConfigError(f"bits must lie between 1 and 8, not {bits!r}")
        super().__init__(victim, _Levels(bits))

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim())


class _Median(Filter):
    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        pictures(x, "the median of neighbours")
        before, after = self.window // 2, (self.window - 1) // 2
        if before >= min(x.shape[2:]):
            raise DataError(f"a window of {self.window} does not fit pictures of {x.shape[2]} x {x.shape[3]}")
        wide = F.pad(x, (before, after, before, after), mode="reflect")
        windows = wide.unfold(2, self.window, 1).unfold(3, self.window, 1).flatten(4)
        count = windows.shape[4]
        middle = windows.sort(dim=4).values[..., (count - 1) // 2 : count // 2 + 1]
        return middle.mean(4)


class MedianSmoothing(Purifier):
    """The median of each value's neighbours (Xu, Evans and Qi, Feature squeezing, 2018), reflected at the border.

    Of an even number of neighbours the median is the mean of the two in the middle.

    Args:
        victim: what is guarded, of pictures `(N, C, H, W)`.
        window: the side of the square of neighbours; the paper takes 2 or 3.
    """

    def __init__(self, victim: Victim | nn.Module, window: int = 2) -> None:
        if window < 1:
            raise ConfigError(f"window must be at least 1, not {window!r}")
        super().__init__(victim, _Median(window))

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim())


class _Compressed(Filter):
    gradient = "straight-through"

    def __init__(self, quality: int) -> None:
        super().__init__()
        self.quality = quality

    def forward(self, x: Tensor) -> Tensor:
        pictures(x, "JPEG")
        if x.shape[1] not in (1, 3):
            raise DataError(f"JPEG holds pictures of 1 or 3 channels, not of {x.shape[1]}")
        return jpeg(x.float(), self.quality).to(x.dtype)


class JPEG(Purifier):
    """Compression and decompression (Dziugaite et al., 2016; Guo et al., Countering adversarial images, 2018).

    Args:
        victim: what is guarded, of pictures `(N, C, H, W)` with 1 or 3 channels.
        quality: 1 to 100, of libjpeg's scale; Guo et al. take 75.
    """

    def __init__(self, victim: Victim | nn.Module, quality: int = 75) -> None:
        if not 1 <= quality <= 100:
            raise ConfigError(f"quality must lie between 1 and 100, not {quality!r}")
        super().__init__(victim, _Compressed(quality))

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim())


class _Noisy(RandomFilter):
    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        return (x + self.std * draws.normal(*x.shape[1:]).to(x.dtype)).clamp(0, 1)


class NoisyInput(Purifier):
    """Gaussian noise on the input (Liu et al., Random self-ensemble, 2018: its first noise layer), held in the range.

    Args:
        victim: what is guarded.
        std: the noise's standard deviation, as a share of the input range; the paper takes 0.2 on CIFAR-10, for a
            network that is trained with it.
        samples: draws over which an attacker averages.
        seed: of the draws.
    """

    def __init__(self, victim: Victim | nn.Module, std: float = 0.05, *, samples: int = 10, seed: int = 0) -> None:
        if not 0 < std < float("inf"):
            raise ConfigError(f"std must be above 0 and finite, not {std!r}")
        super().__init__(victim, _Noisy(std), samples=samples, seed=seed)

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim())


_MAKE: dict[str, Callable[[Victim], Purifier]] = {
    "bit-depth": BitDepth,
    "median": MedianSmoothing,
    "jpeg": JPEG,
    "noise": NoisyInput,
}


def named_purifier(name: str, victim: Victim) -> Purifier:
    """Return a purifier with its usual settings.

    Args:
        name: one of `Name`.
        victim: what is guarded.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in _MAKE:
        raise ConfigError(f"purifier {name!r} is unknown: {nearest(name, get_args(Name))}")
    return _MAKE[name](victim)


def by_jpeg(victim: Victim) -> Purifier:
    """Return JPEG of quality 75 before a victim: what judges that are given guards by name take."""
    return JPEG(victim)


def by_bit_depth(victim: Victim) -> Purifier:
    """Return four bits a value before a victim: what judges that are given guards by name take."""
    return BitDepth(victim)


def pictures(x: Tensor, what: str) -> None:
    """Refuse what is no batch of pictures.

    Raises:
        DataError: `x` is not `(N, C, H, W)`.
    """
    if x.dim() != 4:
        raise DataError(f"{what} is of pictures (N, C, H, W), not of inputs of shape {tuple(x.shape)}")
