"""Decoded pictures on disk: one file of uint8 pixels and an index, mapped, checksummed, written whole or not at all.

The file holds N pictures `(3, S, S)` one after the other, the index as JSON, and the JSON's length in its last
eight bytes.
"""

import json
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from withstand.core.errors import DataError
from withstand.core.files import replacing
from withstand.data.pictures.decode import decode_or_reason

VERSION = 1
"""Of the file and of what `decode` makes; another one is decoded again."""

_BLOCK = 512
"""Files that are decoded together; bounds what waits in memory."""


class File(NamedTuple):
    """A picture file as the folder has it: name relative to the folder, size in bytes, time of change."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Pictures:
    """What a cache file holds.

    Attributes:
        pixels: uint8 `(N, 3, S, S)`, mapped.
        files: the files that were looked at, in order.
        reasons: for each file why it is not among the pixels, or None when it is.
        digest: of all pixels.
    """

    pixels: np.memmap[Any, Any]
    files: tuple[File, ...]
    reasons: tuple[str | None, ...]
    digest: str


Pixels: TypeAlias = np.ndarray[Any, Any]


def pictures_of(folder: Path, files: Sequence[File], size: int, cache: Path) -> Pictures:
    """Return the decoded pictures of a folder, from the cache file where it fits, else decoded now.

    Files whose size and time of change are as before are not decoded again.

    Raises:
        DataError: the cache folder cannot be written, or the disk is full.
    """
    key = blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()
    path = cache / f"{key}-{size}.pictures"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        known = _read(path, size)
        if known is not None and known.files == tuple(files):
            return known
        with _alone(path):
            known = _read(path, size)  # another process may have been faster
            if known is None or known.files != tuple(files):
                if known is None and path.exists():
                    warnings.warn(f"the cache {str(path)!r} is damaged or of another version: made again", stacklevel=2)
                _write(path, folder, files, size, known)
                known = _read(path, size)
    except OSError as error:
        raise DataError(
            f"the decoded pictures cannot be kept in {str(cache)!r} ({error.strerror or error}): "
            "name another folder with cache=, or set XDG_CACHE_HOME"
        ) from error
    if known is None:
        raise DataError(f"what was written to {str(path)!r} reads back otherwise: the disk is failing")
    return known


def _read(path: Path, size: int) -> Pictures | None:
    """Return what a cache file holds; None when there is none, or one that is damaged or of another version."""
    try:
        with path.open("rb") as file:
            end = file.seek(-8, 2)
            length = int.from_bytes(file.read(8), "little")
            file.seek(end - length)
            index = json.loads(file.read(length))
        if index["version"] != VERSION:
            return None
        count = sum(reason is None for *_, reason in index["files"])
        if count * 3 * size * size != end - length:
            return None
        files = tuple(File(*facts) for *facts, _ in index["files"])
        reasons = tuple(reason for *_, reason in index["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not count:
        pixels: Any = np.empty((0, 3, size, size), np.uint8)
    else:
        pixels = np.memmap(path, np.uint8, "r", shape=(count, 3, size, size))
    checksum = 0
    for start in range(0, count, _BLOCK):
        checksum = zlib.crc32(pixels[start : start + _BLOCK].data, checksum)
    if checksum != index["crc32"]:
        return None
    return Pictures(pixels, files, reasons, index["digest"])


def _write(path: Path, folder: Path, files: Sequence[File], size: int, known: Pictures | None) -> None:
    """Decode what is not known yet, in threads, and replace the cache file."""
    reasons: list[str | None] = []
    checksum, state = 0, blake2b(digest_size=16)
    with replacing(path) as aside, aside.open("wb") as out:
        for pixels in _decoded(folder, files, size, known):
            reasons.append(pixels if isinstance(pixels, str) else None)
            if not isinstance(pixels, str):
                # Written, not mapped: a full disk is then an error and not a signal that kills the process.
                out.write(pixels.data)
                checksum = zlib.crc32(pixels.data, checksum)
                state.update(pixels.data)
        index = {
            "version": VERSION,
            "crc32": checksum,
            "digest": state.hexdigest(),
            "files": [[*f, reason] for f, reason in zip(files, reasons, strict=True)],
        }
        encoded = json.dumps(index).encode()
        out.write(encoded + len(encoded).to_bytes(8, "little"))


def _decoded(folder: Path, files: Sequence[File], size: int, known: Pictures | None) -> Iterator[Pixels | str]:
    """Yield each file's pixels, or the reason why there are none, in order.

    Threads do, as Pillow decodes and resizes without the interpreter's lock: on photos they are as fast as
    processes, which also take seconds to start.
    """
    before: dict[File, Pixels | str] = {}
    if known is not None:
        rows = iter(known.pixels)
        before = {f: next(rows) if r is None else r for f, r in zip(known.files, known.reasons, strict=True)}
    columns = (TextColumn("decoding pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=len(files))
        for start in range(0, len(files), _BLOCK):
            block = files[start : start + _BLOCK]
            fresh = pool.map(partial(decode_or_reason, size=size), (folder / f.name for f in block if f not in before))
            for f in block:
                yield before[f] if f in before else next(fresh)
                progress.advance(task)


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
