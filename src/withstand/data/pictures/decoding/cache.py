"""Decoded pictures on disk: one file of uint8 pixels and an index, mapped, checksummed, written whole or not at all.

The file holds the pixels of N pictures one after the other, the index as JSON, and the JSON's length in its last eight
bytes.
"""

import json
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.files import replacing
from withstand.core.files.reading import PLAIN, Reading
from withstand.data.arrays.source import read_only
from withstand.data.pictures.decoding.decode import Decoded, decode_or_reason, readers
from withstand.data.pictures.decoding.forms import Form
from withstand.data.pictures.decoding.notes import Told, notes_on

VERSION = 3
"""Of the file and of what `decode` makes; another one is decoded again."""

_CHECKED = 1 << 24
"""Bytes that are checked at once."""


class File(NamedTuple):
    """A picture file as the folder has it: name relative to the folder, size in bytes, time of change."""

    name: str
    size: int
    mtime_ns: int


class Kept(NamedTuple):
    """What is kept of a picture: the axes of its pixels, the shorter side that it has in its file, and what it told."""

    shape: tuple[int, int, int]
    short: int
    told: Told


@dataclass(frozen=True)
class Pictures:
    """What a cache file holds.

    Attributes:
        pixels: of all pictures, one after the other, uint8, mapped.
        files: the files that were looked at, in order.
        found: for each file what is kept of it, or why nothing is.
        digest: of all pixels.
    """

    pixels: Tensor
    files: tuple[File, ...]
    found: tuple[Kept | str, ...]
    digest: str

    @property
    def kept(self) -> tuple[tuple[File, Kept], ...]:
        """The files whose pixels are held, in order."""
        return tuple((file, one) for file, one in zip(self.files, self.found, strict=True) if isinstance(one, Kept))

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """The names of the other files, with the reasons."""
        return tuple((file.name, one) for file, one in zip(self.files, self.found, strict=True) if isinstance(one, str))

    @property
    def notes(self) -> str:
        """What is to be said of the pictures, in one line; "" where that is nothing."""
        return notes_on([(file.name, one.told) for file, one in self.kept])

    def starts(self) -> Tensor:
        """Return where each picture's pixels begin, and where the last one's end, int64 `(N + 1,)`."""
        sizes = torch.tensor([np.prod(one.shape, dtype=np.int64).item() for _, one in self.kept], dtype=torch.int64)
        return torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])


Decoding: TypeAlias = Iterator[Decoded | str]


Opened: TypeAlias = Callable[[Path], AbstractContextManager[Path]]


def pictures_of(
    place: Path,
    files: Sequence[File],
    form: Form,
    cache: Path,
    *,
    reading: Reading = PLAIN,
    opened: Opened = nullcontext,
) -> Pictures:
    """Return the decoded pictures of a folder, from the cache file where it fits, else decoded now.

    Files whose size and time of change are as before are not decoded again.

    Args:
        place: the folder in which the files lie, or an archive.
        files: by their names in it.
        form: what is kept of each.
        cache: the folder of cache files.
        reading: what files do not say.
        opened: gives the folder in which they lie while they are decoded, if it has to be made of the place.

    Raises:
        DataError: the cache folder cannot be written, or the disk is full.
    """
    key = blake2b(os.fsencode(place.resolve()), digest_size=12).hexdigest()
    path = cache / f"{key}-{form.key}{reading.key}.pictures"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        known = _read(path)
        if known is not None and known.files == tuple(files):
            return known
        with _alone(path):
            known = _read(path)  # another process may have been faster
            if known is None or known.files != tuple(files):
                if known is None and path.exists():
                    warnings.warn(f"the cache {str(path)!r} is damaged or of another version: made again", stacklevel=2)
                with opened(place) as folder:
                    _write(path, folder, files, form, reading, known)
                known = _read(path)
    except OSError as error:
        raise DataError(
            f"the decoded pictures cannot be kept in {str(cache)!r} ({error.strerror or error}): "
            "name another folder with cache=, or set XDG_CACHE_HOME"
        ) from error
    if known is None:
        raise DataError(f"what was written to {str(path)!r} reads back otherwise: the disk is failing")
    return known


def _read(path: Path) -> Pictures | None:
    """Return what a cache file holds; None when there is none, or one that is damaged or of another version."""
    try:
        with path.open("rb") as file:
            end = file.seek(-8, 2)
            length = int.from_bytes(file.read(8), "little")
            file.seek(end - length)
            index = json.loads(file.read(length))
        if index["version"] != VERSION:
            return None
        # What could not be read is tried again where other optional packages are there than were.
        again = index["readers"] != readers()
        listed = [(File(*facts), one) for facts, one in index["files"] if not (again and isinstance(one, str))]
        files = tuple(file for file, _ in listed)
        found = tuple(one if isinstance(one, str) else _kept(*one) for _, one in listed)
        checksum, digest = index["crc32"], index["digest"]
        held = sum(np.prod(one.shape, dtype=np.int64).item() for one in found if isinstance(one, Kept))
        if held != end - length:
            return None
        pixels: Any = np.memmap(path, np.uint8, "r", shape=(held,)) if held else np.empty(0, np.uint8)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    state = 0
    for start in range(0, held, _CHECKED):
        state = zlib.crc32(pixels[start : start + _CHECKED].data, state)
    return Pictures(read_only(pixels), files, found, digest) if state == checksum else None


def _kept(shape: Sequence[int], short: int, told: tuple[Sequence[str], int | None]) -> Kept:
    high, wide, last = shape
    notes, peak = told
    return Kept((high, wide, last), short, Told(tuple(notes), peak))


def _write(
    path: Path, folder: Path, files: Sequence[File], form: Form, reading: Reading, known: Pictures | None
) -> None:
    """Decode what is not known yet, in threads, and replace the cache file."""
    found: list[Kept | str] = []
    checksum, state = 0, blake2b(digest_size=16)
    with replacing(path) as aside, aside.open("wb") as out:
        for one in _decoded(folder, files, form, reading, known):
            if isinstance(one, str):
                found.append(one)
                continue
            high, wide, last = one.pixels.shape
            found.append(Kept((high, wide, last), one.short, one.told))
            # Written, not mapped: a full disk is then an error and not a signal that kills the process.
            out.write(one.pixels.data)
            checksum = zlib.crc32(one.pixels.data, checksum)
            state.update(one.pixels.data)
        index = {
            "version": VERSION,
            "crc32": checksum,
            "digest": state.hexdigest(),
            "readers": readers(),
            "files": list(zip(files, found, strict=True)),
        }
        encoded = json.dumps(index).encode()
        out.write(encoded + len(encoded).to_bytes(8, "little"))


def _decoded(folder: Path, files: Sequence[File], form: Form, reading: Reading, known: Pictures | None) -> Decoding:
    """Yield what each file gave, or the reason why it gave nothing, in order.

    Threads do, as Pillow decodes and resizes without the interpreter's lock: on photos they are as fast as
    processes, which also take seconds to start.
    """
    before = {} if known is None else dict(zip(known.files, _again(known), strict=True))
    columns = (TextColumn("decoding pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=len(files))
        for start in range(0, len(files), form.together):
            block = files[start : start + form.together]
            paths = (folder / f.name for f in block if f not in before)
            fresh = pool.map(partial(decode_or_reason, form=form, reading=reading), paths)
            for f in block:
                yield before[f] if f in before else next(fresh)
                progress.advance(task)


def _again(known: Pictures) -> Decoding:
    """Yield what a cache file holds of each of its files."""
    place, pixels = 0, known.pixels.numpy()
    for one in known.found:
        if isinstance(one, str):
            yield one
            continue
        size = np.prod(one.shape, dtype=np.int64).item()
        yield Decoded(pixels[place : place + size].reshape(one.shape), one.short, one.told)
        place += size


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold others off who would decode the same folder at the same time; they find it done."""
    if sys.platform == "win32":
        yield  # both decode, and the last to finish wins with the same content
        return
    import fcntl

    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".{path.name}.*.part"):
            left.unlink()  # by a process that was killed: nobody else writes now
        yield
