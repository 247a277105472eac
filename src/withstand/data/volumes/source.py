"""Volumes as a source: their slices are the samples, with what is known of each."""

import warnings
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import MASK, Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import printable
from withstand.core.outputs import Seen
from withstand.core.roles import Indices, Source
from withstand.data.shared.digest import as_indices, digest
from withstand.data.volumes.files import Found, from_arrays, read_path
from withstand.data.volumes.slices import as_bytes, empty, fitted, partitions_of, placed, stacked, usual_axis
from withstand.data.volumes.volume import AXES, said

Axis = Literal["auto", "sagittal", "coronal", "axial"]
_TILE = 32
"""Sides are brought to a multiple of this, which five halvings leave whole."""


class VolumeSource(Source):
    """Slices of volumes, grey pictures of bytes `(1, S, S)`, volume by volume from one end to the other.

    A volume's 1st percentile is black, its 99th white. Slices of one value all over, on which no mask names a
    structure, are left out. `extras["mask"]` holds the structures of each pixel, int64 `(S, S)`, -1 where a volume has
    no mask; it is there where any has one. `attributes` say the volume, the place in it and the partition; slices of a
    volume are `together`.

    Args:
        data: a folder of NIfTI files (masks beside them, called `NAME_seg`, `NAME_mask`, `NAME_label` or `NAME_gt`, or
            in a folder `labels` or `masks` of their own), a folder of DICOM series, one such file, an `.npz` file with
            `x` `(N, X, Y, Z)` and perhaps masks `y`; or arrays `(X, Y, Z)`.
        masks: of arrays, one each or None.
        size: S; None for the least multiple of 32 that holds every slice.
        axis: across which slices lie: "sagittal", "coronal", "axial"; "auto" for the axis along which voxels lie
            clearly farthest apart, or else the longest.
        partitions: into how many equal parts the depth is cut.
        values: the mask values that are structures 0, 1, ...; None for those that occur, and 0.

    Raises:
        DataError: no volume that can be read, a mask of another shape, or a value that `values` lacks.
        MissingExtra: there is no nibabel or pydicom.
    """

    kind = "slice"

    def __init__(
        self,
        data: str | Path | Sequence[np.ndarray[Any, Any]],
        masks: Sequence[np.ndarray[Any, Any] | None] | None = None,
        *,
        size: int | None = None,
        axis: Axis = "auto",
        partitions: int = 4,
        values: Sequence[int] | None = None,
    ) -> None:
        if axis not in get_args(Axis):
            raise ConfigError(f"axis {axis!r} is unknown: {nearest(str(axis), get_args(Axis))}")
        if size is not None and size < 8:
            raise ConfigError(f"size must be at least 8 pixels, not {size!r}")
        if partitions < 1:
            raise ConfigError(f"partitions must be at least 1, not {partitions!r}")
        named = isinstance(data, str | Path)
        if named and masks is not None:
            raise ConfigError("masks are given with arrays; those of files lie beside them")
        found = read_path(Path(data).expanduser()) if isinstance(data, str | Path) else from_arrays(data, masks)
        self.name = printable(Path(data).expanduser().resolve().name) if isinstance(data, str | Path) else "volumes"
        self.partitions, self.skipped = partitions, tuple(found.skipped)
        self._cut(found, axis, size)
        self._read_masks(found, values)
        self.origin = f"{self.name if named else 'given in memory'}; " + "; ".join(self._said)

    @classmethod
    def example(cls) -> Self:
        draws = np.random.default_rng(0)
        volumes = [draws.random((7 + place, 9, 8)).astype(np.float32) for place in range(3)]
        masks = [(volume > 0.6).astype(np.int16) for volume in volumes[:2]]
        return cls(volumes, [*masks, None], size=16, axis="sagittal", partitions=2)

    def _cut(self, found: Found, axis: str, size: int | None) -> None:
        volumes = found.volumes
        place, why = usual_axis(volumes) if axis == "auto" else (AXES.index(axis), "as asked for")
        self.axis = AXES[place]
        sides = [side for volume in volumes for side in np.delete(volume.x.shape, place)]
        self.size = int(-(-max(sides) // _TILE) * _TILE) if size is None else size
        pictures: list[Any] = []
        masks: list[Any] = []
        kept: list[tuple[str, int, str]] = []
        self._lost, dropped, counts = 0, 0, []
        sides_of: list[tuple[int, int]] = []
        for volume, whole in zip(volumes, found.wholes, strict=True):
            planes = stacked(as_bytes(volume.x), place)
            mask = None if volume.mask is None else stacked(volume.mask, place)
            drop = empty(planes)
            if mask is not None:
                drop &= ~(mask != 0).any((1, 2))
            rows = np.flatnonzero(~drop)
            dropped += int(drop.sum())
            if not len(rows):
                self.skipped += ((volume.name, "one value all over"),)
                continue
            counts.append(len(rows))
            sides_of += [(planes.shape[1], planes.shape[2])] * len(rows)
            pictures.append(fitted(planes[rows], self.size))
            cut = None if mask is None else fitted(mask[rows], self.size)
            if mask is not None and cut is not None:
                self._lost += int((mask != 0).sum() - (cut != 0).sum())
            masks.append(np.full(pictures[-1].shape, -1, np.int16) if cut is None else cut)
            kept += [(volume.name, int(row), whole) for row in rows]
        if not kept:
            raise DataError(f"every slice of {self.name} has one value all over: there is nothing to learn from")
        if dropped:
            self.skipped += ((f"{dropped} slice(s)", "one value all over, and no mask on it"),)
        if self._lost:
            warnings.warn(
                f"size={self.size} cuts {self._lost:,} voxels of the masks off: take a larger one", stacklevel=4
            )
        self._x = torch.from_numpy(np.concatenate(pictures)[:, None].copy())
        self._raw = np.concatenate(masks)
        self.counts, self._sides = tuple(counts), tuple(sides_of)
        self.volumes = tuple(dict.fromkeys(name for name, _, _ in kept))
        self.names = tuple(f"{name} slice {row}" for name, row, _ in kept)
        codes = {whole: code for code, whole in enumerate(dict.fromkeys(whole for _, _, whole in kept))}
        self._together = torch.tensor([codes[whole] for _, _, whole in kept])
        self._places = torch.tensor([row for _, row, _ in kept])
        cropped = f", cropped from up to {max(sides)}" if max(sides) > self.size else ""
        self._said = [
            f"{len(counts)} volumes, {self.axis} slices ({why}), "
            f"{self.size} x {self.size} pixels{cropped}, as bytes between each volume's 1st and 99th percentile",
            *said(volumes),
        ]

    def _read_masks(self, found: Found, values: Sequence[int] | None) -> None:
        raw = self._raw
        del self._raw
        known = raw >= 0
        self._masked = torch.from_numpy(known.reshape(len(raw), -1).all(1))
        here = sorted({0, *np.unique(raw[known]).tolist()})
        self.values = tuple(here) if values is None else tuple(values)
        self._masks: Tensor | None = None
        self._names: tuple[str, ...] = ()
        if not known.any():
            return
        if other := [value for value in here if value not in self.values]:
            raise DataError(f"masks of {self.name} hold the value {other[0]}, and structures are {list(self.values)}")
        lookup = np.full(int(max(*here, *self.values)) + 1, -1, np.int16)
        lookup[list(self.values)] = np.arange(len(self.values))
        self._masks = torch.from_numpy(np.where(known, lookup[raw], -1).astype(np.int16))
        called = {0: "background", **found.structures}
        self._names = tuple(called.get(value, f"structure {value}") for value in self.values)
        mine = len(set(self.attributes["volume"][self._masked].tolist()))
        self._said.append(f"masks of {mine} volumes ({', '.join(self._names[1:]) or 'nothing but background'})")

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        extras = {} if self._masks is None else {MASK: self._masks[chosen].long()}
        return Batch(self._x[chosen], chosen, extras=extras)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size, self.size)

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        volumes, partitions = partitions_of(self.counts, self.partitions)
        known = {"volume": volumes, "slice": self._places, "partition": partitions}
        return known if self._masks is None else known | {"masked": self._masked}

    @property
    def together(self) -> Tensor:
        return self._together

    @property
    def structures(self) -> tuple[str, ...]:
        return self._names

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen]:
        sides = [self._sides[row] for row in rows]
        return [placed(height, width, self.size) for height, width in sides]

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other volumes, cut across the same axis to the same size, with the same structures."""
        if split == "test":
            return None
        if isinstance(data, Source):
            return data
        values = self.values if self._masks is not None else None
        axis: Any = self.axis
        from withstand.data.volumes.load import open_volumes

        return open_volumes(data, size=self.size, axis=axis, partitions=self.partitions, values=values)

    def fingerprint(self) -> str:
        state = blake2b(digest(self, self.axis, str(self.partitions), *self.names).encode(), digest_size=16)
        if self._masks is not None:
            state.update(self._masks.numpy().data.cast("B"))
        return state.hexdigest()
