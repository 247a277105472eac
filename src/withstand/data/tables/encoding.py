"""How the letters of a text file are written: what its bytes say for themselves."""

import codecs
import re
from pathlib import Path

from withstand.core.errors import DataError

_BLOCK = 1 << 20
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip


def find_encoding(path: Path) -> str:
    """Return a file's encoding: by its mark, by zero bytes between letters, else UTF-8, else Windows-1252."""
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        for mark, name in _MARKS.items():
            if head.startswith(mark):
                return name
        if b"\0" in head:
            return _wide(path, head)
        decoder = codecs.getincrementaldecoder("utf-8")()
        odd: list[bytes] = []
        block, valid = head, True
        while block:
            if b"\0" in block:
                raise DataError(f"{str(path)!r} holds zero bytes: it is no text")
            if valid:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    valid = False
            if len(odd) < 64 and (high := block.translate(None, bytes(range(128)))):
                odd.append(block if len(high) < len(block) else high)
            block = file.read(_BLOCK)
        if valid:
            try:
                decoder.decode(b"", True)
            except UnicodeDecodeError:
                valid = False
    if valid:
        return "utf-8"
    if _is_western(b"".join(odd)):
        return "cp1252"
    raise DataError(
        f"{str(path)!r} is neither UTF-8, UTF-16 nor Windows-1252 text: say its encoding "
        "(--encoding cp1251), or save it as UTF-8"
    )


def beginning(path: Path) -> str:
    """Return the first letters of a file, as its mark or zero bytes say or in UTF-8; question marks for no letters.

    Raises:
        DataError: zero bytes that no text has.
    """
    with path.open("rb") as file:
        head = file.read(1 << 13)
    mark = next((name for start, name in _MARKS.items() if head.startswith(start)), None)
    found = mark or (_wide(path, head) if b"\0" in head else "utf-8")
    return head.decode(found, errors="replace")


def said_encoding(path: Path, name: str) -> str:
    """Return the name by which a file of a said encoding is read, its mark left out.

    Raises:
        DataError: the file's mark says another encoding.
    """
    known = codecs.lookup(name).name
    with path.open("rb") as file:
        head = file.read(4)
    mark = next((found for start, found in _MARKS.items() if head.startswith(start)), None)
    if mark is None:
        return known
    if not known.startswith(mark.removesuffix("-sig")):
        raise DataError(f"{str(path)!r} begins with the mark of {mark}, and encoding says {name}")
    return mark


def _wide(path: Path, head: bytes) -> str:
    """Return which UTF-16 has no mark and these zero bytes: those of Latin letters stand at every second place."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    raise DataError(f"{str(path)!r} holds zero bytes: it is no text")


def _is_western(data: bytes) -> bool:
    """Say whether bytes above 127 stand as in Windows-1252: all of them defined, and few three in a row."""
    high = len(data.translate(None, bytes(range(128))))
    if any(bytes([value]) in data for value in (0x81, 0x8D, 0x8F, 0x90, 0x9D)):
        return False
    together = sum(len(run) for run in re.findall(rb"[\x80-\xff]{3,}", data))
    return together <= 0.5 * high
