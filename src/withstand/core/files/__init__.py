"""Files that are written whole or not at all, and how their names are shown."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; on success sync it and rename it over `path`.

    On an error (a full disk, say) what was written aside is removed and `path` is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def by_utf_8(path: Path) -> Iterator[Path]:
    """Give a path to a file that readers take which know UTF-8 alone: itself, or a link to it for a while."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory(prefix="withstand-") as folder:
            link = Path(folder) / "file"
            link.symlink_to(path.resolve())
            yield link
    else:
        yield path


def printable(name: str | bytes) -> str:
    """Return a name as it can be written anywhere: bytes that are no UTF-8, and control characters, escaped.

    >>> printable("caf\\udce9.png"), printable("café.png")
    ('caf\\\\xe9.png', 'café.png')
    """
    try:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character that no file system gave
        shown = str(name).encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
