"""Frames in folders and zip archives, decoded when they are asked for."""

import zipfile
from collections.abc import Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.data.clips.frames import SUFFIXES, in_order, read_frame
from withstand.data.clips.videos import VideoFile, is_video
from withstand.data.pictures.decoding.headers import FORMATS, why_unread


class FrameFiles:
    """The files of one clip, in the order of their names.

    Args:
        name: of the clip.
        place: a folder, or a zip archive.
        frames: files in it.
    """

    def __init__(self, name: str, place: Path, frames: Sequence[str]) -> None:
        self.name, self.place, self.frames = name, place, tuple(frames)
        self.count = len(self.frames)

    def _contents(self, frames: Sequence[str]) -> list[bytes]:
        try:
            if self.place.is_dir():
                return [(self.place / frame).read_bytes() for frame in frames]
            with zipfile.ZipFile(self.place) as archive:
                return [archive.read(frame) for frame in frames]
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise DataError(f"frames of clip {self.name} cannot be read: {error}") from None

    def size(self) -> tuple[int, int]:
        """Return height and width of the first frame, without decoding it."""
        first = self.frames[0]
        try:
            with Image.open(BytesIO(self._contents([first])[0]), formats=FORMATS) as picture:
                width, height = picture.size
                return height, width
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"frame {printable(first)} cannot be read: {why_unread(error)}") from None

    def read(self, start: int, stop: int) -> Tensor:
        """Return frames `(T, 3, H, W)`.

        Raises:
            DataError: one that cannot be read, or of another size than the first.
        """
        names = self.frames[start:stop]
        pixels = [read_frame(name, content) for name, content in zip(names, self._contents(names), strict=True)]
        wanted = (*self.size(), 3)
        for name, one in zip(names, pixels, strict=True):
            if one.shape != wanted:
                raise DataError(
                    f"frame {printable(name)} has {one.shape[0]} x {one.shape[1]} pixels, and the first of clip "
                    f"{self.name} {wanted[0]} x {wanted[1]}: frames of one clip have one size"
                )
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()

    def digest(self) -> bytes:
        """Return a digest of the files' names and contents."""
        state = blake2b(repr(tuple(PurePosixPath(name).name for name in self.frames)).encode(), digest_size=16)
        for name in self.frames:
            state.update(self._contents([name])[0])
        return state.digest()


def listed(place: Path) -> tuple[FrameFiles | VideoFile, ...]:
    """Return the clips of a folder or archive, its folders of frames and its videos; or the clip that it is itself.

    Raises:
        DataError: no frames and no videos, or frames beside other clips.
        MissingExtra: videos, without PyAV.
    """
    if place.is_file() and is_video(place):
        return (VideoFile(printable(place.stem), place),)
    if place.is_dir():
        files = [str(PurePosixPath(file.relative_to(place))) for file in sorted(place.rglob("*")) if file.is_file()]
    else:
        with zipfile.ZipFile(place) as archive:
            files = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    files = [file for file in files if not any(part.startswith(".") for part in PurePosixPath(file).parts)]
    videos = [file for file in files if is_video(file)]
    if videos and not place.is_dir():
        raise DataError(f"{str(place)!r} holds videos, which are read from folders: unpack it")
    clips: dict[str, list[str]] = {}
    for file in files:
        name = PurePosixPath(file)
        if name.suffix.lower() in SUFFIXES:
            clips.setdefault(str(name.parent), []).append(file)
    if not clips and not videos:
        raise DataError(f"{str(place)!r} holds no frames: give folders of frames, one a clip, or videos")
    if "." in clips and len(clips) + len(videos) > 1:
        raise DataError(f"{str(place)!r} holds {len(clips['.'])} frames beside other clips: move them into a folder")
    found: dict[str, FrameFiles | VideoFile] = {}
    for clip, frames in clips.items():
        found[clip] = FrameFiles(
            printable(place.resolve().stem if clip == "." else clip), place, sorted(frames, key=in_order)
        )
    for file in videos:
        found[file] = VideoFile(printable(file), place / file)
    return tuple(found[clip] for clip in sorted(found))
