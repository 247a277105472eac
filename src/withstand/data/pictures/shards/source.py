"""Tar shards of pictures as a source: any sample at once, in an order that never changes."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.roles import Indices, Source
from withstand.data.pictures.decoding.decode import Decoded, decode_or_reason
from withstand.data.pictures.decoding.forms import ForCrops, Form, Square
from withstand.data.pictures.decoding.notes import Told, notes_on
from withstand.data.pictures.shards.index import Names, Shard, index_of, list_shards, place_of
from withstand.data.pictures.shards.kept import Kept, Pixels, Rows, fits
from withstand.data.pictures.shards.parts import part_of
from withstand.data.shared.cache_folder import cache_folder
from withstand.data.shared.digest import as_indices
from withstand.data.shared.labels import read_labels
from withstand.views.pictures.photos import Photos

_LOOKED_AT = 256
"""Pictures whose bytes count for the fingerprint, evenly spaced; of the others the places and sizes do."""


class Shards(Source):
    """The pictures of tar archives in WebDataset's layout, decoded when they are first asked for, and kept.

    A sample's members share a key: `0001.jpg` (or png, webp, gif, bmp, tif, heic) is its picture, `0001.cls` its class,
    a number or a name, `0001.txt` its caption; `0001.json` may hold a "label" and a "caption" instead. What else there
    is is named in a warning. Samples come in the order of their shards' names and of their places in them, and any of
    them is read by its place: an index says where it lies, made by one pass over the archives' headers and kept.
    Pictures become RGB uint8 `(3, size, size)` as those of a folder do.

    Args:
        path: a folder of .tar files, or one of them.
        size: the side of the pictures, in pixels.
        part: "train", "test" or "validation": only the shards whose name says so, as in `set-train-000012.tar`; None
            for all.
        classes: the names of labels 0, 1, ...
        picture: the suffix of the member that is the picture, where samples hold several.
        cache: folder for the index and for decoded pictures; the user's cache folder (`$XDG_CACHE_HOME/withstand`) when
            None.
        keep: keep decoded pictures, in a file of 3 * size * size bytes a picture; without, each is decoded every time.
            It changes no result.
        check: decode every picture at once, and leave out those that cannot be; otherwise one of these is an error when
            it is met.
        cache_size: where views crop parts of photos that are larger than `size`, these are taken from the whole photo,
            decoded anew each time at a shorter side of at most this. None takes them from the squares of `size`.
        reading: what the files do not say.

    Attributes:
        captions: of each sample, None for one without; empty where none has one.
        folder: where the shards lie.
        names: each sample's shard and key.
        skipped: (shard and key, reason) of each sample that is left out.

    Raises:
        DataError: no shards, none of this part, a compressed or damaged one, no pictures, or a cache that cannot be
            written.
    """

    kind = "picture"

    def __init__(
        self,
        path: str | Path,
        size: int,
        *,
        part: str | None = None,
        classes: Sequence[str] = (),
        picture: str | None = None,
        cache: str | Path | None = None,
        keep: bool = True,
        check: bool = False,
        cache_size: int | None = None,
        reading: Reading = PLAIN,
    ) -> None:
        if size < 1:
            raise DataError(f"size={size} must be at least 1 pixel")
        if cache_size is not None and cache_size < size:
            raise DataError(f"cache_size={cache_size} must be at least size={size}: nothing is enlarged")
        path = Path(path).expanduser()
        shards = [shard for shard in list_shards(path) if part is None or part_of(shard.name) == part]
        self.folder = path.parent if path.is_file() else path
        if not shards:
            raise DataError(f"there are no tar shards{f' of part {part!r}' if part else ''} in {str(path)!r}")
        place = cache_folder() / "shards" if cache is None else Path(cache)
        self._index = index = index_of(self.folder, shards, place, picture=picture)
        self._shard, self._size, self._cache_size, self.reading = index.shard, size, cache_size, reading
        self._noted: set[str] = set()
        self.name = printable(path.stem if path.is_file() else path.resolve().name)
        self.origin = f"{len(shards)} tar shards in {printable(str(path))}"
        self.skipped = tuple((printable(f"{shard}/{key}"), "no picture") for shard, key in index.bare)
        if not index.keys:
            aside = ", ".join(index.aside)
            raise DataError(f"there are no pictures in the shards of {str(path)!r}{f', only {aside}' if aside else ''}")
        self._complain()
        self._kept = self._keeper(place, picture) if keep else None
        self._rows = np.arange(len(index.keys))
        if check:
            self._rows = self._sound()
        self._answer(tuple(classes))
        self.names = Names(index, self._rows)

    def _complain(self) -> None:
        said = [f"{count} {what}" for what, count in self._index.aside.items()]
        if self.skipped:
            said.append(f"{len(self.skipped)} samples without a picture, such as {self.skipped[0][0]!r}")
        if said:
            more = f" and {len(said) - 6} more kinds" if len(said) > 6 else ""
            warnings.warn(f"{self.name}: left aside: {', '.join(said[:6])}{more}", stacklevel=3)

    def _keeper(self, place: Path, picture: str | None) -> Kept | None:
        """Return what keeps decoded pictures; None where the disk is too small for all."""
        size, count = self._size, len(self._index.keys)
        if not fits(place, 3 * size * size * count):
            warnings.warn(
                f"{self.name}: {3 * size * size * count / 2**30:.1f} GiB of decoded pictures would fill the disk of "
                f"{str(place)!r}: each is decoded every time",
                stacklevel=3,
            )
            return None
        key = place_of(self.folder, picture, self._index.digest())
        return Kept(place / f"{key}-{size}{self.reading.key}.pixels", count, (3, size, size))

    def _answer(self, classes: tuple[str, ...]) -> None:
        """Take the labels and captions of the samples."""
        rows = self._rows.tolist()
        labels = [self._index.labels[row] for row in rows]
        self._labels, self._classes = None, classes
        if any(label is not None for label in labels):
            found = read_labels(labels, len(labels), classes, name="the shards' classes")
            self._labels, self._classes = found.y, found.classes
            if found.note:
                warnings.warn(f"{self.name}: {found.note}", stacklevel=4)
        captions = tuple(self._index.captions[row] for row in rows)
        self.captions = captions if any(caption is not None for caption in captions) else ()
        if self.captions:
            self.origin += ", with captions"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> Batch:
        return self._batch(as_indices(indices, len(self)))[0]

    def for_views(self, indices: Indices) -> Batch:
        batch, shorts = self._batch(as_indices(indices, len(self)))
        larger = torch.from_numpy(shorts > self._size)
        if self._cache_size is None or not bool(larger.any()):
            return batch
        rows = self._rows[batch.index[larger].numpy()]
        return replace(batch, whole=Photos(larger, partial(self._photos, rows, ForCrops(self._cache_size, self._size))))

    def _batch(self, chosen: Tensor) -> tuple[Batch, Rows]:
        """Return samples, and the shorter side that each has in its file."""
        rows = self._rows[chosen.numpy()]
        found, shorts, left = self._taken(rows)
        for place, made in zip(left.tolist(), self._decoded(rows[left], Square(self._size)), strict=True):
            one = self._readable(int(rows[place]), made)
            found[place], shorts[place] = one.pixels, one.short
            self._note(int(rows[place]), one.told)
            if self._kept is not None:
                self._kept.keep(int(rows[place]), one.pixels, one.short)
        y = None if self._labels is None else self._labels[chosen]
        return Batch(torch.from_numpy(found), chosen, y), shorts

    def _taken(self, rows: Rows) -> tuple[Pixels, Rows, Rows]:
        """Return places for pictures, filled with those that are kept; their sides; and which places are empty yet."""
        found, shorts = np.empty((len(rows), *self.shape), dtype=np.uint8), np.zeros(len(rows), dtype=np.int64)
        there = np.zeros(len(rows), dtype=bool) if self._kept is None else self._kept.take(rows, found, shorts)
        return found, shorts, np.flatnonzero(~there)

    def _photos(self, rows: Rows, form: ForCrops) -> list[Pixels]:
        """Return photos `(H, W, 3)` for crops, decoded now: all of them would fill a disk."""
        found = zip(rows.tolist(), self._decoded(rows, form), strict=True)
        # Copies, for Pillow's own are not to be written to.
        return [np.array(self._readable(row, one).pixels) for row, one in found]

    def _readable(self, row: int, made: Decoded | str) -> Decoded:
        if isinstance(made, str):
            raise DataError(
                f"{self._called(row)} is no readable picture ({made}): repair or remove it, or open the shards with "
                "check=True, which leaves such ones out"
            )
        return made

    def _decoded(self, rows: Rows, form: Form) -> Iterator[Decoded | str]:
        """Yield each picture, or why it is none, in order; in threads, as Pillow lets go of the interpreter's lock."""
        return self._pool.map(partial(decode_or_reason, form=form, reading=self.reading), self._bytes(rows))

    def _bytes(self, rows: Rows) -> list[bytes]:
        """Return the bytes of pictures, read in the order in which they lie, each shard opened once."""
        order = np.lexsort((self._index.starts[rows], self._shard[rows])).tolist()
        found = [b""] * len(rows)
        for shard, places in groupby(order, key=lambda place: int(self._shard[rows[place]])):
            with _opened(self.folder, self._index.shards[shard]) as file:
                for place in places:
                    row = int(rows[place])
                    found[place] = os.pread(file, int(self._index.sizes[row]), int(self._index.starts[row]))
        return found

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count())

    def _sound(self) -> Rows:
        """Return the samples whose pictures can be decoded, and note the others as skipped."""
        sound, form = [], Square(self._size)
        for start in range(0, len(self._rows), form.together):
            rows = self._rows[start : start + form.together]
            left = self._taken(rows)[2]
            there = np.ones(len(rows), dtype=bool)
            for place, one in zip(left.tolist(), self._decoded(rows[left], form), strict=True):
                there[place] = not isinstance(one, str)
                if isinstance(one, str):
                    self.skipped += ((self._called(int(rows[place])), one),)
                elif self._kept is not None:
                    self._kept.keep(int(rows[place]), one.pixels, one.short)
            sound.append(rows[there])
        whole: Rows = np.concatenate(sound)
        gone = len(self._rows) - len(whole)
        if not len(whole):
            raise DataError(f"none of the {gone} pictures in the shards of {self.name} can be read")
        if gone:
            shown = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[-gone:][:3])
            warnings.warn(f"{gone} of {len(self._rows)} pictures in {self.name} cannot be read ({shown})", stacklevel=3)
        return whole

    def _note(self, row: int, told: Told) -> None:
        """Tell what is left out of a picture where it is the first of its kind."""
        said = notes_on([(self._called(row), told)])
        kind = repr((told.notes, bool(said)))
        if said and kind not in self._noted:
            warnings.warn(f"{self.name}: {said}; of others like it nothing more is said", stacklevel=5)
        self._noted.add(kind)

    def _called(self, row: int) -> str:
        return printable(f"{self._index.shards[self._shard[row]].name}/{self._index.keys[row]}")

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self._size, self._size

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"shard": torch.from_numpy(self._shard[self._rows])}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {"shard": tuple(printable(shard.name) for shard in self._index.shards)}

    def fingerprint(self) -> str:
        labels = None if self._labels is None else self._labels.tolist()
        told = repr((self._index.digest(), self.shape, self._classes, labels, len(self._rows)))
        state = blake2b(told.encode(), digest_size=16)
        some = np.linspace(0, len(self._rows) - 1, min(_LOOKED_AT, len(self._rows))).round().astype(np.int64)
        for content in self._bytes(self._rows[some]):
            state.update(content)
        return state.hexdigest()

    def __reduce__(self) -> tuple[Callable[[], "Shards"], tuple[()]]:
        return partial(Shards, **self._init_args), ()


@contextmanager
def _opened(folder: Path, shard: Shard) -> Iterator[int]:
    """Open a shard to read from, unless it is another one than the index knows."""
    path = folder / shard.name
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{printable(str(path))!r} cannot be read any more: {error.strerror}") from None
    try:
        about = os.fstat(file)
        if (about.st_size, about.st_mtime_ns) != (shard.size, shard.mtime_ns):
            raise DataError(f"{printable(str(path))!r} was changed while it was read from: open the shards again")
        yield file
    finally:
        os.close(file)
