"""A folder of pictures as a source."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.outputs import Seen
from withstand.core.roles import Indices, Source
from withstand.data.pictures.decoding.cache import pictures_of
from withstand.data.pictures.decoding.forms import ForCrops, Square
from withstand.data.pictures.decoding.listing import list_files
from withstand.data.pictures.domains import DOMAIN, domains_of, holds_domains
from withstand.data.pictures.files import middle_of
from withstand.data.pictures.folder_classes import classes_of
from withstand.data.pictures.folder_parts import role_of
from withstand.data.shared.cache_folder import cache_folder
from withstand.data.shared.digest import as_indices
from withstand.views.pictures.photos import Photos


class ImageFolder(Source):
    """The pictures of a folder, decoded once into a cache file that is mapped into memory.

    Folders within the folder are classes, named in sorted order, when there are at least two of them with
    pictures in them (at any depth); otherwise the pictures are unlabelled. A folder that holds nothing but one other
    folder is passed through. Pictures outside the class folders have no label (-1); where these are most of all,
    or most classes would hold one picture, there are no classes. Whatever is not labelled beside
    what is, or for such a reason, is named in a warning.

    JPEG, PNG, WebP, GIF, BMP, TIFF and HEIC (extra `heic`) of any mode become RGB uint8 `(3, size, size)`: EXIF
    orientation respected, shorter side resized to `size` (antialiased) and the center cropped, transparency over white,
    more bits to 8 by what is white, the first of several frames or pages. More than three channels in TIFF files, and
    colors of 16 bits whose white is told, take the extra `deep`. What is left out of a picture is told in a warning.

    The cache is verified by checksum when it is opened, and a damaged one is made again. A file that was changed
    (by size or time of change), added or removed is noticed then, and only such files are decoded.

    Args:
        path: the folder; one with parts, such as `train` and `valid`, is opened by `load` and `splits`.
        size: the side of the pictures, in pixels.
        cache: folder for the cache file; the user's cache folder (`$XDG_CACHE_HOME/withstand`) when None.
        strict: refuse a folder with files that cannot be read, instead of skipping these with one warning.
        classes: the names of labels 0, 1, ... where another folder's numbering is to hold; a folder whose name is
            not among them is refused. `()` leaves the pictures unlabelled.
        domains: the folders are domains, and the folders in them classes, the same in each: attribute "domain".
        cache_size: where views crop parts of photos that are larger than `size`, these are taken from the whole photo,
            kept with a shorter side of at most this in a cache file of its own: see `ForCrops`. None takes them from
            the squares of `size`.
        reading: what the files do not say.

    Attributes:
        skipped: (name, reason) of each file that is no readable picture.
        ignored: how many hidden files, and files that are plainly not pictures by their suffix, were passed over.
        folder: where the pictures lie.
        reading: as given.
        names: each sample's file name, relative to the folder, as the operating system gives it (`os.fsdecode`).

    Raises:
        DataError: no such folder, no pictures in it, parts in it, unreadable ones when `strict`, unknown classes, or a
            cache that cannot be written.
    """

    kind = "picture"

    def __init__(
        self,
        path: str | Path,
        size: int,
        *,
        cache: str | Path | None = None,
        strict: bool = False,
        classes: Sequence[str] | None = None,
        domains: bool = False,
        cache_size: int | None = None,
        reading: Reading = PLAIN,
    ) -> None:
        self.folder = folder = Path(path)
        self.name, self.origin = printable(_whole(folder.resolve()).name), f"pictures below {printable(str(folder))}"
        if size < 1:
            raise DataError(f"size={size} must be at least 1 pixel")
        if cache_size is not None and cache_size < size:
            raise DataError(f"cache_size={cache_size} must be at least size={size}: nothing is enlarged")
        files, self.ignored = list_files(folder)
        self._cache = cache_folder() / "pictures" if cache is None else Path(cache)
        found = pictures_of(folder, files, Square(size), self._cache, reading=reading)
        self.names = tuple(file.name for file, _ in found.kept)
        self.skipped = tuple((printable(name), reason) for name, reason in found.skipped)
        self._complain(folder, strict)
        self._x = found.pixels.view(-1, 3, size, size)
        self._larger = tuple(file if cache_size is not None and one.short > size else None for file, one in found.kept)
        self._cache_size, self.reading = cache_size, reading
        if found.notes:
            warnings.warn(f"{str(folder)!r}: {found.notes}", stacklevel=3)
        self._digest = found.digest
        self._domains = domains_of(self.names, folder) if domains else None
        below = self.names if self._domains is None else self._domains.below
        sorted_out = classes_of(below, None if classes is None else tuple(classes), folder)
        self._classes, self._labels = sorted_out.classes, sorted_out.labels
        if sorted_out.note:
            warnings.warn(f"{str(folder)!r}: {sorted_out.note}", stacklevel=3)

    def _complain(self, folder: Path, strict: bool) -> None:
        """Refuse what cannot be used, and warn of what is skipped."""
        shown = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:3])
        more = f" and {len(self.skipped) - 3} more" if len(self.skipped) > 3 else ""
        if not self.names:
            unreadable = f", {len(self.skipped)} unreadable ({shown}{more})" if self.skipped else ""
            raise DataError(f"there are no pictures in {str(folder)!r}: {self.ignored} other files{unreadable}")
        if not self.skipped:
            return
        total = len(self.names) + len(self.skipped)
        said = f"{len(self.skipped)} of {total} files in {str(folder)!r} are not readable pictures ({shown}{more})"
        if strict:
            raise DataError(f"{said}: repair or remove them, or leave strict off to skip them")
        warnings.warn(f"{said}: skipped", stacklevel=4)

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._x.index_select(0, chosen), chosen, None if self._labels is None else self._labels[chosen])

    def for_views(self, indices: Indices) -> Batch:
        batch = self[indices]
        if not any(self._larger):
            return batch
        larger = torch.tensor([self._larger[row] is not None for row in batch.index.tolist()], dtype=torch.bool)
        return replace(batch, whole=Photos(larger, partial(self._photos, batch.index[larger].tolist())))

    def _photos(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return photos `(H, W, 3)` for crops, as they lie in the mapped file."""
        held = self._for_crops
        return [held[row] for row in rows]

    @cached_property
    def _for_crops(self) -> dict[int, NDArray[np.uint8]]:
        """The photos that are larger than `size`, by their places; decoded when they are first asked for."""
        rows = {row: file for row, file in enumerate(self._larger) if file is not None}
        assert self._cache_size is not None
        form = ForCrops(self._cache_size, self.shape[-1])
        found = pictures_of(self.folder, list(rows.values()), form, self._cache, reading=self.reading)
        for name, reason in found.skipped:
            raise DataError(f"{printable(name)} in {str(self.folder)!r} was read before and is not now: {reason}")
        pixels, starts = found.pixels.numpy(), found.starts().tolist()
        return {
            row: pixels[first:last].reshape(one.shape)
            for row, (_, one), first, last in zip(rows, found.kept, starts[:-1], starts[1:], strict=True)
        }

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape[1:])

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen]:
        return [middle_of(self.folder / self.names[row], self.reading) for row in rows]

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {} if self._domains is None else {DOMAIN: self._domains.codes}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {} if self._domains is None else {DOMAIN: self._domains.names}

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other domains, with their own classes, where these are of domains too; None of plain folders."""
        if self._domains is None or split == "test" or not holds_domains(data):
            return None
        return ImageFolder(Path(data).expanduser(), self.shape[-1], domains=True, reading=self.reading)

    def fingerprint(self) -> str:
        labels = None if self._labels is None else self._labels.tolist()
        known = () if self._domains is None else (self._domains.names, self._domains.codes.tolist())
        content = repr((self._digest, self.shape, self._classes, labels, *known))
        return blake2b(content.encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[[], "ImageFolder"], tuple[()]]:
        # From the arguments: the pixels stay where they are.
        return partial(ImageFolder, **self._init_args), ()


def _whole(folder: Path) -> Path:
    """Return the folder that a part belongs to; itself where its name is no part's."""
    while folder.parent != folder and role_of(folder.name)[0] is not None and not role_of(folder.name)[1]:
        folder = folder.parent
    return folder
