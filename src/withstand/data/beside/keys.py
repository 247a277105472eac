"""Which sample a row of a table is about, by the sample's name or its place."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor

from withstand.core.roles import Source
from withstand.data.derived.subset import in_whole
from withstand.data.tables.frame import Frame, Values, Words
from withstand.data.tables.source import TableSource

KEYS = ("file", "filename", "file name", "name", "path", "image", "picture", "id", "index")
"""What the column that says which sample a row is about is usually called; else it is the first one."""


def key_column(frame: Frame) -> str:
    """Return the column that says which sample a row is about: one of `KEYS`, else the first."""
    return next((name for name in frame.columns if name.strip().lower() in KEYS), next(iter(frame.columns)))


def texts(values: Values) -> list[str | None]:
    """Return a column's cells as text; None where a value is missing."""
    if isinstance(values, Words):
        return [None if code < 0 else values.names[code] for code in values.codes]
    return [None if np.isnan(value) else f"{value:.15g}" for value in values]


def called(source: Source) -> Sequence[str]:
    """Return what each sample is called: its name, else its place in its file, set or folder, from 0."""
    return source.names or [str(place) for place in in_file(source)[1].tolist()]


def in_file(source: Source) -> tuple[Source, Tensor]:
    """Return the whole that samples were chosen from, and their places there; of a table, every row of its file."""
    whole, rows = in_whole(source)
    return (whole.whole(), whole.rows[rows]) if isinstance(whole, TableSource) else (whole, rows)


def find(keys: Iterable[str | None], parts: Sequence[tuple[str, Sequence[str]]]) -> Tensor:
    """Return which sample each key names, int64: its place among all parts' samples, one part after the other.

    A sample is named by what it is called, by the last part of that where it is a path, or by the part of the data
    before it, as `train/cat.jpg`. -1 stands for a key that names none; -2 for one that names several.

    Args:
        keys: one a row; None names none.
        parts: what the samples of each part are called.
    """
    whole, short, of_part = (dict[str, int]() for _ in range(3))
    place = 0
    for part, names in parts:
        for name in names:
            path = PurePath(name)
            for known, key in ((whole, path.as_posix()), (short, path.name), (of_part, f"{part}/{path.as_posix()}")):
                known[key] = -2 if key in known else place
            place += 1

    def one(key: str | None) -> int:
        if key is None:
            return -1
        path = PurePath(key).as_posix()
        known = ((whole, path), (of_part, path), (short, key))
        return next((places[name] for places, name in known if name in places), -1)

    return torch.tensor([one(key) for key in keys], dtype=torch.int64)
