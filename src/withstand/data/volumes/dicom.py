"""DICOM series, read by pydicom (extra `medical`): the files of one scan, slice by slice, as a volume."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, MissingExtra
from withstand.core.files import printable
from withstand.data.volumes.volume import Volume, as_intensities, oriented

_EVEN = 0.05
"""Share by which gaps between slices may differ before some are taken to be missing."""


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its name or, without an ending, by its preamble."""
    if path.suffix:
        return path.suffix.lower() in (".dcm", ".ima")
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_series(paths: Sequence[Path]) -> tuple[list[Volume], list[tuple[str, str]]]:
    """Return the volumes of the series that files belong to, and what was left out with the reason.

    Slices are sorted by where they lie, values rescaled as their headers say, axes turned to the nearest.

    Raises:
        MissingExtra: there is no pydicom.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingExtra("reading DICOM series", "pydicom", "medical") from None
    series: dict[str, list[Any]] = defaultdict(list)
    skipped: list[tuple[str, str]] = []
    for path in paths:
        try:
            found = pydicom.dcmread(path)
            series[str(found.SeriesInstanceUID)].append(found)
        except Exception as error:  # pydicom fails in as many ways as files do
            reason = " ".join(str(error).split()) or type(error).__name__
            skipped.append((printable(path.name), f"cannot be read as DICOM: {reason[:200]}"))
    volumes = []
    for number, (identifier, files) in enumerate(sorted(series.items()), start=1):
        name = _name(files[0], number)
        try:
            volumes.append(_stacked(files, name))
        except DataError as error:
            skipped.append((name, str(error)))
        except Exception as error:  # a header without what a scan needs
            reason = " ".join(str(error).split()) or type(error).__name__
            skipped.append((name, f"series {identifier} cannot be stacked: {reason[:200]}"))
    return volumes, skipped


def _name(file: Any, number: int) -> str:
    """Return a series' number and its own word for itself: patients' names and identifiers stay in the file."""
    return " ".join(filter(None, (f"series {number}", printable(str(file.get("SeriesDescription", ""))).strip())))


def _stacked(files: list[Any], name: str) -> Volume:
    if any(int(file.get("NumberOfFrames", 1)) > 1 for file in files):
        raise DataError("has several frames in one file: save it as NIfTI")
    if any(int(file.get("SamplesPerPixel", 1)) > 1 for file in files):
        raise DataError("is in color, and a volume has one intensity a voxel")
    rows, columns = np.array(files[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(rows, columns)
    for file in files:
        if not np.allclose(np.array(file.ImageOrientationPatient, dtype=np.float64), [*rows, *columns], atol=1e-3):
            raise DataError("has slices that lie at an angle to one another")
    places = np.array([np.array(file.ImagePositionPatient, dtype=np.float64) @ normal for file in files])
    order = places.argsort(kind="stable")
    files, places = [files[place] for place in order], places[order]
    gaps = np.diff(places)
    if len(gaps) and gaps.min() <= 1e-6:
        raise DataError("has two slices at one place: save its time points as volumes of their own")
    if len(gaps) and gaps.max() - gaps.min() > _EVEN * gaps.mean():
        raise DataError(f"has slices {gaps.min():.3g} to {gaps.max():.3g} mm apart: some are missing")
    planes = [
        file.pixel_array.astype(np.float32) * float(file.get("RescaleSlope", 1))
        + float(file.get("RescaleIntercept", 0))
        for file in files
    ]
    if len({plane.shape for plane in planes}) > 1:
        raise DataError("has slices of several sizes")
    down, across = (float(value) for value in files[0].PixelSpacing)
    between = float(gaps.mean()) if len(gaps) else float(files[0].get("SliceThickness", 1) or 1)
    # DICOM's axes run to the left and the back: columns of the affine are steps along rows, columns and slices.
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = columns * down, rows * across, normal * between
    affine[:2] *= -1
    x, spacing, tilt, turned = oriented(np.stack(planes, 2), affine, name)
    return Volume(name, as_intensities(x, name), None, spacing, tilt, turned, True)
