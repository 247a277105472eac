"""Pictures at their own resolution, whole: of a folder or of a named set, decoded once into a file that is mapped."""

import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError, nearest
from withstand.core.files import printable, replacing
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import read_only
from withstand.data.pictures.cache import File
from withstand.data.pictures.decode import decode_or_reason
from withstand.data.pictures.folder import list_files, open_parts
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.cache_folder import cache_folder
from withstand.data.shared.digest import as_indices

WHOLE_SETS = ("yang91", "set5", "set14", "bsd100", "bsd100_first20")
"""Sets of super-resolution by name: `$WITHSTAND_DATA/sr/NAME.zip`."""

_VERSION = 1
_BLOCK = 64


class _Kept(NamedTuple):
    """What a cache file says of its pictures, in the order of their files."""

    names: tuple[str, ...]
    sides: tuple[tuple[int, int], ...]
    skipped: tuple[tuple[str, str], ...]
    digest: str


class WholePictures(Source):
    """Pictures as they are, uint8 `(3, H, W)` each of its own size: neither shrunk nor cropped.

    As sizes differ they are read one at a time; a batch of several must be of one size. Orientation, modes and
    animations are taken as by `ImageFolder`. The cache file holds the decoded pixels, and is made again when a file
    of the folder was changed, added or removed.

    Args:
        data: a folder of pictures (folders within it are no classes), or the name of a set: yang91, set5, set14,
            bsd100.
        cache: folder for the cache file; the user's cache folder when None.

    Attributes:
        sides: height and width of each picture, int64 `(N, 2)`.

    Raises:
        DataError: no such folder or set, or no pictures in it.
    """

    kind = "picture"
    at_once = 1

    def __init__(self, data: str | Path, *, cache: str | Path | None = None) -> None:
        place, self.name, self.origin = _place(data)
        base = cache_folder() / "pictures" if cache is None else Path(cache)
        with _files(place) as (folder, files):
            self._path, kept = _decoded(place, folder, files, base)
        self.names, self.skipped, self._digest = kept.names, kept.skipped, kept.digest
        shown = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:3])
        if not self.names:
            unreadable = f" that can be read ({shown})" if shown else ""
            raise DataError(f"there are no pictures in {str(data)!r}{unreadable}")
        if self.skipped:
            warnings.warn(
                f"{len(self.skipped)} files in {str(data)!r} are not readable pictures ({shown}): skipped", stacklevel=3
            )
        self.sides = torch.tensor(kept.sides, dtype=torch.int64)
        self._starts = torch.cat([torch.zeros(1, dtype=torch.int64), (3 * self.sides.prod(1)).cumsum(0)])
        self._pixels = read_only(np.memmap(self._path, np.uint8, "r", shape=(int(self._starts[-1]),)))

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, row: int) -> Tensor:
        """Return one picture `(3, H, W)`, a view of the mapped file that must not be written to."""
        first, last = self._starts[row : row + 2].tolist()
        return self._pixels[first:last].view(3, *self.sides[row].tolist())

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        if len(chosen) and bool((self.sides[chosen] != self.sides[chosen[0]]).any()):
            raise DataError(f"the pictures of {self.name} differ in size: read them one at a time")
        pictures = [self.picture(row) for row in chosen.tolist()]
        x = torch.stack(pictures) if pictures else torch.zeros(0, *self.shape, dtype=torch.uint8)
        return Batch(x, chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first picture; others may have another height and width."""
        return 3, *self.sides[0].tolist()

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"height": self.sides[:, 0], "width": self.sides[:, 1]}

    def like(self, data: Any, split: str = "all") -> Source | None:
        return whole_like(data, split)

    def fingerprint(self) -> str:
        return blake2b(repr((self._digest, self.sides.tolist())).encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[[], "WholePictures"], tuple[()]]:
        return partial(WholePictures, **self._init_args), ()


def is_whole(data: object) -> bool:
    """Return whether data are a folder, or the name of a set, whose pictures can be read whole."""
    named = isinstance(data, str) and data in WHOLE_SETS
    return named or (isinstance(data, str | Path) and Path(data).expanduser().is_dir())


def whole_like(data: Any, split: str = "all") -> Source | None:
    """Return what `Source.like` does for pictures that are read whole: all of a folder or set, or one of its parts."""
    if not is_whole(data):
        return None
    return WholePictures(data) if split == "all" else whole_parts(data).get(split)


def whole_parts(data: str | Path) -> dict[str, WholePictures]:
    """Return the parts of a folder or set: "train", all there is where it has none, and "test" or "validation"."""
    if isinstance(data, str) and data in WHOLE_SETS:
        return {"train": WholePictures(data)}
    parts, aside = open_parts(Path(data).expanduser())
    if aside:
        warnings.warn(f"{str(data)!r} has parts ({', '.join(parts)}); left aside: {aside}", stacklevel=2)
    return {part: WholePictures(folder) for part, folder in parts.items()} or {"train": WholePictures(data)}


def _place(data: str | Path) -> tuple[Path, str, str]:
    """Return the folder or zip archive that holds pictures, what people call them, and where they are from."""
    if isinstance(data, str) and data in WHOLE_SETS:
        base = os.environ.get(VARIABLE)
        archive = Path(base or ".") / "sr" / f"{data}.zip"
        if not base or not archive.is_file():
            raise DataError(
                f"{data} is not on this machine: set {VARIABLE} to a folder with sr/{data}.zip, or name a folder of "
                "pictures"
            )
        return archive, data, f"{VARIABLE}: sr/{archive.name}"
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise DataError(f"{str(data)!r} is neither a folder nor the name of a set: {nearest(str(data), WHOLE_SETS)}")
    return folder, printable(folder.resolve().name), f"pictures below {printable(str(folder))}"


@contextmanager
def _files(place: Path) -> Iterator[tuple[Path, list[File]]]:
    """Give a folder with the pictures, and its files; an archive is unpacked when it is read first."""
    if place.is_dir():
        yield place, list_files(place)[0]
        return
    about = place.stat()
    with TemporaryDirectory(prefix="withstand-") as folder:
        yield Path(folder), [File(place.name, about.st_size, about.st_mtime_ns)]


def _decoded(place: Path, folder: Path, files: Sequence[File], base: Path) -> tuple[Path, _Kept]:
    """Return the cache file of a place, and what it holds; it is made where there is none that fits."""
    key = blake2b(repr((os.fsencode(place.resolve()), files)).encode(), digest_size=12).hexdigest()
    path = base / f"{key}-whole.pictures"
    known = _read(path)
    if known is not None:
        return path, known
    try:
        base.mkdir(parents=True, exist_ok=True)
        if not place.is_dir():
            with zipfile.ZipFile(place) as archive:
                archive.extractall(folder)
            files = list_files(folder)[0]
        _write(path, folder, files)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"the pictures of {str(place)!r} cannot be decoded into {str(base)!r}: {error}") from error
    known = _read(path)
    if known is None:
        raise DataError(f"what was written to {str(path)!r} reads back otherwise: the disk is failing")
    return path, known


def _read(path: Path) -> _Kept | None:
    """Return what a cache file says; None where there is none, or one that is damaged or of another version."""
    try:
        with path.open("rb") as file:
            end = file.seek(-8, 2)
            length = int.from_bytes(file.read(8), "little")
            file.seek(end - length)
            index = json.loads(file.read(length))
            if index["version"] != _VERSION:
                return None
            file.seek(0)
            state, left = blake2b(digest_size=16), end - length
            while left and (block := file.read(min(left, 1 << 24))):
                state.update(block)
                left -= len(block)
        if state.hexdigest() != index["digest"] or sum(3 * h * w for h, w in index["sides"]) != end - length:
            return None
        sides = tuple((int(height), int(width)) for height, width in index["sides"])
        skipped = tuple((str(name), str(reason)) for name, reason in index["skipped"])
        return _Kept(tuple(index["names"]), sides, skipped, index["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, folder: Path, files: Sequence[File]) -> None:
    """Decode the files, in threads, and write them one after the other."""
    names, sides, skipped, state = [], [], [], blake2b(digest_size=16)
    with replacing(path) as aside, aside.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), _BLOCK):
            some = files[start : start + _BLOCK]
            found = pool.map(partial(decode_or_reason, size=None), (folder / one.name for one in some))
            for one, pixels in zip(some, found, strict=True):
                if isinstance(pixels, str):
                    skipped.append((printable(one.name), pixels))
                    continue
                names.append(one.name)
                sides.append(pixels.shape[1:])
                out.write(pixels.data)
                state.update(pixels.data)
        index = {
            "version": _VERSION,
            "names": names,
            "sides": sides,
            "skipped": skipped,
            "digest": state.hexdigest(),
        }
        encoded = json.dumps(index).encode()
        out.write(encoded + len(encoded).to_bytes(8, "little"))
