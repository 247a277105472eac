"""Pictures of which half are made anew by processes that leave traces as generators do: for trials without generators.

These are stand-ins: no network was trained, and what tells them is known in closed form. A detector's figures on them
say how detectors compare, not how well it would find pictures of any published generator.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws, derive
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped


def transposed(x: Tensor, draws: Draws) -> Tensor:
    """Halve a picture and bring it back by a transposed convolution of kernel 3 and stride 2, whose overlap is uneven.

    The checkerboard of decoders: places under the middle of a stroke are brighter than those where two strokes meet.
    """
    channels = x.shape[1]
    kernel = x.new_tensor([0.5, 1.1, 0.5])
    weight = (kernel[:, None] * kernel).expand(channels, 1, 3, 3)
    small = F.avg_pool2d(x, 2, ceil_mode=True)
    wide = F.conv_transpose2d(F.pad(small, (0, 1, 0, 1), mode="replicate"), weight, stride=2, groups=channels)
    return wide[:, :, 1 : 1 + x.shape[2], 1 : 1 + x.shape[3]]


def resampled(x: Tensor, draws: Draws) -> Tensor:
    """Halve a picture, double it again, bicubic both ways, and sharpen it: the traces of upsampling."""
    small = F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True, recompute_scale_factor=True)
    wide = F.interpolate(small, x.shape[2:], mode="bicubic")
    return wide + 0.5 * (wide - F.avg_pool2d(F.pad(wide, (1, 1, 1, 1), mode="replicate"), 3, 1))


def truncated(x: Tensor, draws: Draws) -> Tensor:
    """Keep the lower half of a picture's frequencies in each direction, and add white noise: the traces of a code."""
    tall, wide = (_low_pass(side).to(x) for side in x.shape[2:])
    return tall @ x @ wide + draws.normal(*x.shape[1:]).to(x) * (2 / 255)


PROCESSES: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "transposed": transposed,
    "resampled": resampled,
    "truncated": truncated,
}
"""`(x, draws) -> x` on pictures `(N, C, H, W)` in [0, 1], by name; results are not yet clipped."""


class Generated(Wrapped):
    """A source of pictures of which half go through one of some processes; labels say which, 0 for none.

    Which picture meets which process hangs on the seed and on its place alone. The source's own labels are given up.

    Args:
        source: pictures of bytes `(C, H, W)`, sides of at least 4; they are taken to be real.
        processes: names in `PROCESSES`, each of as many pictures.
        strength: share of what a process makes in the picture that is given; the rest is the picture as it was. Small
            shares are hard to find.
        seed: deals the processes out.

    Raises:
        DataError: no such pictures.
        ConfigError: an unknown process, none, one twice, or a strength outside (0, 1].
    """

    def __init__(
        self,
        source: Source,
        processes: tuple[str, ...] = ("transposed", "resampled", "truncated"),
        *,
        strength: float = 1.0,
        seed: int = 0,
    ) -> None:
        if len(source.shape) != 3 or min(source.shape[1:]) < 4 or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"pictures (C, H, W) of bytes are made anew, not samples of shape {source.shape}")
        for name in processes:
            if name not in PROCESSES:
                raise ConfigError(f"process {name!r} is unknown: {nearest(name, PROCESSES)}")
        if not processes or len(set(processes)) != len(processes):
            raise ConfigError(f"processes must be different names, at least one, not {processes!r}")
        if not 0 < strength <= 1:
            raise ConfigError(f"strength must lie in (0, 1], not {strength!r}")
        self._wrap(source)
        self.processes, self.strength, self.seed = processes, strength, seed
        self.name = f"{source.name}, half of it made anew"
        self.origin = f"{source.origin}; half made anew by {', '.join(processes)}"
        place = torch.arange(len(source))
        kind = Draws(derive(seed, "process"), place).integers(0, 2 * len(processes), 1)[:, 0]
        self._labels = (kind - len(processes) + 1).clamp_min(0)

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        return cls(ArraySource(torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)))

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        y = self._labels[batch.index]
        x = batch.x.clone()
        for place, name in enumerate(self.processes, start=1):
            rows = (y == place).nonzero()[:, 0]
            if len(rows):
                before = batch.x[rows].float() / 255
                made = PROCESSES[name](before, Draws(derive(self.seed, name), batch.index[rows])).clamp(0, 1)
                x[rows] = (torch.lerp(before, made, self.strength) * 255).round().to(torch.uint8)
        return replace(batch, x=x, y=y)

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return ("real", *self.processes)

    @property
    def targets(self) -> Tensor | None:
        return None

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return self.source.attributes

    def fingerprint(self) -> str:
        words = f"{self.source.fingerprint()} {self.processes} {self.strength} {self.seed}"
        return blake2b(words.encode(), digest_size=16).hexdigest()


def _low_pass(side: int) -> Tensor:
    """Return the projection on the lower half of the cosine transform's frequencies, `(side, side)`."""
    place = torch.arange(side, dtype=torch.float64)
    cosines = torch.cos(math.pi / side * (place + 0.5) * place[:, None]) * math.sqrt(2 / side)
    cosines[0] /= math.sqrt(2)
    low = cosines[: (side + 1) // 2]
    return low.T @ low
