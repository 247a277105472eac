"""The front door to data: anything that holds samples becomes a source.

Every kind is told apart here, which makes the file longer than others.
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.roles import Source
from withstand.data.arrays.source import ArraySource, npz_parts
from withstand.data.dataset import DatasetSource
from withstand.data.derived.resized import as_shaped
from withstand.data.derived.subset import holdout, holdout_or_all, in_whole, labelled
from withstand.data.flows.named import NAMED_FLOWS
from withstand.data.flows.source import is_flows, open_flows, parted
from withstand.data.graphs.load import GRAPHS, open_graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.data.interactions.source import RATINGS, Catalogue, is_ratings
from withstand.data.listed import Listed, dataset_of, is_listed, paired
from withstand.data.pictures.blank import Blank
from withstand.data.pictures.decoding.listing import open_parts
from withstand.data.pictures.folder import ImageFolder
from withstand.data.pictures.named import NAMES, NamedSource
from withstand.data.pictures.shards.parts import shard_parts
from withstand.data.pictures.shards.source import Shards
from withstand.data.pictures.whole import WholePictures
from withstand.data.tables.files import is_table_file
from withstand.data.tables.frame import is_frame
from withstand.data.tables.named import TABLES
from withstand.data.tables.source import TableSource
from withstand.data.volumes.files import holds_volumes
from withstand.data.volumes.load import VOLUMES
from withstand.data.volumes.load import open_parts as volume_openers
from withstand.data.windows.source import WINDOWS, WindowFiles, is_windows

Data: TypeAlias = (
    str | Path | np.ndarray[Any, Any] | Tensor | Dataset[Any] | DataLoader[Any] | Source | list[Any] | tuple[Any, Any]
)
"""Whatever holds samples; a tuple is a pair of samples and labels, a list holds samples or pairs of one and a label."""

DEFAULT_SIZE = 64
"""The side of pictures from a folder when none is said."""


def load(data: Data, *, split: str = "train", size: int | None = None, reading: Reading = PLAIN) -> Source:
    """Return a source for whatever holds samples.

    Args:
        data: the name of a set (which wins over a folder so named: write `./name` for that), the path of a folder
            of pictures, of tar shards or of tables of devices, or of a `.npy`, `.npz` or `.tar` file, a table (its
            name, a CSV, Parquet or Feather file, a data frame; one of users and items, and at most a rating and a time
            beside, is a catalogue of items), volumes (a name, a folder of NIfTI files or DICOM series, one such file),
            a packet capture (pcap or pcapng, also in gzip, a folder or zip archive of them, or the set `ndpi`), an
            array, a tensor, a pair of them (samples and labels), a list of tensors, arrays or PIL pictures or of pairs
            of one and its label, a `torch.utils.data.Dataset` or a `DataLoader` of one, or a source, which is given
            back.
        split: `train` or `test`, of sets, `.npz` files and folders that have both; data without a test part are
            `train` (and `splits` holds a part of them out). A folder's parts are told by their names in any case and
            with words such as `_set` behind them: train or training; test or testing, else valid, validation, val,
            eval or dev.
        size: the side of pictures from a folder, 64 when not said. Other data have their size; another one here
            is refused.
        reading: what picture files of a folder or of tar shards do not say themselves.

    Raises:
        ConfigError: a reading for data that are no picture files.
        DataError: an unknown name or path, a missing split, another size, or data that cannot be read.

    >>> load("digits").shape
    (1, 8, 8)
    """
    if split not in ("train", "test"):
        raise DataError(f"unknown split {split!r}: 'train' or 'test'")
    openers = _openers(data, size, reading=reading)
    if split == "train":
        return openers["train"]()
    test = openers.get("test", openers.get("validation"))
    if test is None:
        raise DataError(f"{_called(data)} has no test part: splits() holds out a share of it")
    return test()


def splits(
    data: Data,
    *,
    size: int | None = None,
    fraction: float = 0.2,
    seed: int = 0,
    cache_size: int | None = None,
    reading: Reading = PLAIN,
) -> tuple[Source, Source]:
    """Return (train, test): the data's own test part where there is one, else a share held out.

    A set's own split; the `x_test` of an `.npz` file; a folder's own parts. Test samples are what is judged, so where
    only some have a label they are those; and where training pictures have labels and a folder's test pictures have
    none, its validation part stands in for them, or a share of the training pictures, which a warning says.

    Args:
        data: as for `load`.
        size: as for `load`.
        fraction: the share held out where the data have no test part, stratified when labelled.
        seed: chooses which samples those are.
        cache_size: of a folder of pictures that are learnt from, as for `ImageFolder`; other data take no notice.
        reading: as for `load`.
    """
    _refuse_reading(data, reading)
    if _is_table(data):
        rows = data if isinstance(data, TableSource) else TableSource(data, part="train", fraction=fraction, seed=seed)
        return rows.other("train"), labelled(rows.other("test"))
    if is_flows(data):
        flows = open_flows(data)
        return parted(flows, "train", fraction, seed), labelled(parted(flows, "test", fraction, seed))
    openers = _openers(data, size, cache_size, reading)
    train = openers.pop("train")()
    for opener in openers.values():
        test = opener()
        if train.labels is None or test.labels is not None:
            return train, labelled(test)
    if openers:
        warnings.warn(
            f"{_called(data)} has labels in its training part alone: {fraction:.0%} of these pictures are held out "
            "to judge by",
            stacklevel=2,
        )
    return holdout(train, fraction, seed)


SHARE = 0.2
"""What is held out of data without a test part when nothing else is said."""


def splits_or_all(
    data: Data,
    *,
    size: int | None = None,
    share: float = SHARE,
    cache_size: int | None = None,
    reading: Reading = PLAIN,
) -> tuple[Source, Source | None]:
    """Return (train, test) as `splits` does, with another share held out; with a share of 0 (all there is, None).

    Args:
        data: as for `load`.
        size: as for `load`.
        share: what is held out to judge by, from 0 to below 1.
        cache_size: as for `splits`.
        reading: as for `load`.

    Raises:
        ConfigError: a share out of range, or another than the usual of data that have a test part of their own.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"holdout must be at least 0 and below 1, not {share!r}: it is the share that is kept")
    if share == SHARE:
        return splits(data, size=size, cache_size=cache_size, reading=reading)
    openers = _openers(data, size, cache_size, reading)
    if len(openers) > 1:
        raise ConfigError(f"{_called(data)} has a test part of its own, which is kept in any case: leave holdout out")
    return holdout_or_all(openers["train"](), share)


def judged(data: Data, *, size: int | None = None, reading: Reading = PLAIN) -> Source:
    """Return the samples that a network which needs no others is judged on: everything that is given.

    Of a set, an `.npz` file or a folder that come in parts that is the test part, as `splits` chooses it; of anything
    else all of it, and of a source that is handed over, itself. Where only some samples have labels, those.

    Arguments as for `load`.
    """
    _refuse_reading(data, reading)
    if isinstance(data, Source):
        return labelled(data)
    if _is_table(data) and not (isinstance(data, str) and data in TABLES):
        return labelled(TableSource(data, part="all"))
    openers = _openers(data, size, reading=reading)
    train = openers.pop("train")
    for opener in openers.values():
        test = opener()
        if test.labels is not None or train().labels is None:
            return labelled(test)
    if openers:
        warnings.warn(
            f"{_called(data)}: no labels in {' and '.join(openers)}, so that the training part is judged, which a "
            "network may have learnt from",
            stacklevel=2,
        )
    return labelled(train())


def parts_of(data: Data, *, size: int | None = None, reading: Reading = PLAIN) -> dict[str, Source]:
    """Return the parts that data come in, by name: `train` (all there is where they have none), `test`, `validation`.

    Arguments as for `load`.
    """
    return {part: opener() for part, opener in _openers(data, size, reading=reading).items()}


def splits_like(source: Source, data: Data) -> tuple[Source, Source]:
    """Return (train, test) of other data, read as `source` was: photos at its size, rows by its schema."""
    source = in_whole(source)[0]
    if isinstance(source, GraphSource | GraphSet):  # what reads any graph knows all their sources, which cannot know it
        like = source.like(data)
        return labelled_parts(open_graphs(data) if like is None else like)
    train = source.like(data, "train")
    if train is None:
        first, other = splits(data, **read_like(source, data))
        return colored_like(source, first, data), colored_like(source, other, data)
    test = source.like(data, "test")
    return (train, labelled(test)) if test is not None else holdout(train)


class HowRead(TypedDict):
    """How pictures of a folder or of tar shards are read: their size, and what the files do not say."""

    size: int | None
    reading: Reading


def read_like(source: Source, data: Data) -> HowRead:
    """Return how a folder's pictures are read to be as `source`'s are; nothing is said of other data."""
    if source.kind != "picture" or not _is_of_picture_files(data):
        return {"size": None, "reading": PLAIN}
    return {"size": source.shape[-1], "reading": reading_of(source)}


def colored_like(source: Source, other: Source, data: Data) -> Source:
    """Return pictures of files, which `other` read from `data`, in color or in grey as `source`'s are; else `other`."""
    if not _is_of_picture_files(data):
        return other
    shapes = source.shape, other.shape
    if source.kind != "picture" or other.kind != "picture" or not all(len(shape) == 3 for shape in shapes):
        return other
    (channels, *_), (given, *sides) = shapes
    if channels == given or not {channels, given} <= {1, 3}:
        return other
    brought = as_shaped(other, (channels, *sides))
    what = ("pictures in color", "made grey") if channels == 1 else ("grey pictures", "given three equal channels")
    brought.notes = (*other.notes, (what[0], f"{what[1]}, as those that were learnt from"))
    return brought


def reading_of(source: Source) -> Reading:
    """Return how picture files were read for a source, itself one of files or made of such; plainly for any other."""
    inner: object = source
    while isinstance(inner, Source):
        if isinstance(inner, ImageFolder | Shards | WholePictures | Blank):
            return inner.reading
        inner = getattr(inner, "source", None)
    return PLAIN


def is_picture_folder(data: Data) -> bool:
    """Return whether data are a folder, and of nothing else than pictures as far as its files' names say."""
    folder = _path_of(data)
    return folder is not None and folder.is_dir() and not (_is_volumes(data) or is_windows(data) or is_flows(data))


def labelled_parts(source: Source) -> tuple[Source, Source]:
    """Return (what probes are fitted to, what they are scored on): a graph's own parts, or a share held out.

    Samples without a label are left out of both.
    """
    if isinstance(source, GraphSource) and {"train", "test"} <= set(source.parts):
        return source.part("train"), source.part("test")
    return holdout(labelled(source))


def _is_table(data: object) -> bool:
    """Return whether these are rows with named columns; an array without names is taken as it is."""
    if isinstance(data, str) and data in TABLES:
        return True
    return isinstance(data, TableSource) or ((is_table_file(data) or is_frame(data)) and not is_ratings(data))


def _is_volumes(data: object) -> bool:
    """Return whether these are scans in three dimensions, which are cut into slices."""
    if isinstance(data, str) and data in VOLUMES:
        return True
    path = _path_of(data)
    return path is not None and path.exists() and holds_volumes(path)


def _parts(data: Data) -> tuple[str, ...]:
    """Return the parts that data which are no folder come in; none where they are one whole."""
    both = ("train", "test")
    if _is_table(data) or (isinstance(data, str) and data in NAMES):
        return both
    if isinstance(data, NamedSource):
        return both if data.split == "train" else ()
    path = None if is_flows(data) else _path_of(data)
    return npz_parts(path) if path is not None and path.is_file() else ()


def _path_of(data: object) -> Path | None:
    """Return the path that data are named by; None where they are something else, or a set's name."""
    if not isinstance(data, str | Path) or (
        isinstance(data, str) and data in (*NAMES, *GRAPHS, *TABLES, *VOLUMES, *WINDOWS, *NAMED_FLOWS)
    ):
        return None
    return Path(data).expanduser()


def _is_of_picture_files(data: Data) -> bool:
    """Return whether data are a folder of pictures, or tar shards of them."""
    folder = _path_of(data)
    return is_picture_folder(data) or (folder is not None and folder.exists() and bool(shard_parts(folder)))


def _refuse_reading(data: Data, reading: Reading) -> None:
    if not _is_of_picture_files(data):
        reading.refuse(f"{_called(data)} is neither a folder nor tar shards of them")


def _openers(
    data: Data, size: int | None, cache_size: int | None = None, reading: Reading = PLAIN
) -> dict[str, Callable[[], Source]]:
    """Return what opens each part that data come in: `train`, then the others, the one to judge by first."""
    _refuse_reading(data, reading)
    folder = _path_of(data)
    parts: dict[str, Path] = {}
    if _is_volumes(data):
        return volume_openers(data, size=size)
    if folder is not None and folder.exists() and (shards := shard_parts(folder)):
        return _shard_openers(shards, DEFAULT_SIZE if size is None else size, cache_size, reading)
    if folder is not None and is_picture_folder(data):
        parts, aside = open_parts(folder)
        if aside:
            warnings.warn(f"{str(folder)!r} has parts ({', '.join(parts)}); left aside: {aside}", stacklevel=3)
    if not parts:
        names = _parts(data)
        return {part: partial(_sized, data, part, size) for part in names} or {
            "train": partial(_sized, data, None, size, cache_size, reading)
        }
    side = DEFAULT_SIZE if size is None else size
    train = cache(partial(ImageFolder, parts["train"], side, cache_size=cache_size, reading=reading))

    def other(part: str) -> Source:
        # Every part numbers its classes as the training folder does.
        return ImageFolder(parts[part], train().shape[-1], classes=train().classes, reading=reading)

    return {"train": train} | {part: partial(other, part) for part in parts if part != "train"}


def _shard_openers(
    parts: dict[str, tuple[Path, str | None]], size: int, cache_size: int | None, reading: Reading
) -> dict[str, Callable[[], Source]]:
    """Return what opens each part of a set of tar shards."""
    place, said = parts["train"]
    train = cache(partial(Shards, place, size, part=said, cache_size=cache_size, reading=reading))

    def other(part: str) -> Source:
        folder, word = parts[part]
        return Shards(folder, size, part=word, classes=train().classes, reading=reading)

    return {"train": train} | {part: partial(other, part) for part in parts if part != "train"}


def _sized(
    data: Data, split: str | None, size: int | None, cache_size: int | None = None, reading: Reading = PLAIN
) -> Source:
    source = _open(data, split, size, cache_size, reading)
    if size is not None and source.shape[-2:] != (size, size):
        raise DataError(f"size={size} resizes folders of pictures only; {_called(data)} has samples of {source.shape}")
    return source


def _open(data: Data, split: str | None, size: int | None, cache_size: int | None, reading: Reading) -> Source:
    """Open data; `split` is None where they have only one part."""
    if _is_table(data):
        rows = data if isinstance(data, TableSource) else TableSource(data, part="train")
        return rows.other("test") if split == "test" else rows
    if is_ratings(data) and not isinstance(data, Source):
        return Catalogue(data)
    if is_flows(data):
        return open_flows(data)
    if isinstance(data, Source):
        return NamedSource(data.name, "test") if isinstance(data, NamedSource) and split == "test" else data
    if isinstance(data, np.ndarray | Tensor):
        return ArraySource(data)
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DataError(f"a tuple of data is a pair of samples and labels, not of {len(data)}")
        return DatasetSource(paired(*data)) if is_listed(data[0]) else ArraySource(*data)
    if isinstance(data, DataLoader):
        return _open(dataset_of(data), split, size, cache_size, reading)
    if is_listed(data):
        return DatasetSource(Listed(data))
    if isinstance(data, Dataset):
        return DatasetSource(data)
    if not isinstance(data, str | Path):
        raise DataError(f"{_called(data)} is no data: give a set's name, a path, an array, a Dataset or a Source")
    if isinstance(data, str) and data in NAMES:
        return NamedSource(data, split or "train")
    if isinstance(data, str) and data in GRAPHS:
        return open_graphs(data)
    if is_windows(data):
        return WindowFiles(data)
    path = Path(data).expanduser()
    if path.is_file():
        return ArraySource(path, split=split)
    if not path.is_dir():
        raise DataError(
            f"{str(data)!r} is neither a path nor the name of a set: "
            f"{nearest(str(data), [*NAMES, *TABLES, *GRAPHS, *VOLUMES, *WINDOWS, *RATINGS, *NAMED_FLOWS])}"
        )
    return ImageFolder(path, DEFAULT_SIZE if size is None else size, cache_size=cache_size, reading=reading)


def _called(data: object) -> str:
    return repr(str(data)) if isinstance(data, str | Path) else f"a {type(data).__name__}"
