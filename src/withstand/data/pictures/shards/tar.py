"""Where the members of a tar archive lie in it, without reading them.

Headers as nearly all archives have them (POSIX and GNU, names that fit) are read here, many times faster than by
`tarfile`; an archive with anything else in it (long names, large sizes, links, extended headers) is left to `tarfile`.
"""

import mmap
import os
import tarfile
from pathlib import Path
from typing import NamedTuple

from withstand.core.errors import DataError
from withstand.core.files import printable

_BLOCK = 512
_FILES = (0x30, 0x00)
_FOLDER = 0x35
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstandard"}


class Member(NamedTuple):
    """A file in an archive: its name, and the first byte and the count of bytes of its content."""

    name: str
    start: int
    size: int


def members_of(path: Path) -> tuple[list[Member], list[str]]:
    """Return an archive's files in their order, and the names of what is no plain file, such as links.

    Raises:
        DataError: no archive, a compressed or a damaged one.
    """
    shown = repr(printable(str(path)))
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < _BLOCK:
                raise DataError(f"{shown} is no tar archive: it holds less than one block")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                form = _COMPRESSED.get(content[:2])
                if form is not None:
                    raise DataError(f"{shown} is compressed ({form}), and has no places to read at: unpack it to .tar")
                found = _plain(content, shown)
        return (found, []) if found is not None else _by_tarfile(path, shown)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror or error}") from error


def _plain(content: mmap.mmap, shown: str) -> list[Member] | None:
    """Return the files of an archive with common headers alone; None of another one."""
    found: list[Member] = []
    place, end = 0, len(content)
    while place < end:
        head = content[place : place + _BLOCK]
        if not head[0] and not any(head):
            break  # two empty blocks end an archive, and nothing after the first is read
        if len(head) < _BLOCK:
            raise DataError(f"{shown} is cut off in a header, after {_last(found)}")
        kind, magic = head[156], head[257:265]
        if magic not in (b"ustar\x0000", b"ustar  \x00") or (kind not in _FILES and kind != _FOLDER):
            return None
        try:
            size, told = _octal(head[124:136]), _octal(head[148:156])
        except ValueError:
            return None
        # The sum of the header's bytes, with spaces where the sum itself stands.
        if told != sum(head) - sum(head[148:156]) + 8 * 0x20:
            raise DataError(f"{shown} is damaged: the header after {_last(found)} does not match its sum")
        name = head[:100].partition(b"\0")[0]
        if magic[5:6] == b"\0" and head[345]:
            name = head[345:500].partition(b"\0")[0] + b"/" + name
        start = place + _BLOCK
        if kind in _FILES and not name.endswith(b"/"):  # old archives mark folders so
            if start + size > end:
                raise DataError(f"{shown} is cut off in {printable(name)!r}")
            found.append(Member(os.fsdecode(name), start, size))
            place = start + (size + _BLOCK - 1) // _BLOCK * _BLOCK
        else:
            place = start
    return found


def _octal(field: bytes) -> int:
    return int(field.strip(b" \0") or b"0", 8)


def _last(found: list[Member]) -> str:
    return repr(printable(found[-1].name)) if found else "its beginning"


def _by_tarfile(path: Path, shown: str) -> tuple[list[Member], list[str]]:
    found, others = [], []
    try:
        with tarfile.open(path, "r:") as archive:
            for one in archive:
                if one.isreg() and not one.issparse():
                    found.append(Member(one.name, one.offset_data, one.size))
                elif not one.isdir():
                    others.append(one.name)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{shown} is no whole tar archive: {error}") from error
    return found, others
