"""What recipes share that edit the classifier of an earlier run: its data, and which samples are meant."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import build
from withstand.core.roles import Source
from withstand.data.derived.subset import labelled
from withstand.data.load import Data, splits
from withstand.engine.folder import RunFolder
from withstand.engine.origin.data_places import OwnData
from withstand.recipes.setups.staged.stages import side_of

Meant: TypeAlias = str | Tensor | Sequence[int]
"""Samples: "class:" with a class's number or name, a text file of places, one a line from 0, or the places."""


def places(meant: Meant, source: Source) -> list[int]:
    """Return the places in a source of the samples that are meant, in rising order.

    Raises:
        ConfigError: a class that there is not, or a file that cannot be read.
        DataError: places outside the source, named twice, none, or all.
    """
    if isinstance(meant, str):
        found = _of_class(meant, source) if meant.startswith("class:") else _of_file(Path(meant).expanduser())
    else:
        found = [int(place) for place in meant]
    count = len(source)
    for place in found:
        if not 0 <= place < count:
            raise DataError(f"forget names sample {place}, and there are {count}: places count from 0 to {count - 1}")
    if len(set(found)) < len(found):
        twice = next(place for place in found if found.count(place) > 1)
        raise DataError(f"forget names sample {twice} more than once")
    if not found:
        raise DataError("forget names no samples: there is nothing to forget")
    if len(found) == count:
        raise DataError(f"forget names all {count} samples, and something must remain")
    return sorted(found)


def _of_class(meant: str, source: Source) -> list[int]:
    if source.labels is None:
        raise DataError(f"forget is {meant!r}, and the data have no labels: name the places in a file")
    word, names = meant.partition(":")[2], source.classes
    present = sorted(set(source.labels[source.labels >= 0].tolist()))
    called = {names[label] if label < len(names) else str(label): label for label in present}
    if not any(name.isdecimal() for name in names):  # else a number is a name, and may be another class's place
        called |= {str(label): label for label in present}
    if word not in called:
        known = [f"class:{names[label] if label < len(names) else label}" for label in present]
        raise ConfigError(f"forget {meant!r} is no class: {nearest(meant, known)}")
    return list(map(int, (source.labels == called[word]).nonzero()[:, 0]))


def _of_file(path: Path) -> list[int]:
    if not path.is_file():
        raise ConfigError(f"forget {str(path)!r} is no file: give class:NAME, or a text file of places, one a line")
    found = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"forget {str(path)!r} cannot be read as text ({error})") from None
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if not word:
            continue
        if not word.isdecimal():
            raise DataError(f"line {number} of {path.name} is {word[:40]!r}, and no place: whole numbers from 0")
        found.append(int(word))
    return found


def data_of(run: Path, data: Data | None, size: int | None) -> tuple[Source, Source | None]:
    """Return what a run learnt from, and its test samples.

    Args:
        run: its folder.
        data: names them again, where the run's description cannot; None for the run's own.
        size: of a folder's photos.

    Raises:
        DataError: data that the run did not learn from.
        ConfigError: the run learnt from data in memory, and they are not given.
    """
    folder = RunFolder(run)
    if data is None:
        try:
            own = OwnData(folder, lambda tree, place: build(tree, path=place))
            return own.need("source"), own.open("test")
        except ConfigError as error:
            raise ConfigError(f"{run} does not say where its data are ({error}): name them by --data") from None
    facts = folder.record()["data"]
    known = facts.get("fingerprint") if isinstance(facts, dict) else None
    train, test = splits(data, size=side_of(str(run), data, size), seed=0)
    for some in (train, labelled(train)):
        if some.fingerprint() == known:
            return some, test
    raise DataError(f"{run} did not learn from these data, so that places in them mean nothing to it")


def rest(chosen: Sequence[int], count: int) -> list[int]:
    """Return the other places."""
    others = torch.ones(count, dtype=torch.bool)
    others[list(chosen)] = False
    return others.nonzero()[:, 0].tolist()
