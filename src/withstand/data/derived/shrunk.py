"""Pictures at a whole fraction of their size: trials that cost a quarter, or less."""

from dataclasses import replace
from hashlib import blake2b

import torch
from torch.nn.functional import avg_pool2d

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Indices, Source
from withstand.data.derived.wrapped import Wrapped


class Shrunk(Wrapped):
    """A source of pictures, each side divided by a whole factor: the mean of every square of pixels.

    Args:
        source: pictures `(C, H, W)`, uint8, H and W multiples of the factor.
        factor: at least 2.

    Raises:
        DataError: no uint8 pictures, or a side that the factor does not divide.
    """

    def __init__(self, source: Source, factor: int = 2) -> None:
        if factor < 2:
            raise ConfigError(f"factor must be at least 2, not {factor!r}")
        if len(source.shape) != 3 or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"only pictures (C, H, W) of bytes shrink, not samples of shape {source.shape}")
        if source.shape[1] % factor or source.shape[2] % factor:
            raise DataError(f"a factor of {factor} does not divide pictures of {source.shape[1]} x {source.shape[2]}")
        self._wrap(source)
        self.factor = factor
        self.origin = f"{source.origin}, sides over {factor}"

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        return replace(batch, x=avg_pool2d(batch.x.float(), self.factor).round().to(torch.uint8))

    @property
    def shape(self) -> tuple[int, ...]:
        channels, height, width = self.source.shape
        return channels, height // self.factor, width // self.factor

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} / {self.factor}".encode(), digest_size=16).hexdigest()
