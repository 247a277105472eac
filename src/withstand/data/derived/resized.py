"""Pictures of another size or another number of channels, brought to a given shape."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Self

import torch
from torch.nn.functional import interpolate

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.outputs import Seen
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped

GREY = (0.299, 0.587, 0.114)
"""How much red, green and blue count in a grey picture (ITU-R BT.601)."""


class Resized(Wrapped):
    """A source of pictures brought to a shape, bilinear with antialiasing; of three channels one is made, of one three.

    Args:
        source: pictures `(C, H, W)` of bytes, C 1 or 3.
        shape: the wanted (C, H, W).

    Raises:
        DataError: no such pictures, or a shape of another number of channels.
    """

    def __init__(self, source: Source, shape: Sequence[int]) -> None:
        wanted = tuple(shape)
        if len(source.shape) != 3 or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"only pictures (C, H, W) of bytes are resized, not samples of shape {source.shape}")
        if (
            len(wanted) != 3
            or min(wanted) < 1
            or wanted[0] not in (source.shape[0], 1, 3)
            or source.shape[0] not in (1, 3)
        ):
            raise DataError(f"pictures of shape {source.shape} cannot be brought to {wanted}")
        self._wrap(source)
        self._shape = wanted
        self.origin = f"{source.origin}, brought to {' x '.join(map(str, wanted))}"

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (8, 3, 12, 8), dtype=torch.uint8, generator=generator)
        return cls(ArraySource(pictures, torch.arange(8) % 4), (1, 8, 8))

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        channels, height, width = self._shape
        x = batch.x.float()
        if x.shape[1] == 3 and channels == 1:
            x = (x * torch.tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)
        elif x.shape[1] == 1:
            x = x.expand(-1, channels, -1, -1)
        if x.shape[2:] != (height, width):
            x = interpolate(x, (height, width), mode="bilinear", antialias=True)
        return replace(batch, x=x.round().clamp(0, 255).to(torch.uint8))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen] | None:
        height, width = self.source.shape[1:]
        inner = self.source.part_seen(rows)
        return inner if inner is not None else [Seen(height, width, 0, 0, width, height)] * len(rows)

    def like(self, data: Any, split: str = "all") -> Source | None:
        other = self.source.like(data, split)
        return None if other is None else as_shaped(other, self._shape)

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} as {self._shape}".encode(), digest_size=16).hexdigest()


def as_shaped(source: Source, shape: Sequence[int]) -> Source:
    """Return pictures brought to a shape: the source itself where they have it."""
    return source if source.shape == tuple(shape) else Resized(source, shape)
