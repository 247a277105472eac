"""The index of a set of shards: where each sample's picture lies, and what is known of it; kept, and made once.

A shard that is as it was (by size and time of change) is not gone through again.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, overload
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from withstand.core.errors import DataError
from withstand.core.files import printable, replacing
from withstand.data.pictures.shards.samples import Samples, samples_of

VERSION = 1
"""Of the index's file and of what `samples_of` reads."""


class Shard(NamedTuple):
    """A tar archive as the folder has it: its name there, size in bytes, time of change."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Index:
    """The samples of a set of shards, in the order of shards and of places in them.

    Attributes:
        shards: by name.
        counts: samples of each shard.
        keys: of each sample, in its shard.
        starts: where the bytes of each picture begin, int64 `(N,)`.
        sizes: how many these are, int64 `(N,)`.
        labels: classes as they are written; None for a sample without.
        captions: None for a sample without.
        aside: what is not read, and how often.
        bare: the samples without a picture, as shard and key.
    """

    shards: tuple[Shard, ...]
    counts: tuple[int, ...]
    keys: list[str]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    labels: list[int | str | None]
    captions: list[str | None]
    aside: dict[str, int]
    bare: tuple[tuple[str, str], ...]

    @property
    def shard(self) -> npt.NDArray[np.int64]:
        """Which shard each sample is in, `(N,)`."""
        return np.repeat(np.arange(len(self.shards)), self.counts)

    def digest(self) -> str:
        """Return a digest of the samples, wherever their shards lie."""
        state = blake2b(repr((self.counts, self.labels, self.captions)).encode(), digest_size=16)
        state.update("\0".join(self.keys).encode("utf-8", "surrogateescape"))
        for values in (self.starts, self.sizes):
            state.update(values.tobytes())
        return state.hexdigest()


class Names(Sequence[str]):
    """The samples' names, made when they are asked for: of many millions they would not fit into memory."""

    def __init__(self, index: Index, rows: npt.NDArray[np.int64]) -> None:
        self._index, self._shard, self._rows = index, index.shard, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        row = int(self._rows[place])
        return f"{self._index.shards[self._shard[row]].name}/{self._index.keys[row]}"


def list_shards(path: Path) -> list[Shard]:
    """Return the archives of a folder, or the one that is named, by name; hidden ones are left out."""
    try:
        found = [path] if path.is_file() else [one for one in path.iterdir() if is_shard(one)]
        facts = [(one.name, one.stat()) for one in found]
    except OSError as error:
        raise DataError(f"{printable(str(path))!r} cannot be read: {error.strerror or error}") from None
    return sorted(Shard(name, about.st_size, about.st_mtime_ns) for name, about in facts)


def is_shard(path: Path) -> bool:
    """Return whether a file is called as a shard is, packed or not; a packed one is refused when it is read."""
    name = path.name.lower()
    return not name.startswith(".") and name.endswith((".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"))


def index_of(folder: Path, shards: Sequence[Shard], cache: Path, *, picture: str | None = None) -> Index:
    """Return the index of shards, from the kept one as far as these are unchanged.

    Args:
        folder: where they lie.
        shards: which.
        cache: folder in which the index is kept.
        picture: see `samples_of`.

    Raises:
        DataError: a shard that cannot be read, or a cache that cannot be written.
    """
    path = cache / f"{place_of(folder, picture)}.index.npz"
    known = _read(path)
    parts = [known.get(shard) for shard in shards]
    fresh = [place for place, part in enumerate(parts) if part is None]
    console = Console(stderr=True)
    for place in track(fresh, "going through shards", console=console, transient=True, disable=not console.is_terminal):
        parts[place] = samples_of(folder / shards[place].name, picture)
    whole = [part for part in parts if part is not None]
    found = _joined(shards, whole)
    if not fresh:
        return found
    others = {shard: part for shard, part in known.items() if shard.name not in {one.name for one in shards}}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside:
            _write(aside, dict(zip(shards, whole, strict=True)) | others)
    except OSError as error:
        raise DataError(
            f"the index of {printable(str(folder))!r} cannot be kept in {str(cache)!r} ({error.strerror or error}): "
            "name another folder with cache=, or set XDG_CACHE_HOME"
        ) from error
    return found


def _joined(shards: Sequence[Shard], parts: Sequence[Samples]) -> Index:
    aside: Counter[str] = Counter()
    for part in parts:
        aside += part.aside
    return Index(
        tuple(shards),
        tuple(len(part.keys) for part in parts),
        [key for part in parts for key in part.keys],
        np.array([start for part in parts for start in part.starts], dtype=np.int64),
        np.array([size for part in parts for size in part.sizes], dtype=np.int64),
        [label for part in parts for label in part.labels],
        [caption for part in parts for caption in part.captions],
        dict(aside.most_common()),
        tuple((shard.name, key) for shard, part in zip(shards, parts, strict=True) for key in part.bare),
    )


def place_of(folder: Path, *words: object) -> str:
    """Return what the files are called that are kept of a folder's shards."""
    return blake2b(os.fsencode(folder.resolve()) + repr(words).encode(), digest_size=12).hexdigest()


def _write(path: Path, known: dict[Shard, Samples]) -> None:
    parts = known.values()
    words = {
        "version": VERSION,
        "shards": list(known),
        "keys": [part.keys for part in parts],
        "labels": [part.labels if any(label is not None for label in part.labels) else None for part in parts],
        "captions": [part.captions if any(part.captions) else None for part in parts],
        "aside": [part.aside for part in parts],
        "bare": [part.bare for part in parts],
    }
    # json writes half characters, as of names that are no UTF-8, as escapes.
    text = np.frombuffer(json.dumps(words).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(
            file,
            starts=np.array([start for part in parts for start in part.starts], dtype=np.int64),
            sizes=np.array([size for part in parts for size in part.sizes], dtype=np.int64),
            words=text,
        )


def _read(path: Path) -> dict[Shard, Samples]:
    """Return what a kept index says of each shard; nothing where there is none, or a damaged or another one."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            words: dict[str, Any] = json.loads(kept["words"].tobytes())
            starts, sizes = kept["starts"], kept["sizes"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}
    if words.get("version") != VERSION:
        return {}
    found, place = {}, 0
    for number, facts in enumerate(words["shards"]):
        keys = words["keys"][number]
        end, none = place + len(keys), list[Any]([None] * len(keys))
        found[Shard(*facts)] = Samples(
            keys,
            starts[place:end].tolist(),
            sizes[place:end].tolist(),
            words["labels"][number] or none,
            words["captions"][number] or none,
            Counter(words["aside"][number]),
            words["bare"][number],
        )
        place = end
    return found
