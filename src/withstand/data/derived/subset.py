"""Parts of a source: chosen samples, and a fixed share held out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Table
from withstand.core.outputs import Seen
from withstand.core.random import permutation
from withstand.core.roles import Indices, Source
from withstand.core.victims.changeable import Changeable
from withstand.data.shared.digest import as_indices


class _Chosen(Source):
    """Rows of another source; what `Subset` and `Held` share."""

    source: Source
    as_they_are = True
    """Whether samples are handed on unchanged."""
    _rows: Tensor

    def _choose(self, source: Source, rows: Tensor) -> None:
        """Take the rows, and the whole's name and origin with them."""
        self.source, self._rows = source, rows
        self.name, self.origin, self.skipped = source.name, source.origin, source.skipped
        self.at_once, self.kind, self.account = source.at_once, source.kind, source.account
        self.notes, self.levels = source.notes, source.levels
        self.low, self.high = source.low, source.high
        self.names = tuple(source.names[row] for row in rows.tolist()) if source.names else ()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return replace(self.source[self._rows[chosen]], index=chosen)

    def for_views(self, indices: Indices) -> Batch:
        if type(self).__getitem__ is not _Chosen.__getitem__:
            return self[indices]  # samples that are changed
        chosen = as_indices(indices, len(self))
        return replace(self.source.for_views(self._rows[chosen]), index=chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen] | None:
        return self.source.part_seen(self._rows[list(rows)].tolist()) if self.as_they_are else None

    @property
    def labels(self) -> Tensor | None:
        labels = self.source.labels
        return None if labels is None else labels[self._rows]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def targets(self) -> Tensor | None:
        targets = self.source.targets
        return None if targets is None else targets[self._rows]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {name: value[self._rows] for name, value in self.source.attributes.items()}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return self.source.group_names

    @property
    def together(self) -> Tensor | None:
        together = self.source.together
        return None if together is None else together[self._rows]

    @property
    def structures(self) -> tuple[str, ...]:
        return self.source.structures

    @property
    def sizes(self) -> Tensor | None:
        sizes = self.source.sizes
        return None if sizes is None else sizes[self._rows]

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.fields

    @property
    def changeable(self) -> Tensor | Changeable | None:
        return self.source.changeable

    def like(self, data: Any, split: str = "all") -> Source | None:
        return self.source.like(data, split)

    def radius_in_units(self, eps: float) -> Table | None:
        return self.source.radius_in_units(eps) if self.as_they_are else None

    def in_units(self, x: Tensor) -> Mapping[str, Sequence[str]] | None:
        return self.source.in_units(x) if self.as_they_are else None

    @property
    def rows(self) -> Tensor:
        """Each sample's place in the whole source, int64 `(N,)`."""
        return self._rows

    def fingerprint(self) -> str:
        rows = self._rows.numpy().tobytes()
        return blake2b(self.source.fingerprint().encode() + rows, digest_size=16).hexdigest()


class Subset(_Chosen):
    """Chosen samples of a source, in the given order; labels and class names follow.

    Args:
        source: the whole.
        indices: places in it, each from 0 to its length, at least one: a list, a tuple, a range, an array or a tensor
            of whole numbers, which a description holds as a list.

    Raises:
        DataError: no indices, one outside the source, or no whole numbers, as a mask.
    """

    def __init__(self, source: Source, indices: Indices) -> None:
        try:
            self._choose(source, as_indices(indices, len(source)))
        except IndexError as error:
            raise DataError(f"a subset cannot be taken: {error}") from None
        if not len(self._rows):
            raise DataError("a subset needs at least one index")

    def _as_described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "indices": self._rows.tolist()} if "indices" in arguments else arguments


class Labelled(Subset):
    """The samples whose answer is known: a label, or a number to predict.

    Args:
        source: a graph, a table, or anything else with labels, -1 where there is none.

    Raises:
        DataError: no sample has one.
    """

    def __init__(self, source: Source) -> None:
        known = answered(source)
        if known is None or not bool(known.any()):
            raise DataError("no sample has a label")
        super().__init__(source, known.nonzero()[:, 0])


def answered(source: Source) -> Tensor | None:
    """Return which samples' label, or number to predict, is known, bool `(N,)`; None where the source has neither."""
    if source.labels is not None:
        return source.labels >= 0
    return None if source.targets is None else ~source.targets.isnan()


def labelled(source: Source) -> Source:
    """Return the samples whose label, or number to predict, is known: the source itself where that is all or none."""
    known = answered(source)
    return source if known is None or bool(known.all()) or not bool(known.any()) else Labelled(source)


def in_whole(source: Source) -> tuple[Source, Tensor]:
    """Return the whole that chosen samples were chosen from, and each sample's place in it, int64 `(N,)`."""
    rows = torch.arange(len(source))
    while isinstance(source, _Chosen) and source.as_they_are:
        rows = source.rows[rows]
        source = source.source
    return source, rows


def apart(source: Source, other: Source) -> Source:
    """Return a source's samples that are none of another's: the source itself where no sample is in both.

    Raises:
        DataError: every sample is in both.
    """
    whole, rows = in_whole(source)
    theirs, taken = in_whole(other)
    shared = torch.isin(rows, taken)
    if not bool(shared.any()) or whole.fingerprint() != theirs.fingerprint():
        return source
    if bool(shared.all()):
        raise DataError(f"all {len(rows):,} samples of {source.name} are among those that are kept apart")
    return Subset(whole, rows[~shared])


class Held(_Chosen):
    """One side of a fixed division of a source in two; `holdout` gives both.

    Samples without a label, where others have one, stay on the training side: they can be learnt from, and not judged.
    Samples that belong together, as the slices of a volume, are on one side: the share is one of wholes.

    Args:
        source: the whole.
        part: `train` or `test`.
        fraction: the share of `test`, above 0 and below 1; of every class when the source is labelled.
        seed: chooses the division.

    Raises:
        ConfigError: an unknown part, or a fraction out of range.
        DataError: a source of one sample, or of one whole.
    """

    def __init__(self, source: Source, part: str, *, fraction: float = 0.2, seed: int = 0) -> None:
        if part not in ("train", "test"):
            raise ConfigError(f"unknown part {part!r}: 'train' or 'test'")
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction={fraction} must lie between 0 and 1: it is the share that is held out")
        if len(source) < 2:
            raise DataError("a source of one sample cannot be divided in two")
        test = _held_wholes(source, fraction, seed)
        self._choose(source, (test if part == "test" else ~test).nonzero()[:, 0])


def holdout(source: Source, fraction: float = 0.2, seed: int = 0) -> tuple[Held, Held]:
    """Divide a source into (train, test), stratified when it is labelled, the same for the same seed.

    >>> from withstand.data.arrays.source import ArraySource
    >>> train, test = holdout(ArraySource(torch.rand(10, 4)))
    >>> len(train), len(test)
    (8, 2)
    """
    return Held(source, "train", fraction=fraction, seed=seed), Held(source, "test", fraction=fraction, seed=seed)


def holdout_or_all(source: Source, share: float, seed: int = 0) -> tuple[Source, Source | None]:
    """Divide a source into (train, test), or with a share of 0 keep nothing apart: (source, None)."""
    return holdout(source, share, seed) if share else (source, None)


def _held_wholes(source: Source, fraction: float, seed: int) -> Tensor:
    """Return which samples are held out, bool `(N,)`: a share of the samples, or of what they are parts of."""
    together = source.together
    if together is None:
        return held_out(len(source), source.labels, fraction, seed, answered(source))
    wholes, own = torch.unique(together, return_inverse=True)
    if len(wholes) < 2:
        raise DataError(f"all {source.kind}s belong together: without a second whole none can be held out")
    known = answered(source)
    some = None if known is None else torch.zeros(len(wholes), dtype=torch.bool).index_fill_(0, own[known], True)
    return held_out(len(wholes), None, fraction, seed, some)[own]


def held_out(size: int, labels: Tensor | None, fraction: float, seed: int, known: Tensor | None = None) -> Tensor:
    """Return which samples are held out, bool `(size,)`; at least one, and not all.

    Classes share the held-out places by largest remainder, so that the whole is exact and no class is off by
    more than one. Where `known`, bool `(size,)`, names some samples, the share is one of these alone.
    """
    rows = torch.arange(size) if known is None else known.nonzero()[:, 0]
    if 2 <= len(rows) < size:
        held = torch.zeros(size, dtype=torch.bool)
        held[rows] = held_out(len(rows), None if labels is None else labels[rows], fraction, seed)
        return held
    total = min(max(round(size * fraction), 1), size - 1)
    order = permutation(size, seed, "holdout")
    held = torch.zeros(size, dtype=torch.bool)
    if labels is None:
        held[order[:total]] = True
        return held
    groups = [order[labels[order] == label] for label in torch.unique(labels)]
    wanted = [len(group) * total / size for group in groups]
    counts = [int(share) for share in wanted]
    by_remainder: Sequence[int] = sorted(range(len(groups)), key=lambda place: counts[place] - wanted[place])
    for place in by_remainder[: total - sum(counts)]:
        counts[place] += 1
    for group, count in zip(groups, counts, strict=True):
        held[group[:count]] = True
    return held
