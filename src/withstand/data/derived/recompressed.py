"""Pictures that were all written as JPEG alike, so that their former format gives nothing away."""

from dataclasses import replace
from hashlib import blake2b
from typing import Any, Self

import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped
from withstand.views.pictures.compression import compressed


class Recompressed(Wrapped):
    """A source of pictures, each written as JPEG of one quality and read again.

    It covers what an earlier and finer compression left; of a coarser one traces may be seen through it.

    Args:
        source: pictures of bytes `(C, H, W)`, C 1 or 3.
        quality: of JPEG, 1 to 100.

    Raises:
        DataError: no such pictures.
        ConfigError: another quality.
    """

    def __init__(self, source: Source, quality: int = 90) -> None:
        if len(source.shape) != 3 or source.shape[0] not in (1, 3) or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"only pictures (C, H, W) of bytes are compressed, not samples of shape {source.shape}")
        if not 1 <= quality <= 100:
            raise ConfigError(f"quality must lie in 1 to 100, not {quality!r}")
        self._wrap(source)
        self.quality = quality
        self.origin = f"{source.origin}; all written as JPEG of quality {quality}"

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return cls(ArraySource(x, torch.arange(8) % 4))

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        x = compressed(batch.x.float() / 255, ["jpeg"] * len(batch), [self.quality] * len(batch))
        return replace(batch, x=(x * 255).round().to(torch.uint8))

    def like(self, data: Any, split: str = "all") -> Source | None:
        other = self.source.like(data, split)
        return None if other is None else Recompressed(other, self.quality)

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} jpeg {self.quality}".encode(), digest_size=16).hexdigest()
