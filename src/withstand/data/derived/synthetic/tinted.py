"""Grey pictures before a coloured ground: two independent things to see in each, of which one is far easier.

The feature-suppression test of Intriguing Properties of Contrastive Losses (2021) and of MCL (2024), on real pictures.
"""

from dataclasses import replace
from hashlib import blake2b
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws, derive
from withstand.core.roles import Indices, Source
from withstand.data.derived.subset import _Chosen

Told = Literal["thing", "tint"]


class Tinted(_Chosen):
    """A source of grey pictures, each white on a ground of one of some hues; hues are independent of the things.

    Args:
        source: grey pictures of bytes, `(1, H, W)`, dark ground.
        tints: how many hues.
        told: what the labels are: the source's own, or the tint.
        seed: deals the hues out, by a picture's place in the source.

    Raises:
        DataError: other pictures than grey ones.
    """

    def __init__(self, source: Source, *, tints: int = 10, told: Told = "thing", seed: int = 0) -> None:
        if len(source.shape) != 3 or source.shape[0] != 1:
            raise DataError(f"only grey pictures (1, H, W) can be tinted, not samples of shape {source.shape}")
        if tints < 2:
            raise ConfigError(f"tints must be at least 2, not {tints!r}")
        if told not in get_args(Told):
            raise ConfigError(f"told {told!r} is unknown: {nearest(str(told), get_args(Told))}")
        self._choose(source, torch.arange(len(source)))
        self.as_they_are = False
        self.tints, self.told = tints, told
        self.name = f"tinted {source.name}"
        self._tint = Draws(derive(seed, "tints"), self._rows).integers(0, tints, 1)[:, 0]
        self._colors = _hues(tints)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, *self.source.shape[1:])

    @property
    def labels(self) -> Tensor | None:
        return self._tint if self.told == "tint" else self.source.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"tint {tint}" for tint in range(self.tints)) if self.told == "tint" else self.source.classes

    def __getitem__(self, indices: Indices) -> Batch:
        batch = super().__getitem__(indices)
        grey = batch.x.float()
        ground = self._colors[self._tint[batch.index]].view(-1, 3, 1, 1)
        # White things before the ground: what is grey lets some of it through.
        x = (grey + (255 - grey) * ground).round().to(torch.uint8)
        labels = self.labels
        return replace(batch, x=x, y=None if labels is None else labels[batch.index])

    def fingerprint(self) -> str:
        dealt = self._tint.numpy().tobytes() + self.told.encode()
        return blake2b(super().fingerprint().encode() + dealt, digest_size=16).hexdigest()


def _hues(count: int) -> Tensor:
    """Return evenly spaced hues of full saturation and half brightness, RGB in [0, 1], `(count, 3)`."""
    turn = 6 * torch.arange(count) / count
    offsets = torch.tensor([0.0, 4.0, 2.0])
    return ((turn[:, None] + offsets) % 6 - 3).abs().sub(1).clamp(0, 1) * 0.5
