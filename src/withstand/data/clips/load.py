"""The door to tracks: what holds frames of things at several times becomes a source of them."""

import warnings
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.core.roles import Indices
from withstand.data.arrays.source import read_arrays
from withstand.data.clips.frames import moving_patches, read_clips
from withstand.data.clips.tracks import Tracks
from withstand.data.derived.wrapped import Wrapped

Skipped: TypeAlias = tuple[tuple[str, str], ...]
"""What was left out, and why."""


class FrameTracks(Wrapped):
    """Tracks of a file: an array of them, or patches that move in clips.

    Attribute "clip" numbers the clip that a patch is from, and samples of one clip belong together. Clips that give no
    patch, whose frames are smaller than one or in which nothing can be followed, are counted in a warning and stand in
    `skipped`.

    Args:
        path: a `.npy` or `.npz` array `(N, T, C, H, W)` of tracks; or a folder or zip archive of folders of frames,
            of whose clips moving patches are tracked.
        size: side of patches, pixels; arrays have their own.
        patches: from each stretch of a clip, at most.
        length: frames of a stretch.

    Raises:
        DataError: nothing there, tracks of one frame, or clips in which nothing can be followed.
    """

    def __init__(self, path: str | Path, *, size: int = 48, patches: int = 20, length: int = 30) -> None:
        path = Path(path).expanduser()
        self.clips: tuple[str, ...] = ()
        self._clip: Tensor | None = None
        skipped: Skipped = ()
        if path.suffix in (".npy", ".npz"):
            tracks = Tracks(np.asarray(read_arrays(path).x))
            origin = f"the file {printable(str(path))}"
        else:
            tracks, self._clip, self.clips, skipped = _tracked(path, size, patches, length, _state(path))
            origin = f"patches of {size} pixels that move in {len(self.clips)} clips of {printable(str(path))}"
        self._wrap(tracks)
        self.name, self.origin, self.skipped = printable(path.stem), origin, skipped

    @property
    def attributes(self) -> dict[str, Tensor]:
        return {} if self._clip is None else {"clip": self._clip}

    @property
    def group_names(self) -> dict[str, tuple[str, ...]]:
        return {} if self._clip is None else {"clip": self.clips}

    @property
    def together(self) -> Tensor | None:
        return self._clip if len(self.clips) > 1 else None

    def __getitem__(self, indices: Indices) -> Batch:
        return self.source[indices]

    def fingerprint(self) -> str:
        clips = None if self._clip is None else self._clip.tolist()
        return blake2b(f"{self.source.fingerprint()} {clips}".encode(), digest_size=16).hexdigest()


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when the files below a path do."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    about = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, one.st_size, one.st_mtime_ns) for name, one in about)


@lru_cache(maxsize=2)
def _tracked(
    path: Path, size: int, patches: int, length: int, state: tuple[tuple[str, int, int], ...]
) -> tuple[Tracks, Tensor, tuple[str, ...], Skipped]:
    """Return the tracks of clips, the clip of each, the names of those that have some, and the others with the reason.

    Kept, for a run opens its data several times.

    Args:
        path: where the clips are.
        size: of patches.
        patches: from each stretch.
        length: of stretches.
        state: of the files, so that other ones are not taken for these.
    """
    clips = read_clips(path)
    if max(map(len, clips.values())) < 2 or length < 2:
        raise DataError(
            f"the clips of {str(path)!r} have one frame each, or length is below 2: tracks of one frame show nothing "
            "that changes; of pictures, --simulate makes tracks"
        )
    ends, of = [], []
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    for name, frames in clips.items():
        clip, count = torch.from_numpy(frames).permute(0, 3, 1, 2), 0
        for start in range(0, len(clip) - 1, length):
            stretch = clip[start : start + length]
            if len(stretch) < 2 or (start and len(stretch) < length // 2) or min(stretch.shape[2:]) < size:
                continue
            found = moving_patches(stretch, size, patches)
            ends.append(found[:, [0, -1]])
            count += len(found)
        if count:
            of += [len(names)] * count
            names.append(name)
        else:
            skipped.append((name, _why_none(clip, size)))
    if not of:
        raise DataError(f"nothing that moves could be followed in the clips of {str(path)!r}: try another --size")
    if skipped:
        shown = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
        warnings.warn(f"{len(skipped)} of {len(clips)} clips give no patch ({shown}): left out", stacklevel=4)
    return Tracks(torch.cat(ends)), torch.tensor(of), tuple(names), tuple(skipped)


def _why_none(clip: Tensor, size: int) -> str:
    """Return why a clip `(T, C, H, W)` gives no patch."""
    if len(clip) < 2:
        return "one frame"
    height, width = clip.shape[2:]
    if min(height, width) < size:
        return f"frames of {height} x {width} are smaller than patches of {size}"
    return "nothing that moves could be followed"


def is_tracks(data: Any) -> bool:
    """Return whether data are a file or folder of tracks or clips: an array of five axes, or folders of frames."""
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    if path.suffix in (".npy", ".npz") and path.is_file():
        return read_arrays(path).x.ndim == 5
    return (path.suffix == ".zip" and path.is_file()) or path.is_dir()
