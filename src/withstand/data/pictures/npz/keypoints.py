"""Pictures with points, and maybe a mask each, in one `.npz` file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import KEYPOINTS, MASK, VISIBLE, unit_range
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.outputs import Seen
from withstand.core.roles import Source
from withstand.data.arrays.npz import npz_names, read_member
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource

_NAMES = ("keypoints", "kp")


class KeypointFile(PairedSource):
    """The pictures `x` of an `.npz` file, their points `keypoints` (or `kp`), and their masks `mask`, where it has any.

    Points are x and y in pixels, `(N, J, 2)`, or with whether they are known as a third number, `(N, J, 3)`. NaN, and a
    third number of 0, stand for a point that is not known. One outside the picture is not known either. Masks are 0 on
    the ground and larger whole numbers elsewhere, `(N, H, W)`. Batches have the extras `keypoints`, `visible` and,
    with masks, `mask`, which is 0 or 1.

    Args:
        path: of the file.
        size: side in pixels to which pictures are brought, with their points and masks; as they are if None.

    Raises:
        DataError: no such file or arrays, points of another shape or not in pixels, masks of another size.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        path = Path(path).expanduser()
        if not has_keypoints(path):
            raise DataError(f"{str(path)!r} is no .npz file with pictures 'x' and points 'keypoints'")
        names = npz_names(path)
        name = next(name for name in _NAMES if name in names)
        pictures = ArraySource(np.asarray(read_member(path, "x")))
        if len(pictures.shape) != 3 or pictures.kind != "picture":
            raise DataError(f"points are told of pictures, and 'x' in {str(path)!r} has samples of {pictures.shape}")
        height, width = pictures.shape[1:]
        points, visible = read_points(np.asarray(read_member(path, name)), name, len(pictures), height, width)
        self._own = height, width
        mask = _read_mask(np.asarray(read_member(path, MASK)), pictures) if MASK in names else None
        if size is not None:
            pictures, points, mask = _resized(pictures, points, mask, size)
        beside: dict[str, object] = {KEYPOINTS: points, VISIBLE: visible}
        super().__init__(pictures, beside if mask is None else beside | {MASK: mask})
        self.name, self.origin, self.size = printable(path.stem), f"the file {printable(str(path))}", size

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen] | None:
        return None if self.size is None else [Seen(*self._own, 0, 0, self._own[1], self._own[0])] * len(rows)

    def like(self, data: Any, split: str = "all") -> Source | None:
        if split == "all" and isinstance(data, str | Path) and has_keypoints(Path(data).expanduser()):
            return KeypointFile(data, self.size)
        return None


def has_keypoints(path: Path) -> bool:
    """Return whether a path is that of an `.npz` file with pictures and points."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    names = set(npz_names(path))
    return "x" in names and bool(names & set(_NAMES))


def read_points(array: npt.NDArray[Any], name: str, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return points in pixels, float32 `(N, J, 2)`, and which are known, bool `(N, J)`.

    Raises:
        DataError: another shape or type, another count, or numbers that are no pixels.
    """
    if array.ndim != 3 or array.shape[2] not in (2, 3) or not array.shape[1] or array.dtype.kind not in "iuf":
        raise DataError(
            f"{name} must be numbers (N, J, 2), x and y in pixels, or (N, J, 3) with whether each is known: they are "
            f"{array.dtype} of {array.shape}"
        )
    if len(array) != count:
        raise DataError(f"{name} has {len(array)} rows for {count} pictures")
    points = torch.from_numpy(array.astype(np.float32))
    known = points[:, :, :2].isfinite().all(2)
    if array.shape[2] == 3:
        known &= points[:, :, 2] > 0
    points = torch.where(known[..., None], points[:, :, :2], 0.0)
    told = points[known]
    if not len(told):
        raise DataError(f"{name}: no point is known")
    if max(height, width) > 2 and float(told.abs().max()) <= 1:
        low = float(told.min())
        remedy = "(k + 1) / 2 * (width, height) - 0.5" if low < 0 else "k * (width, height) - 0.5"
        raise DataError(
            f"{name} must be in pixels, and these lie in [{low:.3g}, {float(told.max()):.3g}], as shares of the "
            f"{height} x {width} pictures do: give {remedy}"
        )
    x, y = points.unbind(2)
    known &= (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)
    if not bool(known.any()):
        raise DataError(f"{name} lie outside the pictures of {height} x {width} pixels, all of them")
    return points, known


def _read_mask(array: npt.NDArray[Any], pictures: Source) -> Tensor:
    if array.dtype.kind not in "biu" or array.shape != (len(pictures), *pictures.shape[1:]):
        raise DataError(
            f"mask must be whole numbers {(len(pictures), *pictures.shape[1:])}, one a pixel: it is {array.dtype} of "
            f"{array.shape}"
        )
    if array.dtype.kind == "i" and int(array.min()) < 0:
        raise DataError(f"mask must be 0 on the ground and above 0 elsewhere: it holds {int(array.min())}")
    return torch.from_numpy((array > 0).astype(np.int64))


def _resized(
    pictures: Source, points: Tensor, mask: Tensor | None, size: int
) -> tuple[ArraySource, Tensor, Tensor | None]:
    """Return all of them at another side; squares only, so that nothing is stretched."""
    height, width = pictures.shape[1:]
    if size < 1 or height != width:
        raise DataError(f"pictures of {height} x {width} pixels cannot be brought to a side of {size}: give squares")
    parts = [
        torch.nn.functional.interpolate(
            unit_range(pictures[rows].x), size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )
        for rows in torch.split(torch.arange(len(pictures)), 64)
    ]
    x = (torch.cat(parts) * 255).round().to(torch.uint8)
    if mask is not None:
        mask = torch.nn.functional.interpolate(mask[:, None].float(), size=(size, size), mode="area")[:, 0]
        mask = (mask >= 0.5).long()
    return ArraySource(x), (points + 0.5) * (size / width) - 0.5, mask
