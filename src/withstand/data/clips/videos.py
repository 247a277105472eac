"""Video files, read by PyAV (extra `video`)."""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from withstand.core.errors import DataError, MissingExtra
from withstand.core.files import printable

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")


def is_video(path: str | Path) -> bool:
    """Return whether a file is called like a video."""
    return Path(path).suffix.lower() in VIDEOS


class VideoFile:
    """The first video stream of a file, as red, green and blue in 8 bits.

    Frames are counted by decoding them, for what a file says of their number is often wrong.

    Args:
        name: of the clip.
        path: the file.

    Raises:
        MissingExtra: there is no PyAV.
        DataError: a file without frames, or one that cannot be decoded.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.count, self._size = 0, (0, 0)
        for frame in self._decoded():
            self.count, self._size = self.count + 1, (frame.shape[0], frame.shape[1])
        if not self.count:
            raise DataError(f"{printable(path.name)} holds no frames")

    def size(self) -> tuple[int, int]:
        """Return height and width of a frame."""
        return self._size

    def read(self, start: int, stop: int) -> Tensor:
        """Return frames `(T, 3, H, W)`; those before are decoded too."""
        return torch.from_numpy(np.stack(list(islice(self._decoded(), start, stop)))).permute(0, 3, 1, 2).contiguous()

    def digest(self) -> bytes:
        """Return a digest of the file's content."""
        state = blake2b(digest_size=16)
        with self.path.open("rb") as file:
            while block := file.read(1 << 24):
                state.update(block)
        return state.digest()

    def _decoded(self) -> Iterator[NDArray[np.uint8]]:
        """Yield frames `(H, W, 3)`, all of the first one's size."""
        try:
            import av
        except ImportError:
            raise MissingExtra("reading video files", "av", "video") from None
        called, first = printable(self.path.name), None
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise DataError(f"{called} holds no video")
                frame: Any
                for frame in container.decode(video=0):
                    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
                    first = pixels.shape if first is None else first
                    if pixels.shape != first:
                        raise DataError(f"the frames of {called} have several sizes: {first} and {pixels.shape}")
                    yield pixels
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise DataError(f"{called} cannot be read as a video: {' '.join(str(error).split())[:200]}") from None
