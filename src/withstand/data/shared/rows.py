"""All samples of what is given, in its own order, each with its place: what is read where rows keep their identity."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.roles import Source
from withstand.data.beside.keys import in_file
from withstand.data.derived.subset import Subset
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.data.load import Data, colored_like, load, parts_of, read_like, reading_of
from withstand.data.pictures.files import PictureFiles, is_picture_file
from withstand.data.tables.named import TABLES
from withstand.data.tables.source import TableSource

ALL = "all"


@dataclass(frozen=True)
class Rows:
    """Samples in the order of their file, set or folder.

    Attributes:
        source: the samples, to be read from the first to the last.
        index: each one's place in its file, set or folder, int64 `(N,)`.
        parts: the part of the data that each comes from; "" where it belongs to none.
        told: (what, how) of what had to be bent to fit what was learnt, beside what the source says itself.
    """

    source: Source
    index: Tensor
    parts: tuple[str, ...]
    told: tuple[tuple[str, str], ...] = ()

    def fitted(self, source: Source, told: tuple[tuple[str, str], ...]) -> "Rows":
        """Return the same samples as another source has them, and what is to be told of that."""
        return replace(self, source=source, told=(*self.notes, *told))

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """All that had to be bent."""
        return tuple(dict.fromkeys((*self.source.notes, *self.told)))


def own_rows(train: Source, test: Source | None, split: str = ALL) -> list[Rows]:
    """Return the samples of a run's own data.

    Where both sides were chosen from one whole, its samples come in its order, with places in it; else one side after
    the other.

    Args:
        train: what was learnt from.
        test: what was kept for evaluation.
        split: "train", "test" or "all".

    Raises:
        ConfigError: an unknown split.
    """
    sides = {"train": train} if test is None else {"train": train, "test": test}
    _check(split, sides)
    whole, places = in_file(train)
    if test is None:
        return _chosen(whole, places.sort().values, ["train"] * len(places))
    other, tested = in_file(test)
    if whole.fingerprint() != other.fingerprint():
        return [_part(source, part) for part, source in sides.items() if split in (part, ALL)]
    word = dict.fromkeys(places.tolist(), "train") | dict.fromkeys(tested.tolist(), "test")
    rows = {"train": places.sort().values, "test": tested.sort().values, ALL: torch.tensor(sorted(word))}[split]
    return _chosen(whole, rows, [word[row] if split == ALL else split for row in rows.tolist()])


def rows_like(source: Source, data: Data, split: str = ALL) -> list[Rows]:
    """Return the samples of other data, read as `source` was: photos at its size, rows by its schema.

    Args:
        source: what a run learnt from.
        data: as for `load`, or the path of a picture's file.
        split: "train", "test" or another part that the data come in; "all" for every sample there is. Data without
            parts are "train".

    Raises:
        ConfigError: an unknown split.
        DataError: data that cannot be read.
    """
    like = in_file(source)[0]
    if isinstance(data, Source):
        found = {"train": data}
    elif (every := like.like(data)) is not None:
        found = {"train": every}
    elif isinstance(like, GraphSource | GraphSet):
        found = {"train": open_graphs(data)}
    elif like.kind == "picture" and is_picture_file(data):
        found = {"train": PictureFiles((str(data),), like.shape[-1], like.shape[0], reading=reading_of(like))}
    else:
        parts = parts_of(data, **read_like(like, data))
        found = {name: colored_like(like, part, data) for name, part in parts.items()}
    _check(split, found)
    if len(found) == 1:
        return [_part(found["train"], "")]
    return [_part(part, name) for name, part in found.items() if split in (name, ALL)]


def all_to_learn_from(data: Data, *, size: int | None = None, reading: Reading = PLAIN) -> Source:
    """Return the samples that are learnt from where other data judge: nothing is held out of these.

    Of a set, an `.npz` file or a folder that come in parts that is the training part; of anything else all of it, and
    of a source that is handed over, itself.

    Args:
        data: as for `load`.
        size: as for `load`.
        reading: as for `load`.
    """
    found = load(data, size=size, reading=reading)
    if isinstance(found, TableSource) and found is not data and not (isinstance(data, str) and data in TABLES):
        return found.other("all")
    return found


def _part(source: Source, name: str) -> Rows:
    return Rows(source, torch.arange(len(source)), (name,) * len(source))


def _chosen(whole: Source, rows: Tensor, parts: Sequence[str]) -> list[Rows]:
    every = len(rows) == len(whole) and bool((rows == torch.arange(len(whole))).all())
    return [Rows(whole if every else Subset(whole, rows), rows, tuple(parts))]


def _check(split: str, parts: Iterable[str]) -> None:
    if split not in (*parts, ALL):
        raise ConfigError(f"unknown split {split!r}: allowed are {', '.join([*parts, ALL])}")
