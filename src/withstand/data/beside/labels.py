"""Labels that are given later: a table of file names or ids, and what each sample is."""

import warnings
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from torch import Tensor

from withstand.core.errors import DataError, nearest
from withstand.core.part import Tree
from withstand.core.roles import Source
from withstand.data.beside.keys import called, find, key_column, texts
from withstand.data.derived.relabelled import Relabelled
from withstand.data.shared.labels import read_labels
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Frame

LABELS = ("label", "labels", "class", "category", "target", "y")
"""What the column of labels is usually called; else it is the only other one."""
_SHOWN = 3


@dataclass(frozen=True)
class Told:
    """What a table of labels tells of some data.

    Attributes:
        path: the table.
        column: of the labels.
        samples: how many there are.
        labelled: how many of them have a label.
        rows: of the table.
        unknown: names in rows that are about none of the samples.
        doubtful: names in rows that several samples share.
        digest: changes when any sample's label does.
    """

    path: str
    column: str
    samples: int
    labelled: int
    rows: int
    unknown: tuple[str, ...]
    doubtful: tuple[str, ...]
    digest: str

    def __str__(self) -> str:
        """Return one line: how many samples have a label, and which rows were of no use."""
        words = f"{self.path}: {self.labelled:,} of {self.samples:,} samples have a label ({self.column})"
        if self.labelled < self.samples:
            words += f", {self.samples - self.labelled:,} have none"
        for names, why in ((self.unknown, "name no sample"), (self.doubtful, "name several samples")):
            if names:
                shown = ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
                words += f"; {len(names):,} of {self.rows:,} rows {why} ({shown})"
        return words

    def record(self) -> dict[str, Tree]:
        """Return it for a finding's protocol."""
        return {
            "file": self.path,
            "column": self.column,
            "samples with a label": self.labelled,
            "samples without": self.samples - self.labelled,
            "rows": self.rows,
            "rows that name no sample": len(self.unknown),
            "rows that name several": len(self.doubtful),
            "digest": self.digest,
        }


def with_labels(
    parts: dict[str, Source], path: str | Path, *, column: str | None = None
) -> tuple[dict[str, Source], Told]:
    """Return the parts of some data with the labels that a table tells, and what it told.

    Rows find samples by name: a picture's path in its folder, or the last part of it where that is nobody else's; with
    the part's name before it, as `test/cat.jpg`, where parts share names; without names by their place, from 0.
    Samples in no row have no label. Whatever found nothing is counted in a warning.

    Args:
        parts: the samples, by the name of their part.
        path: a CSV, Parquet or Feather file.
        column: of the labels; found by itself if None.

    Raises:
        DataError: no such column, rows that tell one sample two labels, or no row about any sample.
    """
    frame, _ = read_file(Path(path))
    named = key_column(frame)
    column = _label_column(frame, named, str(path), column)
    names = [(part, called(source)) for part, source in parts.items()]
    keys, values = texts(frame.columns[named]), texts(frame.columns[column])
    found = find(keys, names)
    count = sum(len(some) for _, some in names)
    if not bool((found >= 0).any()):
        example = next(some[0] for _, some in names if some)
        raise DataError(f"column {named!r} of {str(path)!r} names none of the samples: they are called as {example!r}")
    told: list[str | int | None] = [None] * count
    whole = all(value is None or (value.isdecimal() and value == str(int(value))) for value in values)
    for place, value in zip(found.tolist(), values, strict=True):
        if place < 0 or value is None:
            continue
        given = int(value) if whole else value
        if told[place] not in (None, given):
            raise DataError(f"{str(path)!r} tells two labels of one sample: {told[place]!r} and {given!r}")
        told[place] = given
    labels = read_labels(told, count, name=f"column {column!r} of {path}")
    if labels.y is None:
        raise DataError(f"{str(path)!r} gives no labels: {labels.note or 'no sample has one'}")
    about = Told(
        str(path),
        column,
        count,
        int((labels.y >= 0).sum()),
        len(frame),
        _those(keys, found == -1),
        _those(keys, found == -2),
        blake2b(labels.y.numpy().tobytes() + repr(labels.classes).encode(), digest_size=6).hexdigest(),
    )
    if about.unknown or about.doubtful or about.labelled < count:
        warnings.warn(str(about), stacklevel=2)
    relabelled: dict[str, Source] = {}
    first = 0
    for part, source in parts.items():
        relabelled[part] = Relabelled(source, labels.y[first : first + len(source)], labels.classes)
        first += len(source)
    return relabelled, about


def _label_column(frame: Frame, named: str, path: str, column: str | None) -> str:
    others = [name for name in frame.columns if name != named]
    if column is not None:
        if column not in others:
            raise DataError(f"{path!r} has no column {column!r} beside {named!r}: {nearest(column, others)}")
        return column
    known = [name for name in others if name.strip().lower() in LABELS]
    if len(known) == 1 or len(others) == 1:
        return (known or others)[0]
    if not others:
        raise DataError(f"{path!r} needs a column of names and one of labels")
    raise DataError(f"{path!r} has several columns that may be labels: name one of {', '.join(others)}")


def _those(keys: list[str | None], chosen: Tensor) -> tuple[str, ...]:
    return tuple(str(keys[row]) for row in chosen.nonzero()[:, 0].tolist())
