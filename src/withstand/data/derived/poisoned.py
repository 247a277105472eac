"""A source of which a few samples carry a trigger: for learning how a training of one's own takes it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Indices, Source, View
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped
from withstand.views.triggers import FrequencyTrigger

POISONED = "poisoned"
"""The attribute that tells which samples carry the trigger: 1, others 0."""


class Poisoned(Wrapped):
    """A source with a trigger on a small share of its samples, in memory alone; labels, order and all others stay.

    Args:
        source: pictures.
        trigger: a view that draws nothing.
        rate: share of all samples that carry it, rounded down: at most 0.01 in the paper.
        target: the class they are of, by its number; None takes samples of any kind, labels or not.
        seed: draws them; None takes the first in the source's order, as the paper's code does.

    Attributes:
        rows: the places of those samples, int64, ascending.

    Raises:
        ConfigError: a rate outside (0, 1], or of less than one sample.
        DataError: no labels, a class that is too small or is none, or pictures that the trigger refuses.
    """

    def __init__(
        self, source: Source, trigger: View, *, rate: float = 0.01, target: int | None = 0, seed: int | None = None
    ) -> None:
        self._wrap(source)
        self.trigger, self.name = trigger, f"poisoned {source.name}"
        count = int(rate * len(source) + 1e-9) if 0 < rate <= 1 else 0
        if not 0 < rate <= 1:
            raise ConfigError(f"rate must lie in (0, 1], not {rate!r}")
        if count < 1:
            least = math.ceil(1e6 / max(1, len(source))) / 1e6
            raise ConfigError(f"rate {rate:g} of {len(source):,} samples is less than one: give {least:g} or more")
        able = _of_class(source, target)
        if count > len(able):
            raise DataError(
                f"class {target} has {len(able):,} samples, and rate {rate:g} of {len(source):,} asks for {count:,}: "
                f"at most {len(able) / len(source):g} can be poisoned"
            )
        if seed is not None:
            able = able[Draws(derive(seed, "poisoned"), able).bits(1)[:, 0].argsort(stable=True)]
        self.rows = able[:count].sort().values
        self._marked = torch.zeros(len(source), dtype=torch.int64).index_fill_(0, self.rows, 1)
        self._changed(source[self.rows[:1]])  # refuses what cannot be changed, before training begins

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return cls(ArraySource(pictures, torch.arange(8) % 2), FrequencyTrigger(window=8), rate=0.25)

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {**self.source.attributes, POISONED: self._marked}

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        chosen = self._marked[batch.index].nonzero()[:, 0]
        if not len(chosen):
            return batch
        some = replace(batch, x=batch.x[chosen], index=batch.index[chosen], y=None, extras={})
        return batch.with_x(batch.x.index_copy(0, chosen, self._changed(some)))

    def _changed(self, batch: Batch) -> Tensor:
        """Return triggered samples, of the type that they had: bytes are rounded, as in a file."""
        x = self.trigger(batch, Draws(0, batch.index)).x
        return x.mul(255).round_().to(torch.uint8) if batch.x.dtype == torch.uint8 else x.to(batch.x.dtype)

    def fingerprint(self) -> str:
        told = self.rows.numpy().tobytes() + repr(describe(self.trigger)).encode()
        return blake2b(self.source.fingerprint().encode() + told, digest_size=16).hexdigest()


def _of_class(source: Source, target: int | None) -> Tensor:
    if target is None:
        return torch.arange(len(source))
    if source.labels is None:
        raise DataError("a class cannot be chosen: the data have no labels; target None takes samples of any kind")
    rows = (source.labels == target).nonzero()[:, 0]
    if not len(rows):
        present = torch.unique(source.labels[source.labels >= 0]).tolist()
        raise DataError(f"no sample is of class {target}: there are classes {present[0]} to {present[-1]}")
    return rows
