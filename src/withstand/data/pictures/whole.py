"""Pictures at their own resolution, whole: of a folder or of a named set, decoded once into a file that is mapped."""

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError, nearest
from withstand.core.files import printable
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.roles import Indices, Source
from withstand.data.pictures.decoding.cache import File, Pictures, pictures_of
from withstand.data.pictures.decoding.forms import Whole
from withstand.data.pictures.decoding.listing import NOT_PICTURES, list_files, open_parts
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.cache_folder import cache_folder
from withstand.data.shared.digest import as_indices

WHOLE_SETS = ("yang91", "set5", "set14", "bsd100", "bsd100_first20")
"""Sets of super-resolution by name: `$WITHSTAND_DATA/sr/NAME.zip`."""


class WholePictures(Source):
    """Pictures as they are, uint8 `(3, H, W)` each of its own size: neither shrunk nor cropped.

    As sizes differ they are read one at a time; a batch of several must be of one size. Orientation, modes and
    animations are taken as by `ImageFolder`. The cache file holds the decoded pixels, and is made again when a file
    of the folder was changed, added or removed.

    Args:
        data: a folder of pictures (folders within it are no classes), or the name of a set: yang91, set5, set14,
            bsd100.
        cache: folder for the cache file; the user's cache folder when None.
        reading: what the files do not say.

    Attributes:
        sides: height and width of each picture, int64 `(N, 2)`.
        reading: as given.

    Raises:
        DataError: no such folder or set, or no pictures in it.
    """

    kind = "picture"
    at_once = 1

    def __init__(self, data: str | Path, *, cache: str | Path | None = None, reading: Reading = PLAIN) -> None:
        place, self.name, self.origin = _place(data)
        self.reading = reading
        kept = _kept(place, cache_folder() / "pictures" if cache is None else Path(cache), reading)
        self.names, self._digest = tuple(file.name for file, _ in kept.kept), kept.digest
        self.skipped = tuple((printable(name), reason) for name, reason in kept.skipped)
        shown = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:3])
        if not self.names:
            unreadable = f" that can be read ({shown})" if shown else ""
            raise DataError(f"there are no pictures in {str(data)!r}{unreadable}")
        if self.skipped:
            warnings.warn(
                f"{len(self.skipped)} files in {str(data)!r} are not readable pictures ({shown}): skipped", stacklevel=3
            )
        if kept.notes:
            warnings.warn(f"{str(data)!r}: {kept.notes}", stacklevel=3)
        self.sides = torch.tensor([one.shape[1:] for _, one in kept.kept], dtype=torch.int64)
        self._starts, self._pixels = kept.starts(), kept.pixels

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
        return whole_like(data, split, self.reading)

    def fingerprint(self) -> str:
        return blake2b(repr((self._digest, self.sides.tolist())).encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[[], "WholePictures"], tuple[()]]:
        return partial(WholePictures, **self._init_args), ()


def is_whole(data: object) -> bool:
    """Return whether data are a folder, or the name of a set, whose pictures can be read whole."""
    named = isinstance(data, str) and data in WHOLE_SETS
    return named or (isinstance(data, str | Path) and Path(data).expanduser().is_dir())


def whole_like(data: Any, split: str = "all", reading: Reading = PLAIN) -> Source | None:
    """Return what `Source.like` does for pictures that are read whole: all of a folder or set, or one of its parts.

    What is said of how files are read is of folders alone.
    """
    if not is_whole(data):
        return None
    if isinstance(data, str) and data in WHOLE_SETS:
        reading = PLAIN
    return WholePictures(data, reading=reading) if split == "all" else whole_parts(data, reading).get(split)


def whole_parts(data: str | Path, reading: Reading = PLAIN) -> dict[str, WholePictures]:
    """Return the parts of a folder or set: "train", all there is where it has none, and "test" or "validation".

    Raises:
        ConfigError: something is said of how the files of a set are read.
    """
    if isinstance(data, str) and data in WHOLE_SETS:
        reading.refuse(f"{data} says itself how it is read")
        return {"train": WholePictures(data)}
    parts, aside = open_parts(Path(data).expanduser())
    if aside:
        warnings.warn(f"{str(data)!r} has parts ({', '.join(parts)}); left aside: {aside}", stacklevel=2)
    opened = {part: WholePictures(folder, reading=reading) for part, folder in parts.items()}
    return opened or {"train": WholePictures(data, reading=reading)}


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


def _kept(place: Path, cache: Path, reading: Reading) -> Pictures:
    """Return the pictures of a folder or archive, decoded now or before.

    Raises:
        DataError: an archive that cannot be read.
    """
    if place.is_dir():
        return pictures_of(place, list_files(place)[0], Whole(), cache, reading=reading)
    try:
        with zipfile.ZipFile(place) as archive:
            # A member's checksum stands where a file has its time of change.
            files = [File(one.filename, one.file_size, one.CRC) for one in archive.infolist() if _may_be_picture(one)]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"the pictures of {str(place)!r} cannot be read: {error}") from error
    return pictures_of(place, sorted(files), Whole(), cache, reading=reading, opened=unpacked)


def _may_be_picture(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    hidden = any(name.startswith(".") for name in path.parts)
    return not (member.is_dir() or hidden or path.suffix.lower() in NOT_PICTURES)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Give a folder with what an archive holds, for a while."""
    with TemporaryDirectory(prefix="withstand-") as folder, zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
        yield Path(folder)
