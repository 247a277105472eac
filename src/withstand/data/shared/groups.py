"""Groups of samples, told by a table beside the data: a file's name, and what is known of it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.roles import Source
from withstand.data.beside.keys import find, key_column, texts
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import distinct

MOST = 100
"""Distinct values beyond which a column is no grouping."""


@dataclass(frozen=True)
class Groups:
    """One way to group samples.

    Attributes:
        codes: each sample's place in `names`, int64 `(N,)`; -1 where its group is not known.
        names: of the groups, sorted.
    """

    codes: Tensor
    names: tuple[str, ...]


def read_groups(path: str | Path, source: Source) -> dict[str, Groups]:
    """Return how a table groups a source's samples, by the table's columns.

    Samples are found by their names (`Source.names`: a picture's path in its folder, or the last part of it where that
    is nobody else's); those of a source without names by their place, counted from 0. Columns of more than 100
    different values are no groups, and a warning names them.

    Args:
        path: a CSV, Parquet or Feather file.
        source: the samples.

    Raises:
        DataError: a table without two columns, rows about the same sample that differ, or none about any sample.
    """
    frame, _ = read_file(Path(path))
    if len(frame.columns) < 2:
        raise DataError(f"{str(path)!r} needs a column of names and one of groups or more")
    named = key_column(frame)
    rows = find(texts(frame.columns[named]), [("", source.names or [str(place) for place in range(len(source))])])
    if not (rows >= 0).any():
        example = f"{source.names[0]!r}" if source.names else f"0 to {len(source) - 1}"
        raise DataError(
            f"column {named!r} of {str(path)!r} names no sample of {source.name}: they are called {example}"
        )
    found: dict[str, Groups] = {}
    for name, values in frame.without(named).columns.items():
        if distinct(values) > MOST:
            warnings.warn(f"column {name!r} of {str(path)!r} has {distinct(values)} values: no groups", stacklevel=2)
            continue
        found[name] = _groups(name, texts(values), rows, len(source))
    if not found:
        raise DataError(f"{str(path)!r} has no column of at most {MOST} different values beside {named!r}")
    unknown = int((next(iter(found.values())).codes < 0).sum())
    if unknown:
        warnings.warn(f"{unknown} of {len(source)} samples of {source.name} are in no row of {path}", stacklevel=2)
    return found


def groups_of(told: str, source: Source) -> dict[str, Groups]:
    """Return how samples are grouped by one of the source's own attributes, or by a table; see `read_groups`.

    Args:
        told: an attribute whose groups have names, as "domain"; or a file.
        source: the samples.
    """
    names = source.group_names.get(told)
    return read_groups(told, source) if names is None else {told: Groups(source.attributes[told], names)}


def _groups(name: str, texts: list[str | None], rows: Tensor, count: int) -> Groups:
    pairs = list(zip(texts, rows.tolist(), strict=True))
    names = tuple(sorted({text for text, row in pairs if text is not None and row >= 0}))
    place = {text: number for number, text in enumerate(names)}
    codes = torch.full((count,), -1, dtype=torch.int64)
    for text, row in pairs:
        if row < 0 or text is None:
            continue
        if codes[row] >= 0 and int(codes[row]) != place[text]:
            raise DataError(f"column {name!r} has two values for one sample: {names[int(codes[row])]!r} and {text!r}")
        codes[row] = place[text]
    return Groups(codes, names)
