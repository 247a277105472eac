"""Where volumes lie: folders of NIfTI files with masks beside them, folders of DICOM series, `.npz` files, arrays."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.data.arrays.npz import npz_names, read_member
from withstand.data.pictures.folder_parts import find_parts
from withstand.data.volumes.dicom import is_dicom, read_series
from withstand.data.volumes.nifti import is_nifti, read_nifti, stem_of
from withstand.data.volumes.volume import Volume, as_intensities, as_mask

_LOOKED_AT = 2000
"""Files of a folder that are looked at to tell whether it holds volumes."""
_MASK = r"(segmentations?|segs?|masks?|labels?|labelmaps?|gt|groundtruth)"
_MASK_FOLDER = re.compile(rf"{_MASK}[ _-]?(tr|ts|val|train|test)?", re.IGNORECASE)
_MASK_FILE = re.compile(rf"(?P<key>.*?)[ ._-]*(?<![a-z]){_MASK}", re.IGNORECASE)
_CHANNEL = re.compile(r"(?P<key>.+)_\d{4}")


class _MaskKey(NamedTuple):
    """Where the volumes of a mask lie, and what they are called: "" for all that lie there."""

    places: frozenset[Path]
    stem: str


@dataclass
class Found:
    """Volumes that were read.

    Attributes:
        volumes: in the order of their names.
        wholes: of which thing each is a scan: channels of one case are of one.
        skipped: (what, reason) of each file that was left out.
        structures: names of mask values, where a file says them.
    """

    volumes: list[Volume] = field(default_factory=list)
    wholes: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    structures: dict[int, str] = field(default_factory=dict)

    def add(self, volume: Volume, whole: str | None = None) -> None:
        """Add a volume."""
        self.volumes.append(volume)
        self.wholes.append(volume.name if whole is None else whole)


def holds_volumes(path: Path) -> bool:
    """Return whether a path is a volume's file, or a folder with some."""
    if path.is_dir():
        return any(is_nifti(file) or is_dicom(file) for file in islice(_files(path), _LOOKED_AT))
    return is_nifti(path) or path.suffix.lower() in (".dcm", ".ima")


def volume_parts(folder: Path) -> dict[str, Path]:
    """Return the folders of a folder's parts (train, test, validation) by name; nothing where it has none.

    Raises:
        DataError: as for pictures' parts.
    """
    inner = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    parts = find_parts([name for name in inner if holds_volumes(folder / name)])
    return {} if parts is None else {part: folder / name for part, name in parts.items().items()}


def read_path(path: Path) -> Found:
    """Return the volumes in a NIfTI or `.npz` file, or in a folder.

    Raises:
        DataError: no volume can be read, or a mask does not fit its volume.
    """
    found = Found()
    if path.suffix.lower() == ".npz":
        _from_npz(path, found)
    elif path.is_dir():
        files = list(_files(path))
        niftis = [file for file in files if is_nifti(file)]
        if niftis:
            _from_niftis(path, niftis, found)
        else:
            volumes, found.skipped = read_series([file for file in files if is_dicom(file)])
            for volume in volumes:
                found.add(volume)
    elif is_nifti(path):
        found.add(read_nifti(path))
    else:
        volumes, found.skipped = read_series([path])
        for volume in volumes:
            found.add(volume)
    if not found.volumes:
        why = f": {found.skipped[0][0]}: {found.skipped[0][1]}" if found.skipped else ""
        raise DataError(f"{printable(str(path))!r} holds no volume that can be read{why}")
    return found


def from_arrays(volumes: Sequence[object], masks: Sequence[object] | None) -> Found:
    """Return arrays as volumes.

    Raises:
        DataError: one that is no volume, or masks that do not fit.
    """
    found = Found()
    if masks is not None and len(masks) != len(volumes):
        raise DataError(f"there are {len(masks)} masks for {len(volumes)} volumes: give None for one without")
    for place, given in enumerate(volumes):
        name = f"volume {place}"
        x = as_intensities(np.asarray(given), name)
        mask = None if masks is None or masks[place] is None else np.asarray(masks[place])
        found.add(Volume(name, x, None if mask is None else as_mask(mask, x.shape, f"the mask of {name}")))
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Give a folder's files in order, hidden ones left out."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(base) / name for name in sorted(names) if not name.startswith("."))


def _from_niftis(root: Path, files: list[Path], found: Found) -> None:
    masks = {file: key for file in files if (key := _mask_key(file)) is not None}
    used: set[Path] = set()
    for scan in (file for file in files if file not in masks):
        try:
            volume = replace(read_nifti(scan), name=_shown(scan.with_name(stem_of(scan)), root))
        except DataError as error:
            found.skipped.append((_shown(scan, root), str(error)))
            continue
        mine, whole = _masks_of(scan, masks)
        if len(mine) > 1:
            shown = " and ".join(repr(_shown(mask, root)) for mask in mine)
            raise DataError(f"{shown} are both called as masks of {_shown(scan, root)!r}: leave one there")
        if mine:
            used.update(mine)
            volume = volume.with_mask(read_nifti(mine[0]))
        found.add(volume, whole)
    for mask in masks.keys() - used:
        found.skipped.append((_shown(mask, root), "a mask without a volume of its name that can be read"))
    found.structures = _structures(root)


def _masks_of(scan: Path, masks: Mapping[Path, _MaskKey]) -> tuple[list[Path], str | None]:
    """Return the masks that are called as a scan is, and the case that it is a channel of, where it is one."""
    stem = stem_of(scan)
    near = {mask: key.stem for mask, key in masks.items() if scan.parent in key.places}
    if exact := sorted(mask for mask, key in near.items() if key in ("", stem)):
        return exact, None
    channel = _CHANNEL.fullmatch(stem)
    mine = [] if channel is None else sorted(mask for mask, key in near.items() if key == channel["key"])
    return mine, channel["key"] if channel is not None and mine else None


def _mask_key(file: Path) -> _MaskKey | None:
    """Return which volumes a file is a mask of; None where it is none."""
    stem, parent = stem_of(file), file.parent
    named = _MASK_FILE.fullmatch(stem)
    if _MASK_FOLDER.fullmatch(parent.name):
        beside = frozenset(one for one in parent.parent.iterdir() if one.is_dir() and one != parent)
        return _MaskKey(beside, named["key"] if named and named["key"] else stem)
    return _MaskKey(frozenset({parent}), named["key"]) if named else None


def _structures(root: Path) -> dict[int, str]:
    """Return the names of mask values that a `dataset.json` of the Medical Segmentation Decathlon gives."""
    try:
        labels = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"]
        pairs = {int(key): str(value) for key, value in labels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # another tool's file, or none
    return {key: printable(value) for key, value in pairs.items()}


def _from_npz(path: Path, found: Found) -> None:
    """Read `x` `(N, X, Y, Z)`, perhaps masks `y`, names `id`, and the extents `shape` of volumes padded evenly."""
    names = npz_names(path)
    if "x" not in names:
        raise DataError(f"{printable(str(path))!r} holds {', '.join(names)}: volumes are called x, (N, X, Y, Z)")
    x = read_member(path, "x")
    if x.ndim != 4:
        raise DataError(f"x of {printable(str(path))!r} has the shape {x.shape}: volumes are (N, X, Y, Z)")
    y, shapes, called = (read_member(path, name) if name in names else None for name in ("y", "shape", "id"))
    if y is not None and y.shape != x.shape:
        raise DataError(f"masks y of {printable(str(path))!r} have the shape {y.shape}, and volumes x {x.shape}")
    if shapes is not None and (shapes.shape != (len(x), 3) or (shapes < 1).any() or (shapes > x.shape[1:]).any()):
        raise DataError(f"shape of {printable(str(path))!r} must hold three lengths a volume, at most {x.shape[1:]}")
    if called is not None and called.shape != (len(x),):
        raise DataError(f"id of {printable(str(path))!r} holds {called.shape} names for {len(x)} volumes")
    for place in range(len(x)):
        name = f"volume {place}" if called is None else printable(str(called[place]))
        box: tuple[slice, ...] = (slice(None),) * 3
        if shapes is not None:
            starts = [(whole - int(own)) // 2 for whole, own in zip(x.shape[1:], shapes[place], strict=True)]
            box = tuple(slice(a, a + int(own)) for a, own in zip(starts, shapes[place], strict=True))
        try:
            scan = as_intensities(np.asarray(x[place][box]), name)
        except DataError as error:
            found.skipped.append((name, str(error)))
            continue
        mask = None if y is None else as_mask(np.asarray(y[place][box]), scan.shape, f"the mask of {name}")
        found.add(Volume(name, scan, mask))


def _shown(file: Path, root: Path) -> str:
    return printable(file.relative_to(root).as_posix())
