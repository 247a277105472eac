"""Which files of a folder may be pictures, and which of its folders are parts of a set."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.data.pictures.decoding.cache import File
from withstand.data.pictures.decoding.decode import is_picture
from withstand.data.pictures.folder_parts import find_parts

NOT_PICTURES = frozenset(
    (
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".md", ".rst"),
        *(".html", ".htm", ".log", ".pdf", ".py", ".ipynb", ".sh", ".npy", ".npz", ".pt", ".pth", ".pkl", ".mat"),
        *(".h5", ".parquet", ".db", ".zip", ".tar", ".gz", ".sha256", ".md5", ".safetensors", ".pictures", ".lock"),
    )
)
"""Suffixes of files that are passed over; anything else is tried as a picture."""

_SHOWN = 3
"""How many files a message names."""


def list_files(folder: Path) -> tuple[list[File], int]:
    """Return the files below a folder that may be pictures, sorted by name, and how many others there are."""
    if not folder.exists():
        raise DataError(f"there is no folder {str(folder)!r}")
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is a file, not a folder of pictures")
    files, others = [], 0
    for name, entry in _walk(folder):
        if not may_be_picture(entry):
            others += 1
        else:
            about = entry.stat(follow_symlinks=entry.is_file())
            files.append(File(name, about.st_size, about.st_mtime_ns))
    return sorted(files, key=lambda file: file.name), others


def open_parts(folder: Path) -> tuple[dict[str, Path], str]:
    """Return the folders of a folder's parts by the part's name (train, test, validation), and what belongs to none.

    Nothing where the folder has no parts. Folders that hold nothing but one other folder are passed through.

    Raises:
        DataError: as for `find_parts`.
    """
    above: list[str] = []
    while True:
        loose, inner = _level(folder)
        real = os.path.realpath(folder)
        if loose or len(inner) != 1 or real in above:
            break
        above.append(real)
        folder = folder / inner[0]
    parts = find_parts(inner)
    if parts is None:
        return {}, ""
    aside = [*(f"the folder {printable(name)!r}" for name in parts.aside), *(printable(name) for name in loose)]
    return {part: folder / name for part, name in parts.items().items()}, ", ".join(aside)


def _level(folder: Path) -> tuple[list[str], list[str]]:
    """Return the first pictures that lie in a folder itself, and its folders with pictures in them."""
    files, folders = [], []
    for entry in _entries(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            folders.append(entry)
        elif may_be_picture(entry):
            files.append(entry)
    loose = islice((entry.name for entry in sorted(files, key=_name) if is_picture(Path(entry.path))), _SHOWN)
    inner = [
        entry.name
        for entry in sorted(folders, key=_name)
        if any(may_be_picture(file) and is_picture(Path(file.path)) for _, file in _walk(Path(entry.path)))
    ]
    return list(loose), inner


def _name(entry: "os.DirEntry[str]") -> str:
    return entry.name


def may_be_picture(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a file that is neither hidden nor plainly something else by its suffix."""
    return (
        (entry.is_file() or entry.is_symlink())  # no pipe or device; a broken link is to be reported
        and not entry.name.startswith(".")
        and os.path.splitext(entry.name)[1].lower() not in NOT_PICTURES
    )


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        return list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be read: {error.strerror}") from None


def _walk(folder: Path, prefix: str = "", above: tuple[str, ...] = ()) -> "Iterator[tuple[str, os.DirEntry[str]]]":
    """Yield every file below a folder with its relative name; hidden folders are left out, links followed once."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if not entry.is_dir():
            yield prefix + entry.name, entry
        elif not entry.name.startswith("."):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, real))
