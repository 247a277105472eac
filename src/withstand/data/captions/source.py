"""Sources of pictures with captions.

Sizes: `N` pictures, `C` captions of the one that has most, `L` words of the longest.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.made import SAYINGS, sayings
from withstand.data.captions.named import CAPTIONED, folder_of
from withstand.data.captions.table import FILE, read_captions, table_of
from withstand.data.captions.words import Vocabulary
from withstand.data.derived.subset import Subset, labelled
from withstand.data.derived.wrapped import Wrapped
from withstand.data.pictures.decoding.listing import open_parts
from withstand.data.pictures.folder import ImageFolder

CAPTIONS = "captions"
"""The name in `Batch.extras` of captions as ids, int64 `(B, C, L)`, 0 after a caption's end and for those not there."""


class Captioned(Wrapped):
    """Pictures of another source, each with one caption or more, in `extras["captions"]`.

    Attributes:
        vocabulary: makes ids of words.
        captions: of each picture, in words.
        told: names of classes, whether pictures lie in folders so called or not; empty where those of the folders hold.
    """

    vocabulary: Vocabulary
    captions: tuple[tuple[str, ...], ...]
    told: tuple[str, ...] = ()
    _ids: Tensor

    def _caption(self, captions: Sequence[Sequence[str]], vocabulary: Vocabulary | None) -> None:
        """Take the captions of each picture; without a vocabulary one is learnt from them."""
        self.captions = tuple(map(tuple, captions))
        flat = [text for some in self.captions for text in some]
        self.vocabulary = Vocabulary.learnt(flat) if vocabulary is None else vocabulary
        ids = self.vocabulary.ids(flat)
        counts = torch.tensor([len(some) for some in self.captions])
        self._ids = torch.zeros(len(self.captions), int(counts.max()), ids.shape[1], dtype=torch.int64)
        self._ids[torch.arange(self._ids.shape[1]) < counts[:, None]] = ids

    @abstractmethod
    def reading(self, vocabulary: Vocabulary) -> "Captioned":
        """Return the same pictures and captions with another vocabulary."""

    def __getitem__(self, indices: Indices) -> Batch:
        return self._captioned(self.source[indices])

    def for_views(self, indices: Indices) -> Batch:
        return self._captioned(self.source.for_views(indices))

    def _captioned(self, batch: Batch) -> Batch:
        return replace(batch, extras={**batch.extras, CAPTIONS: self._ids[batch.index]})

    @property
    def classes(self) -> tuple[str, ...]:
        return self.told or self.source.classes

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return a part of another folder of pictures with captions, in these words; None of anything else.

        All of it is read as pictures, which need no captions to be embedded.
        """
        if isinstance(data, str) and data in CAPTIONED:
            data = folder_of(data)
        folder = Path(data).expanduser() if isinstance(data, str | Path) else None
        if split == "all" or folder is None or not folder.is_dir():
            return None
        parts = open_parts(folder)[0] or {"train": folder}
        tables = {part: table_of(place, folder) for part, place in parts.items()}
        chosen = "train" if split == "train" else next((one for one in ("test", "validation") if one in parts), None)
        if chosen is None or tables["train"] is None or (table := tables[chosen]) is None:
            return None
        size, known = self.shape[-1], None if chosen == "train" else ImageFolder(parts["train"], self.shape[-1]).classes
        return CaptionedFolder(parts[chosen], size, self.vocabulary, captions=table, classes=known)

    def fingerprint(self) -> str:
        words = repr((self.vocabulary.words, self.vocabulary.context, self.captions)).encode()
        return blake2b(self.source.fingerprint().encode() + words, digest_size=16).hexdigest()


class CaptionedFolder(Captioned):
    """The pictures of a folder that a table has captions for.

    Pictures without captions are left out, and counted in a warning as captions without a picture are. A file is known
    by its place below the folder, or by its name alone where one file has it.

    Args:
        path: the folder.
        size: side of the pictures, in pixels.
        vocabulary: of the captions' words; learnt from all captions if None.
        captions: the table; `captions.csv` in the folder if None.
        classes: names of classes, whether folders in the folder are called so or not; those of the folders if None, and
            `()` for none.
        cache: see `ImageFolder`.
        cache_size: see `ImageFolder`.

    Raises:
        DataError: no captions, none of the pictures there are, or what `ImageFolder` and `read_captions` refuse.
    """

    def __init__(
        self,
        path: str | Path,
        size: int,
        vocabulary: Vocabulary | None = None,
        *,
        captions: str | Path | None = None,
        classes: Sequence[str] | None = None,
        cache: str | Path | None = None,
        cache_size: int | None = None,
    ) -> None:
        folder = Path(path)
        table = folder / FILE if captions is None else Path(captions)
        said, empty, unread = read_captions(table)
        pictures = ImageFolder(folder, size, cache=cache, cache_size=cache_size)
        self.told = () if classes is None else tuple(classes)
        if classes is not None and pictures.classes:
            pictures = ImageFolder(folder, size, cache=cache, classes=self.told, cache_size=cache_size)
        of_picture = _matched(pictures.names, said)
        rows = [place for place, name in enumerate(of_picture) if name is not None]
        if not rows:
            raise DataError(
                f"none of the {len(pictures)} pictures in {str(folder)!r} has a caption in {str(table)!r}, which names "
                f"{printable(next(iter(said)))!r}, say"
            )
        bare = [pictures.names[place] for place, name in enumerate(of_picture) if name is None]
        gone = sorted(said.keys() - set(of_picture))
        notes = [
            f"{len(some)} {what} ({', '.join(map(printable, some[:3]))}{' ...' if len(some) > 3 else ''})"
            for some, what in ((bare, "pictures have no caption"), (gone, "captioned files are no readable pictures"))
            if some
        ]
        if empty:
            notes.append(f"{empty} rows have an empty caption")
        if notes:
            warnings.warn(f"{str(folder)!r}: {'; '.join(notes)}: left out", stacklevel=2)
        self._wrap(Subset(pictures, rows) if bare else pictures)
        self.skipped = (
            *pictures.skipped,
            *((printable(name), "no caption") for name in bare),
            *((printable(name), "a caption, and no picture") for name in gone),
        )
        chosen = [of_picture[place] for place in rows]
        self._caption([said[name] for name in chosen if name is not None], vocabulary)
        self.origin = f"{pictures.origin}, with captions"
        if unread:
            self.origin += f"; columns of {table.name} that are not read: {', '.join(map(repr, unread[:5]))}"
        if cut := sum(self.vocabulary.cuts(text) for some in self.captions for text in some):
            self.origin += f"; {cut:,} captions are cut after {self.vocabulary.context} words"

    def reading(self, vocabulary: Vocabulary) -> "CaptionedFolder":
        return CaptionedFolder(**{**self._init_args, "vocabulary": vocabulary})

    def __reduce__(self) -> tuple[Callable[[], "CaptionedFolder"], tuple[()]]:
        return partial(CaptionedFolder, **self._init_args), ()


class CaptionedClasses(Captioned):
    """Labelled pictures with captions that are made of their class and of a word for their color and brightness.

    The color and the brightness are measured, so that captions tell pictures of one class apart. They are no human
    ones: what a picture shows beside its class is not in them.

    Args:
        source: pictures of bytes with named classes; those without a label are left out.
        vocabulary: of the captions' words; learnt from them if None.
        templates: what is said, with `{name}` for the class and `{look}` for the color or brightness.

    Raises:
        ConfigError: a template without the name.
        DataError: no pictures, labels or names.
    """

    def __init__(
        self, source: Source, vocabulary: Vocabulary | None = None, templates: Sequence[str] = SAYINGS
    ) -> None:
        if source.labels is None or not source.classes:
            raise DataError("captions are made of classes, and the data have none: give pictures in folders by class")
        if len(source.shape) != 3:
            raise DataError(f"captions are made for pictures (C, H, W), not for samples of shape {source.shape}")
        if not templates or any("{name}" not in one for one in templates):
            raise ConfigError("every template must say {name}")
        source = labelled(source)
        self._wrap(source)
        self.origin = f"{source.origin}, with captions made of classes and colors"
        self._caption(sayings(source, tuple(templates)), vocabulary)

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return cls(ArraySource(pictures, torch.arange(8) % 4, classes=("ant", "bee", "cat", "dog")))

    def reading(self, vocabulary: Vocabulary) -> "CaptionedClasses":
        return CaptionedClasses(**{**self._init_args, "vocabulary": vocabulary})


def _matched(names: Sequence[str], said: dict[str, list[str]]) -> list[str | None]:
    """Return the captions' name of each picture, None where there is none."""
    known = {name.replace("\\", "/"): name for name in said}
    ends: dict[str, list[str]] = {}
    for name in names:
        ends.setdefault(name.rpartition("/")[2], []).append(name)
    found: list[str | None] = []
    for name in names:
        end = name.rpartition("/")[2]
        found.append(known.get(name) or (known.get(end) if len(ends[end]) == 1 else None))
    return found
