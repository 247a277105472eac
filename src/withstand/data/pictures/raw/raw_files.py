"""Files of RAW frames: what a sensor recorded, with the levels and the pattern that make sense of it.

`.npz` and `.npy` files hold frames `(H, W)`, and an `.npz` perhaps `pattern`, `black` and `white` beside; DNG and the
makers' own formats are LibRaw's job, by rawpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, MissingExtra, nearest
from withstand.core.files import printable
from withstand.data.arrays.npz import npz_names, read_member, read_npy
from withstand.models.restoration.camera import SRGB_TO_XYZ

Frame: TypeAlias = npt.NDArray[Any]
SETTINGS = ("pattern", "black", "white")


@dataclass(frozen=True)
class Recorded:
    """Frames, and what their file says of them.

    Attributes:
        frames: by name, `(H, W)` each.
        pattern: of the upper left 2 x 2 pixels; None where the file does not say.
        black: what each of these four records without light; None where it does not say.
        white: what all record at most; None where it does not say.
        balance: gains of red and blue over green as the camera took them; None where it does not say.
        srgb_to_camera: linear sRGB to the camera's colors, `(3, 3)`, rows that sum to 1; None where it does not say.
    """

    frames: dict[str, Frame]
    pattern: str | None = None
    black: tuple[float, ...] | None = None
    white: float | None = None
    balance: tuple[float, float] | None = None
    srgb_to_camera: Frame | None = None


def read_frames(path: Path, frame: str | None = None) -> Recorded:
    """Return the frames of a file, all or the named one.

    Raises:
        DataError: there is no such file or frame, or it holds none.
        MissingExtra: a camera's file, without rawpy.
    """
    if not path.is_file():
        raise DataError(f"there is no file {printable(str(path))} with RAW frames")
    if path.suffix == ".npy":
        found = Recorded({path.stem: _plane(read_npy(path), path.stem)})
    elif path.suffix == ".npz":
        found = _of_npz(path, frame)
    else:
        found = _of_camera(path)
    if frame is not None and frame not in found.frames:
        raise DataError(f"{printable(str(path))} has no frame {frame!r}: {nearest(frame, found.frames)}")
    return found


def _of_npz(path: Path, frame: str | None) -> Recorded:
    names = npz_names(path)
    wanted = [name for name in names if name not in SETTINGS and frame in (None, name)]
    if not wanted:
        known = [name for name in names if name not in SETTINGS]
        why = "no frames" if frame is None or not known else f"no frame {frame!r}: {nearest(frame, known)}"
        raise DataError(f"{printable(str(path))} has {why}")
    said = {name: read_member(path, name) for name in names if name in SETTINGS}
    black = said.get("black")
    return Recorded(
        {name: _plane(read_member(path, name), name) for name in wanted},
        pattern=str(said["pattern"]) if "pattern" in said else None,
        black=None if black is None else tuple(np.broadcast_to(_numbers(black, "black"), 4).tolist()),
        white=float(_numbers(said["white"], "white")) if "white" in said else None,
    )


def _numbers(value: Frame, name: str) -> Frame:
    if value.dtype.kind not in "uif" or value.size not in (1, 4) or (name == "white" and value.size != 1):
        raise DataError(f"{name} of RAW frames is a number{'' if name == 'white' else ' or four'}, not {value!r}")
    return value.reshape(-1) if value.size == 4 else value.reshape(())


def _plane(values: Frame, name: str) -> Frame:
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise DataError(
            f"a RAW frame is one plane (H, W) of numbers: {name!r} has shape {values.shape} and type {values.dtype}"
        )
    return values


def _of_camera(path: Path) -> Recorded:
    try:
        import rawpy
    except ImportError as error:
        raise MissingExtra(f"reading {printable(path.name)}", "rawpy", "raw") from error
    try:
        with rawpy.imread(str(path)) as file:
            if file.raw_type != rawpy.RawType.Flat or file.raw_pattern is None or file.raw_pattern.shape != (2, 2):
                raise DataError(f"{printable(path.name)} was not recorded by a Bayer sensor")
            places = np.asarray(file.raw_colors_visible[:2, :2]).reshape(-1)
            colors = file.color_desc.decode("ascii", "replace")
            levels = file.black_level_per_channel
            return Recorded(
                {path.stem: np.array(file.raw_image_visible)},
                pattern="".join(colors[place] for place in places),
                black=tuple(float(levels[place]) for place in places),
                white=float(file.white_level),
                balance=_balance(file.camera_whitebalance),
                srgb_to_camera=_matrix(np.asarray(file.rgb_xyz_matrix), np.asarray(file.color_matrix)),
            )
    except rawpy.LibRawError as error:
        raise DataError(f"{printable(path.name)} cannot be read as a RAW file: {error}") from error


def _balance(gains: Sequence[float]) -> tuple[float, float] | None:
    """Return the gains of red and blue over green; None where the camera told none."""
    red, green, blue = (float(value) for value in gains[:3])
    return (red / green, blue / green) if min(red, green, blue) > 0 else None


def _matrix(xyz_to_camera: Frame, camera_to_srgb: Frame) -> Frame | None:
    """Return the matrix from what LibRaw knows of the model, or from what it read in the file."""
    known, read = xyz_to_camera[:3].astype(np.float64), camera_to_srgb[:, :3].astype(np.float64)
    if known.shape == (3, 3) and abs(np.linalg.det(known)) > 1e-9:
        found = known @ np.array(SRGB_TO_XYZ)
    elif read.shape == (3, 3) and abs(np.linalg.det(read)) > 1e-9:
        found = np.linalg.inv(read)
    else:
        return None
    sums = found.sum(1, keepdims=True)
    return found / sums if float(np.abs(sums).min()) > 1e-6 else None
