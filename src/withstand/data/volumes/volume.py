"""A volume: a scan in three dimensions, brought to the axes that the field reads it by."""

from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int16]
AXES = ("sagittal", "coronal", "axial")
"""What slices across the first, second and third axis are called: the axes run to the right, to the front, and up."""

_TILTED = 0.5
"""Degrees from which on axes are called oblique."""


@dataclass(frozen=True)
class Volume:
    """One scan.

    Attributes:
        name: what it is called.
        x: intensities, float32 `(X, Y, Z)`, finite; the axes run to the right, to the front and up where the file says.
        mask: structures, whole numbers of the same shape; None where it has none.
        spacing: millimetres between voxels along each axis.
        oblique: degrees by which the scan's axes are off the nearest of the body's.
        turned: whether axes were swapped or reversed.
        oriented: whether the file says how the scan lies.
    """

    name: str
    x: Array
    mask: Mask | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    oblique: float = 0.0
    turned: bool = False
    oriented: bool = False

    def with_mask(self, mask: "Volume") -> "Volume":
        """Return the volume with another one's values as its mask.

        Raises:
            DataError: another shape, or values that are no whole numbers from 0 to 32,767.
        """
        return replace(self, mask=as_mask(mask.x, self.x.shape, f"the mask {mask.name!r} of {self.name!r}"))


def as_intensities(x: npt.NDArray[np.generic], name: str) -> Array:
    """Return a scan's values as float32 `(X, Y, Z)`.

    Raises:
        DataError: they are not three-dimensional, no numbers, or not finite.
    """
    while x.ndim > 3 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim != 3 or 0 in x.shape:
        more = ": give each of its volumes as a file of its own" if x.ndim > 3 else ""
        raise DataError(f"{name} has {x.ndim} axes of lengths {x.shape}, and a volume has 3{more}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {x.dtype}, no numbers")
    wide = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(wide).all():
        raise DataError(f"{name} holds values that are NaN or infinite")
    return wide


def as_mask(values: npt.NDArray[np.generic], shape: tuple[int, ...], name: str) -> Mask:
    """Return a mask's values as whole numbers.

    Raises:
        DataError: another shape than the volume's, or values that are no whole numbers from 0 to 32,767.
    """
    if values.shape != shape:
        raise DataError(f"{name} has the shape {values.shape}, and the volume {shape}")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise DataError(f"{name} holds values that are no whole numbers: a mask names structures by 0, 1, 2, ...")
    if values.min() < 0 or values.max() > np.iinfo(np.int16).max:
        raise DataError(f"{name} holds values from {values.min():g} to {values.max():g}: structures are 0, 1, 2, ...")
    return np.ascontiguousarray(values).astype(np.int16)


def oriented(
    x: npt.NDArray[np.generic], affine: npt.NDArray[np.float64], name: str
) -> tuple[npt.NDArray[np.generic], tuple[float, float, float], float, bool]:
    """Return a scan whose axes run to the right, the front and up as nearly as they can, its spacing and its tilt.

    Axes are swapped and reversed; nothing is resampled, so that an oblique scan stays oblique, by the angle that is
    told.

    Args:
        x: the scan, three axes at least; those beyond stay.
        affine: from places to millimetres to the right, to the front and up, `(4, 4)`.
        name: for messages.

    Returns:
        The scan, millimetres along its axes, the tilt in degrees, and whether anything was turned.

    Raises:
        DataError: an affine that says nothing.
    """
    affines, orientations = import_module("nibabel.affines"), import_module("nibabel.orientations")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(f"the affine of {name} says not how its axes lie")
    turns = orientations.io_orientation(affine)
    if not np.isfinite(turns).all():  # an axis that is next to nothing beside another
        raise DataError(f"the affine of {name} says not how its axes lie")
    turned = not np.array_equal(turns, [[0, 1], [1, 1], [2, 1]])
    sizes = affines.voxel_sizes(affine)
    spacing = [0.0, 0.0, 0.0]
    for place, (axis, _) in enumerate(turns):
        spacing[int(axis)] = float(sizes[place])
    tilt = float(np.degrees(affines.obliquity(affine)).max())
    return orientations.apply_orientation(x, turns), (spacing[0], spacing[1], spacing[2]), tilt, turned


def said(volumes: list[Volume]) -> list[str]:
    """Return what is worth telling of how volumes lie, in words."""
    found = []
    if turned := sum(volume.turned for volume in volumes):
        found.append(f"{turned} of {len(volumes)} turned to the nearest axes (right, front, up)")
    if tilted := [volume for volume in volumes if volume.oblique > _TILTED]:
        most = max(volume.oblique for volume in tilted)
        found.append(
            f"{len(tilted)} oblique by up to {most:.1f} degrees, read along the nearest axes and not resampled"
        )
    if unknown := sum(not volume.oriented for volume in volumes):
        found.append(f"{unknown} that do not say how they lie, read as they are")
    return found
