"""Which files are captures, and their bytes: pcap and pcapng, plain, in gzip, in zip archives, in folders."""

import gzip
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, cast

from withstand.core.errors import DataError
from withstand.core.files import printable

SUFFIXES: Final = (".pcap", ".pcapng", ".cap", ".ntar")
"""Ends of captures' names, in any case; `.gz` may follow."""

_PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


@dataclass(frozen=True)
class Capture:
    """One capture file.

    Attributes:
        name: its path in the folder or archive, by which labels know it.
        path: the file on the disk.
        archive: the zip archive that `name` is a member of; None where the file is the capture.
    """

    name: str
    path: Path
    archive: zipfile.ZipFile | None = None

    @property
    def called(self) -> str:
        """How messages call it."""
        return repr(printable(self.name))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Give its bytes as a stream, unpacked.

        Raises:
            DataError: the file cannot be read, or its packing is damaged; also while it is read.
        """
        try:
            packed = self.path.open("rb") if self.archive is None else self.archive.open(self.name)
            with packed, _unpacked(cast(BinaryIO, packed)) as stream:
                yield stream
        except DataError:
            raise
        except _UNREADABLE as error:
            raise DataError(f"{self.called} cannot be read: {' '.join(str(error).split())}") from None


_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)
"""What damaged packing raises; an encrypted member is a RuntimeError, an unknown way of packing a NotImplementedError.
"""


def is_capture(path: Path) -> bool:
    """Return whether a file is a capture, or a zip archive of captures, by its name."""
    if is_capture_name(path.name):
        return True
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(map(is_capture_name, archive.namelist()))
    except _UNREADABLE:
        return False


def is_capture_folder(folder: Path) -> bool:
    """Return whether a folder is one of captures: the first file of either kind in it, or below, is no picture."""
    for _, _, files in os.walk(folder):
        for name in files:
            if is_capture_name(name):
                return True
            if name.lower().endswith(_PICTURES):
                return False
    return False


def is_capture_name(name: str) -> bool:
    """Return whether a name ends as captures' do.

    >>> is_capture_name("day1/web.PCAP.gz"), is_capture_name("web.csv")
    (True, False)
    """
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


@contextmanager
def captures_in(path: Path) -> Iterator[list[Capture]]:
    """Give the captures that a path holds, by name: itself, a zip archive's, or a folder's with its folders.

    Raises:
        DataError: there are none, or the archive is damaged.
    """
    kinds = f"{', '.join(SUFFIXES)}, also with .gz"
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and is_capture_name(file.name))
        if not files:
            raise DataError(f"there is no capture ({kinds}) in {str(path)!r}")
        yield [Capture(file.relative_to(path).as_posix(), file) for file in files]
        return
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    if not zipfile.is_zipfile(path):
        yield [Capture(path.name, path)]
        return
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise DataError(f"{str(path)!r} is a damaged zip archive: {' '.join(str(error).split())}") from None
    with archive:
        members = sorted(set(filter(is_capture_name, archive.namelist())))
        if not members:
            raise DataError(f"there is no capture ({kinds}) in the archive {str(path)!r}")
        yield [Capture(member, path, archive) for member in members]


def folder_of(name: str) -> str:
    """Return the first folder in a capture's name; "" where it lies in none."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return parts[0] if len(parts) > 1 else ""


@contextmanager
def _unpacked(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Give a stream, through gzip where it begins so."""
    peeked = stream.read(2)
    rejoined = _Rejoined(peeked, stream)
    if peeked == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=cast(BinaryIO, rejoined)) as unpacked:
            yield cast(BinaryIO, unpacked)
    else:
        yield cast(BinaryIO, rejoined)


class _Rejoined:
    """A stream whose first bytes have been read: they come again."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end; all of them below 0."""
        head, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
        pieces, wanted = [head], size - len(head)
        while size < 0 or wanted > 0:
            more = self._stream.read() if size < 0 else self._stream.read(wanted)
            if not more:
                break
            pieces.append(more)
            wanted -= len(more)
        return b"".join(pieces)
