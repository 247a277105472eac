"""Clips as files: a folder, or a zip archive, of folders of frames; and moving patches tracked through them.

Patches: those places of the first frame that change most are followed by normalised cross-correlation from frame to
frame, in place of the published motion and KCF trackers.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from withstand.core.errors import ConfigError, DataError
from withstand.core.files import printable
from withstand.data.pictures.decoding.headers import FORMATS, why_unread
from withstand.data.pictures.decoding.values import as_rgb

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def read_clips(path: str | Path) -> dict[str, NDArray[np.uint8]]:
    """Return clips by their folders' names, each `(T, H, W, 3)`, frames in the order of their names.

    Args:
        path: a folder or a zip archive of folders of pictures; pictures of one folder have one size.

    Raises:
        DataError: no such place, no folder of frames in it, a frame that cannot be read, or one of another size.
    """
    path = Path(path).expanduser()
    frames: dict[str, list[tuple[str, bytes]]] = {}
    for name, content in _files(path):
        clip = str(PurePosixPath(name).parent)
        if PurePosixPath(name).suffix.lower() in SUFFIXES:
            frames.setdefault(clip, []).append((name, content))
    frames.pop(".", None)
    if not frames:
        raise DataError(f"{str(path)!r} holds no folders of frames, one a clip")
    ordered = {clip: sorted(frames[clip], key=lambda frame: in_order(frame[0])) for clip in sorted(frames)}
    return {printable(clip): _read(clip, some) for clip, some in ordered.items()}


def in_order(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key by which names are sorted as people count: frame 9 comes before frame 10."""
    parts = re.split(r"([0-9]+)", name)
    counted = [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
    return (*counted, (-1, name))


def read_frame(name: str, content: bytes) -> NDArray[np.uint8]:
    """Return a frame `(H, W, 3)`.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            return np.asarray(as_rgb(picture).picture)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"frame {printable(name)} cannot be read: {why_unread(error)}") from None


def _read(clip: str, frames: Sequence[tuple[str, bytes]]) -> NDArray[np.uint8]:
    made = [read_frame(name, content) for name, content in frames]
    sizes = {frame.shape for frame in made}
    if len(sizes) > 1:
        raise DataError(f"frames of clip {printable(clip)} have several sizes: {sorted(sizes)}")
    return np.stack(made)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                yield str(PurePosixPath(file.relative_to(path))), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, archive.read(info)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{str(path)!r} is neither a folder nor a zip archive of clips ({error})") from None


def moving_patches(clip: Tensor, size: int, count: int, *, reach: int = 6, least: float = 0.5) -> Tensor:
    """Return tracks of the places of a clip that move most, `(N, T, C, size, size)`, N at most `count`.

    Tracks begin at places that share at most half of their sides. A track whose patch is lost, one frame's correlation
    with the last below `least`, is left out.

    Args:
        clip: frames `(T, C, H, W)` of bytes.
        size: side of a patch, pixels.
        count: of tracks.
        reach: how far a patch moves from frame to frame at most, pixels.
        least: correlation, in [-1, 1].

    Raises:
        DataError: fewer than two frames.
        ConfigError: a size that does not fit the frames, or a count below 1.
    """
    if clip.dim() != 4 or len(clip) < 2:
        raise DataError(f"a clip of two frames or more is needed, (T, C, H, W), not {tuple(clip.shape)}")
    height, width = clip.shape[2:]
    if count < 1 or not 1 < size <= min(height, width):
        raise ConfigError(f"size must lie in [2, {min(height, width)}] and count be at least 1, not {size} and {count}")
    grey = clip.float().mean(1)
    corners = _most_moving(grey, size, count)
    here, alive, path = corners, torch.ones(len(corners), dtype=torch.bool), [corners]
    for before, after in pairwise(grey):
        here, found = _followed(before, after, here, size, reach)
        alive &= found >= least
        path.append(here)
    tracks = [
        torch.stack(
            [frame[:, top : top + size, left : left + size] for frame, (top, left) in zip(clip, places, strict=True)]
        )
        for places, kept in zip(torch.stack(path, 1).tolist(), alive.tolist(), strict=True)
        if kept
    ]
    return torch.stack(tracks) if tracks else clip.new_empty(0, len(clip), clip.shape[1], size, size)


def _most_moving(grey: Tensor, size: int, count: int) -> Tensor:
    """Return the corners of windows where frames differ most from the next, `(N, 2)`, less what all the frame does."""
    change = (grey[1:] - grey[:-1]).abs()
    change = (change - change.flatten(1).median(1).values.view(-1, 1, 1)).clamp_min(0).mean(0)
    score = avg_pool2d(change[None], size, 1)[0]
    corners = []
    for _ in range(count):
        place = int(score.argmax())
        top, left = divmod(place, score.shape[1])
        if float(score[top, left]) <= 0:
            break
        corners.append((top, left))
        half = max(1, size // 2)
        score[max(0, top - half) : top + half, max(0, left - half) : left + half] = -1
    return torch.tensor(corners, dtype=torch.int64).view(-1, 2)


def _followed(before: Tensor, after: Tensor, corners: Tensor, size: int, reach: int) -> tuple[Tensor, Tensor]:
    """Return where patches are in the next frame, `(N, 2)`, and their correlation there, `(N,)`."""
    height, width = before.shape
    steps = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
    # The middle first: of equal correlations, as on flat ground, the patch stays.
    steps = steps[steps.abs().sum(1).argsort(stable=True)]
    limit = torch.tensor([height - size, width - size])
    places = (corners[:, None] + steps).clamp_min(0).minimum(limit)
    row = torch.arange(size)
    seen = after[places[..., 0, None, None] + row[:, None], places[..., 1, None, None] + row].flatten(2)
    own = before[corners[:, 0, None, None] + row[:, None], corners[:, 1, None, None] + row].flatten(1)
    seen, own = seen - seen.mean(2, keepdim=True), own - own.mean(1, keepdim=True)
    scale = seen.norm(dim=2) * own.norm(dim=1, keepdim=True)
    match = (seen * own[:, None]).sum(2) / scale.clamp_min(1e-6)
    best = match.max(1)
    return places[torch.arange(len(corners)), best.indices], best.values
