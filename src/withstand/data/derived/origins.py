"""Real pictures and synthetic ones: which a picture is, and which generator made it.

Two tracks, as ImagiNet (2024) has them. The classes of the data are real pictures and one class a generator.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.relabelled import Relabelled
from withstand.data.derived.subset import _Chosen
from withstand.data.derived.wrapped import Wrapped
from withstand.data.pictures.files import PictureFiles, is_picture_file
from withstand.data.pictures.npz.kinds import open_kinds

GENERATOR = "generator"
"""The attribute, and the extra of a batch, that says which generator made a sample; -1 for real pictures."""
REAL, SYNTHETIC = "real", "synthetic"


class Origins(Wrapped):
    """A source of real and synthetic pictures: labels are 0 for real and 1 for synthetic.

    Attribute and extra "generator" number the generators, by their classes' order; -1 for a real picture.

    Args:
        source: labelled pictures; a class is the real ones', or a generator's.
        real: the classes of real pictures; () for the one called "real", or those with real as their first word.

    Raises:
        DataError: no pictures, no labels, no class of real pictures, classes whose names leave open whether they are
            real, as realistic-vision beside real, or none of synthetic ones.
        ConfigError: `real` names a class that there is not.
    """

    def __init__(self, source: Source, real: tuple[str, ...] = ()) -> None:
        if len(source.shape) != 3 or source.kind != "picture":
            raise DataError(f"origins are told of pictures (C, H, W), and a sample of these data is a {source.kind}")
        if source.labels is None or bool((source.labels < 0).any()):
            raise DataError("origins need a class of each picture, as its folder: real, or a generator's")
        self._wrap(source)
        self.real = _real_classes(source.classes, real)
        known = torch.tensor([name in self.real for name in source.classes])
        if not len(known) or int(source.labels.max()) >= len(known):
            raise DataError("origins need class names, and not all classes of these data have one")
        codes = torch.where(known, -1, (~known).cumsum(0) - 1)
        self.generators = tuple(name for name in source.classes if name not in self.real)
        self._generator = codes[source.labels]
        self._labels = (self._generator >= 0).long()
        if bool((self._labels == self._labels[0]).all()):
            one = (REAL, SYNTHETIC)[int(self._labels[0])]
            raise DataError(f"all pictures are {one}: {', '.join(source.classes)} name no others")

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return cls(ArraySource(x, torch.arange(8) % 3, classes=("real", "one", "two")))

    def __getitem__(self, indices: Indices) -> Batch:
        return self._told(self.source[indices])

    def for_views(self, indices: Indices) -> Batch:
        return self._told(self.source.for_views(indices))

    def _told(self, batch: Batch) -> Batch:
        own = self._generator[batch.index]
        return replace(batch, y=self._labels[batch.index], extras={**batch.extras, GENERATOR: own})

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return (REAL, SYNTHETIC)

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {**self.source.attributes, GENERATOR: self._generator}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {**self.source.group_names, GENERATOR: self.generators}

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other pictures with their origins told in the same way; their generators are their own.

        Those that do not say what is real come without labels: a detector is asked about such.
        """
        if isinstance(data, Origins):
            return None if split == "test" else data
        inner = self.source.like(data, split)
        if inner is None:
            inner = _opened(data, split, self)
        if inner is None or inner.labels is None:
            return inner
        try:
            return Origins(inner, tuple(name for name in self.real if name in inner.classes))
        except DataError as error:
            return _without(inner, str(error))

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} real {self.real}".encode(), digest_size=16).hexdigest()


class Generators(_Chosen):
    """The synthetic pictures of a source, labelled by their generators.

    Args:
        source: knows which generator made its pictures, as `Origins` does.

    Raises:
        DataError: it does not, or all are of one generator.
    """

    def __init__(self, source: Source) -> None:
        names = source.group_names.get(GENERATOR)
        if names is None:
            raise DataError(f"{source.name} knows no generators: Origins tells them by the data's classes")
        made = source.attributes[GENERATOR]
        if len(torch.unique(made[made >= 0])) < 2:
            raise DataError(f"there are no two generators to tell apart, only {', '.join(names) or 'none'}")
        self._choose(source, (made >= 0).nonzero()[:, 0])
        self.as_they_are = False
        self._labels = made[made >= 0]

    @classmethod
    def example(cls) -> Self:
        return cls(Origins.example())

    def __getitem__(self, indices: Indices) -> Batch:
        batch = super().__getitem__(indices)
        return replace(batch, y=self._labels[batch.index])

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.group_names[GENERATOR]

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return the synthetic ones of other pictures, their generators numbered as these are.

        All of them come without labels where they do not say what is real, or have other generators than these.
        """
        other = self.source.like(data, split)
        if other is None or GENERATOR not in other.group_names:
            return other
        try:
            told = Generators(other)
        except DataError as error:
            return _without(other, str(error))
        strange = [name for name in told.classes if name not in self.classes]
        if strange:
            return _without(other, f"{strange[0]} is none of the generators {', '.join(self.classes)}")
        own = torch.tensor([self.classes.index(name) for name in told.classes])
        return Relabelled(told, own[told._labels], self.classes)

    def fingerprint(self) -> str:
        return blake2b(f"{super().fingerprint()} generators".encode(), digest_size=16).hexdigest()


class Untold(Wrapped):
    """Pictures without what is told of them: neither labels nor classes.

    Args:
        source: the pictures.
    """

    def __init__(self, source: Source) -> None:
        self._wrap(source)

    @classmethod
    def example(cls) -> Self:
        return cls(Origins.example())

    def __getitem__(self, indices: Indices) -> Batch:
        return replace(self.source[indices], y=None)

    @property
    def labels(self) -> Tensor | None:
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def targets(self) -> Tensor | None:
        return None

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} untold".encode(), digest_size=16).hexdigest()


def _without(source: Source, reason: str) -> Untold:
    warnings.warn(f"{source.name} is read without origins: {reason}", stacklevel=3)
    return Untold(source)


def _real_classes(classes: Sequence[str], asked: tuple[str, ...]) -> tuple[str, ...]:
    for name in asked:
        if name not in classes:
            raise ConfigError(f"real names no class {name!r}: {nearest(name, classes)}")
    if asked:
        return asked
    found = called_real(classes)
    if not found:
        shown = ", ".join(classes[:5]) + (" ..." if len(classes) > 5 else "")
        raise DataError(f"none of the classes {shown} is called real: say by real which holds real pictures")
    open_ones = [name for name in classes if name.lower().startswith(REAL) and name not in found]
    if open_ones:
        raise DataError(
            f"{', '.join((*found, *open_ones))} all begin with real, as generators' names do too: say by real which "
            "hold real pictures"
        )
    return found


def called_real(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that by their names hold real pictures: the one called real, else those that begin so.

    Real has to be a word of its own: real_photos and real2 are found, and realistic-vision is not.
    """
    exactly = tuple(name for name in classes if name.lower() == REAL)
    return exactly or tuple(name for name in classes if re.match(rf"{REAL}(?![a-z])", name.lower()))


def _opened(data: Any, split: str, like: Source) -> Source | None:
    """Return other data as a source of their own classes; None where they have no such part, or come in several."""
    from withstand.data.load import parts_of, read_like, reading_of  # load opens every kind of data, these too

    if is_picture_file(data):
        return PictureFiles((str(data),), like.shape[-1], like.shape[0], reading=reading_of(like))
    kinds = open_kinds(data)
    parts: dict[str, Source] = parts_of(data, **read_like(like, data)) if kinds is None else {"train": kinds}
    if split == "test":
        return parts.get("test", parts.get("validation"))
    return None if split == "all" and len(parts) > 1 else parts["train"]
