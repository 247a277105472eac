"""Clips at their own resolution, whole: of folders of frames, videos, an array, or a named set."""

import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError, nearest
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource, as_tensor, read_arrays
from withstand.data.clips.folders import FrameFiles, listed
from withstand.data.clips.videos import VideoFile, is_video
from withstand.data.derived.subset import in_whole
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.digest import as_indices

CLIP_SETS = {"clips": "clips_s160", "calendar": "vid4_calendar_lr"}
"""Sets of clips by name: `$WITHSTAND_DATA/video/FILE.zip`."""

_KEPT = 1 << 30
"""Bytes of decoded frames that are kept."""


class Clips(Source):
    """Clips as they are, uint8 `(T, C, H, W)`, each of its own length and size.

    As sizes differ they are read one at a time; a batch of several must be of one size. Frames of folders are decoded
    when they are asked for.

    Args:
        data: a folder or zip archive of folders of frames, one a clip, or of the frames of one clip; a video, or a
            folder of some (extra `video`); a `.npy` or `.npz` file; an array `(N, T, C, H, W)` or `(N, T, H, W, C)` of
            bytes or floats in [0, 1]; or the name of a set: clips, calendar.

    Raises:
        DataError: no such place, no frames in it, or an array of another shape.
    """

    kind = "clip"
    at_once = 1

    def __init__(self, data: Any) -> None:
        self._array: Tensor | None = None
        self._files: tuple[FrameFiles | VideoFile, ...] = ()
        place = _place(data)
        if place is None:
            self._array = _as_clips(data)
            self.sides = torch.tensor([self._array.shape[-2:]]).expand(len(self._array), 2)
            self.lengths = torch.full((len(self._array),), self._array.shape[1])
            self._channels = self._array.shape[2]
            if isinstance(data, str | Path):
                self.name, self.origin = printable(Path(data).stem), f"the file {printable(str(data))}"
            return
        self.name = data if isinstance(data, str) and data in CLIP_SETS else printable(place.resolve().stem)
        self.origin = f"frames of {printable(place.name if self.name == data else str(place))}"
        self._files = listed(place)
        self.names = tuple(clip.name for clip in self._files)
        self.sides = torch.tensor([clip.size() for clip in self._files])
        self.lengths = torch.tensor([clip.count for clip in self._files])
        self._channels = 3
        self._decoded: dict[int, Tensor] = {}

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        return cls(torch.randint(0, 256, (4, 5, 3, 44, 48), dtype=torch.uint8, generator=generator))

    def __len__(self) -> int:
        return len(self.lengths)

    def frames(self, row: int, start: int, stop: int) -> Tensor:
        """Return frames of one clip, `(T, C, H, W)` of bytes, which must not be written to."""
        if self._array is not None:
            return self._array[row, start:stop]
        if row not in self._decoded:
            pixels = 3 * int(self.sides[row].prod())
            if sum(clip.numel() for clip in self._decoded.values()) + pixels * int(self.lengths[row]) > _KEPT:
                return self._files[row].read(start, stop)
            self._decoded[row] = self._files[row].read(0, int(self.lengths[row]))
        return self._decoded[row][start:stop]

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        shapes = {(int(self.lengths[row]), *self.sides[row].tolist()) for row in chosen.tolist()}
        if len(shapes) > 1:
            raise DataError(f"the clips of {self.name} differ in length or size: read them one at a time")
        clips = [self.frames(row, 0, int(self.lengths[row])) for row in chosen.tolist()]
        x = torch.stack(clips) if clips else torch.zeros(0, *self.shape, dtype=torch.uint8)
        return Batch(x, chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first clip; others may have another length, height and width."""
        return int(self.lengths[0]), self._channels, *self.sides[0].tolist()

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"frames": self.lengths, "height": self.sides[:, 0], "width": self.sides[:, 1]}

    def like(self, data: Any, split: str = "all") -> Source | None:
        return clips_like(data, split)

    def fingerprint(self) -> str:
        state = blake2b(repr((self.lengths.tolist(), self.sides.tolist())).encode(), digest_size=16)
        if self._array is not None:
            state.update(self._array.contiguous().numpy().data.cast("B"))
        for clip in self._files:
            state.update(clip.digest())
        return state.hexdigest()

    def __reduce__(self) -> tuple[Callable[[], "Clips"], tuple[()]]:
        return partial(Clips, **self._init_args), ()


def clips_of(data: Any) -> Source:
    """Return clips of whatever holds them; a source of them is given back.

    Raises:
        DataError: a source of something else, or what `Clips` refuses.
    """
    if not isinstance(data, Source):
        return Clips(data)
    if not isinstance(in_whole(data)[0], Clips):
        raise DataError(f"clips are needed, and {data.name} holds {data.kind}s of shape {data.shape}")
    return data


def is_clips(data: object) -> bool:
    """Return whether data can be read as clips: a set's name, an array of five axes, or a place with frames."""
    if isinstance(data, str) and data in CLIP_SETS:
        return True
    if isinstance(data, np.ndarray | Tensor):
        return data.ndim == 5
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    if path.suffix in (".npy", ".npz"):
        return path.is_file() and read_arrays(path).x.ndim == 5
    return path.is_dir() or (path.is_file() and (path.suffix == ".zip" or is_video(path)))


def clips_like(data: Any, split: str = "all") -> Source | None:
    """Return what `Source.like` does for clips; None where the data are none, or have no such part."""
    if not is_clips(data):
        return None
    return Clips(data) if split in ("all", "train") else None


def _place(data: object) -> Path | None:
    """Return the folder or archive with frames; None where the data are an array.

    Raises:
        DataError: a set that is not here, or nothing of that name.
    """
    if not isinstance(data, str | Path):
        return None
    if isinstance(data, str) and data in CLIP_SETS:
        base, file = os.environ.get(VARIABLE), f"{CLIP_SETS[data]}.zip"
        if not base or not (Path(base) / "video" / file).is_file():
            raise DataError(
                f"{data} is not on this machine: set {VARIABLE} to a folder with video/{file}, or name a folder of "
                "folders of frames"
            )
        return Path(base) / "video" / file
    path = Path(data).expanduser()
    if path.suffix in (".npy", ".npz"):
        return None
    if not path.is_dir() and not (path.is_file() and (is_video(path) or zipfile.is_zipfile(path))):
        raise DataError(
            f"{str(data)!r} is neither a folder or zip archive of frames, a video, an array, nor the name of a set: "
            f"{nearest(str(data), CLIP_SETS)}"
        )
    return path


def _as_clips(data: Any) -> Tensor:
    """Return clips `(N, T, C, H, W)` of bytes."""
    given = read_arrays(Path(data)).x if isinstance(data, str | Path) else data
    x = as_tensor(np.asarray(given) if isinstance(given, list) else given, "clips")
    if x.dim() != 5 or not x.numel():
        raise DataError(f"clips must be (N, T, C, H, W) or (N, T, H, W, C), not {tuple(x.shape)}")
    if x.shape[2] not in (1, 3) and x.shape[4] not in (1, 3):
        raise DataError(f"clips have 1 or 3 channels, (N, T, C, H, W) or (N, T, H, W, C), not {tuple(x.shape)}")
    if x.shape[2] not in (1, 3):
        x = x.movedim(4, 2)
    frames = ArraySource(x.reshape(-1, *x.shape[2:]).contiguous(), layout="NCHW")
    found = frames[range(len(frames))].x
    if found.is_floating_point():
        found = (found * 255).round().to(torch.uint8)
    return found.view(*x.shape)
