"""The classes of a folder's pictures, told by where their files lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from withstand.core.errors import DataError, nearest
from withstand.core.files import printable
from withstand.data.pictures.folder_parts import find_parts, role_of
from withstand.data.shared.digest import too_many_classes

_SHOWN = 3
"""How many names a message lists."""
_MOST = 12
"""How many classes it lists."""


class Sorted(NamedTuple):
    """Classes found, the label of each picture (-1 for none), and what a user should know of it."""

    classes: tuple[str, ...]
    labels: Tensor | None
    note: str = ""


def classes_of(names: Sequence[str], given: tuple[str, ...] | None, folder: Path) -> Sorted:
    """Return the classes of pictures by their names relative to a folder, their labels, and what is to be said.

    Args:
        names: with `/` between folders.
        given: the classes where they are known; `()` for none, None to find them.
        folder: where the pictures lie, for messages.

    Raises:
        DataError: the folders are parts of a set, or a folder is no given class.
    """
    if given == ():
        return Sorted((), None)
    names = list(names)
    while True:
        tops = [name.partition("/")[0] if "/" in name else None for name in names]
        folders = sorted({top for top in tops if top is not None})
        # A folder that holds nothing but one other is passed through, unless it is a known class.
        if None in tops or len(folders) != 1 or (given is not None and printable(folders[0]) in given):
            break
        names = [name.partition("/")[2] for name in names]
    strays = [name for name, top in zip(names, tops, strict=True) if top is None]
    if given is not None:
        return _as_given(tops, folders, strays, given, folder)
    if len(folders) < 2:
        return Sorted((), None)
    parts = find_parts(folders)
    if parts is not None:
        shown = ", ".join(printable(name) for name in parts.items().values())
        raise DataError(
            f"{str(folder)!r} holds the parts of a set, {shown}: open one of these folders, or leave it to "
            "load() and splits(), which tell them apart"
        )
    if 2 * len(strays) > len(names):
        return Sorted(
            (),
            None,
            f"no labels are read from its {len(folders)} folders ({_some(folders)}), as {len(strays)} of "
            f"{len(names)} pictures lie outside of them",
        )
    if too_many_classes(len(folders), len(names) - len(strays)):
        return Sorted(
            (), None, f"no labels are read from its {len(folders)} folders, which hold {len(names)} pictures in all"
        )
    classes = tuple(sorted(map(printable, folders)))
    notes = [_strays(strays, len(names))] if strays else []
    alone = [name for name in folders if role_of(name) == ("train", "")]
    if alone:
        notes.append(f"the folder {alone[0]!r} is read as a class, as no test or validation folder lies beside it")
    return Sorted(classes, _numbered(tops, classes), "; ".join(notes))


def _as_given(
    tops: Sequence[str | None], folders: Sequence[str], strays: Sequence[str], given: tuple[str, ...], folder: Path
) -> Sorted:
    unknown = [printable(name) for name in folders if printable(name) not in given]
    if unknown:
        known = ", ".join(given) if len(given) <= _MOST else f"of training: {nearest(unknown[0], given)}"
        raise DataError(f"{str(folder)!r} has {unknown[0]!r}, which is not among the classes {known}")
    if not folders:
        return Sorted((), None, f"its {len(strays)} pictures lie in no class folder, and have no labels")
    return Sorted(given, _numbered(tops, given), _strays(strays, len(tops)) if strays else "")


def _numbered(tops: Sequence[str | None], classes: Sequence[str]) -> Tensor:
    number = {name: place for place, name in enumerate(classes)}
    return torch.tensor([-1 if top is None else number[printable(top)] for top in tops])


def _strays(strays: Sequence[str], count: int) -> str:
    return f"{len(strays)} of {count} pictures lie outside the class folders and have no label ({_some(strays)})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name) for name in names[:_SHOWN]) + more
