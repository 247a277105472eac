"""Pictures to RAW and back: the two networks of RAW-ISP, and the filter that they make with a classic pipeline.

All You Need is RAW: Defending Against Adversarial Attacks with Camera Image Pipelines (Zhang, Dong, Heide; ECCV 2022).
Sizes: `B` pictures of `H` x `W` pixels; packed RAW is `(B, 4, H/2, W/2)`, the four places of the Bayer pattern.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, max_pool2d, pad, pixel_shuffle, pixel_unshuffle

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.models.blocks.filter import Filter
from withstand.models.restoration.bayer import Interpolation, Pattern, demosaic, known_pattern, known_way, unpacked
from withstand.models.restoration.camera import Camera, process


class _Levels(nn.Module):
    """A U-Net without normalisation, which would take a picture's brightness away (Ronneberger et al., 2015).

    Args:
        channels_in: of maps that come.
        channels_out: of maps that go.
        channels: of each level, the finest first.
    """

    def __init__(self, channels_in: int, channels_out: int, channels: Sequence[int]) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ConfigError(f"channels must name one level or more of at least 1 each, not {tuple(channels)}")
        before, finer = (channels_in, *channels[:-1]), list(channels[:-1])[::-1]
        self.down = nn.ModuleList(_Twice(one, other) for one, other in zip(before, channels, strict=True))
        coarser = list(channels[:0:-1])
        self.narrow = nn.ModuleList(nn.Conv2d(one, other, 1) for one, other in zip(coarser, finer, strict=True))
        self.up = nn.ModuleList(_Twice(2 * width, width) for width in finer)
        self.last = nn.Conv2d(channels[0], channels_out, 1)

    def coarsest(self, x: Tensor) -> list[Tensor]:
        """Return each level's map."""
        found: list[Tensor] = []
        for level in self.down:
            found.append(level(max_pool2d(found[-1], 2) if found else x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        *finer, x = self.coarsest(x)
        for narrow, block, beside in zip(self.narrow, self.up, finer[::-1], strict=True):
            x = block(torch.cat([beside, interpolate(narrow(x), scale_factor=2, mode="nearest")], 1))
        made: Tensor = self.last(x)
        return made


class _Twice(nn.Module):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.second(leaky_relu(self.first(x), 0.2)), 0.2)


class ToRaw(Model):
    """F: pictures `(B, 3, H, W)` in [0, 1] to packed RAW, by a U-Net on squares of 2 x 2 pixels.

    Features are the coarsest map's means.

    Args:
        channels: of each level, the finest first.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.levels = _Levels(12, 4, channels)
        self.channels, self.width = tuple(channels), channels[-1]

    @classmethod
    def example(cls) -> Self:
        return cls((2, 3))

    @property
    def unit(self) -> int:
        """What sides are multiples of."""
        return int(2 ** len(self.channels))

    def raw(self, x: Tensor) -> Tensor:
        """Return packed RAW, not held in [0, 1], of pictures whose sides are multiples of `unit`."""
        made: Tensor = self.levels(pixel_unshuffle(x, 2))
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Return the features `(B, width)` of pictures in bytes or in [0, 1], of any size."""
        dtype = self.levels.last.weight.dtype
        whole = enlarged(unit_range(x, dtype).to(dtype), self.unit)
        return self.levels.coarsest(pixel_unshuffle(whole, 2))[-1].mean((2, 3))


class FromRaw(Part, nn.Module):
    """G: packed RAW in [0, 1] to pictures `(B, 3, H, W)`, not held in [0, 1].

    Args:
        channels: of each level, the finest first.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.levels = _Levels(4, 12, channels)
        self.channels = tuple(channels)

    @classmethod
    def example(cls) -> Self:
        return cls((2, 3))

    def forward(self, raw: Tensor) -> Tensor:
        return pixel_shuffle(self.levels(raw), 2)


class ClassicPipeline(Part, nn.Module):
    """S: packed RAW in [0, 1] to pictures in [0, 1] by a camera's own steps; nothing of it is learnt.

    Args:
        camera: its settings.
        pattern: of the RAW.
        way: of demosaicing.
    """

    def __init__(self, camera: Camera, pattern: Pattern = "RGGB", way: Interpolation = "malvar") -> None:
        super().__init__()
        self.camera, self.pattern, self.way = camera, known_pattern(pattern), known_way(way)
        self._colors = camera.colors()

    @classmethod
    def example(cls) -> Self:
        return cls(Camera())

    def forward(self, raw: Tensor) -> Tensor:
        return process(demosaic(unpacked(raw), self.pattern, self.way), self._colors)


class RawFilter(Filter):
    """Cleans pictures by way of RAW: `omega G(F(x)) + (1 - omega) S(F(x))`, in [0, 1].

    All of it can be differentiated, so an attacker who knows it goes back by its own slopes. Sides that are no
    multiples are made larger by reflection at the right and below, and cut again.

    Args:
        to_raw: F.
        from_raw: G.
        classic: S.
        omega: what G weighs; 1 for G alone, 0 for S alone.

    Raises:
        ConfigError: omega outside [0, 1], or networks of other levels.
    """

    def __init__(self, to_raw: ToRaw, from_raw: FromRaw, classic: ClassicPipeline, omega: float = 0.7) -> None:
        super().__init__()
        if not 0 <= omega <= 1:
            raise ConfigError(f"omega must lie in [0, 1], not {omega!r}")
        if len(to_raw.channels) != len(from_raw.channels):
            raise ConfigError(f"F has {len(to_raw.channels)} levels and G {len(from_raw.channels)}: they need as many")
        self.to_raw, self.from_raw, self.classic, self.omega = to_raw, from_raw, classic, omega

    @property
    def pattern(self) -> Pattern:
        """Of the RAW."""
        return self.classic.pattern

    def raw(self, x: Tensor) -> Tensor:
        """Return packed RAW in [0, 1] of pictures `(B, 3, H, W)` in [0, 1], with sides made multiples of `unit`.

        Raises:
            DataError: no pictures of three colors, or too small ones.
        """
        return self.to_raw.raw(enlarged(x, self.to_raw.unit)).clamp(0, 1)

    def learnt(self, raw: Tensor) -> Tensor:
        """Return what G makes of packed RAW, in [0, 1]."""
        made: Tensor = self.from_raw(raw)
        return made.clamp(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.raw(x)
        made = x.new_zeros(())
        if self.omega > 0:
            made = made + self.omega * self.learnt(raw)
        if self.omega < 1:
            made = made + (1 - self.omega) * self.classic(raw)
        return made[..., : x.shape[2], : x.shape[3]]


def enlarged(x: Tensor, unit: int) -> Tensor:
    """Return color pictures with sides that are multiples of `unit`, reflected at the right and below.

    Raises:
        DataError: no pictures `(B, 3, H, W)`, or sides so small that a reflection does not reach.
    """
    if x.dim() != 4 or x.shape[1] != 3:
        raise DataError(f"RAW is made of color pictures (B, 3, H, W), not of samples of shape {tuple(x.shape)}")
    down, right = (-side % unit for side in x.shape[2:])
    if down >= x.shape[2] or right >= x.shape[3]:
        raise DataError(
            f"pictures of {x.shape[2]} x {x.shape[3]} are too small: sides of more than {unit // 2} are needed"
        )
    return pad(x, (0, right, 0, down), mode="reflect") if down or right else x
