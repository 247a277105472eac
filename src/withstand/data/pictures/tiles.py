"""Tiles: squares cut from pictures at their own resolution, never shrunk."""

import warnings
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.files.reading import PLAIN
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.subset import in_whole
from withstand.data.pictures.whole import WholePictures, whole_like
from withstand.data.shared.digest import as_indices

_PIXELS = 64 * 96**2
"""Of all tiles that are embedded at once: networks at full resolution hold many maps of them."""


class Tiles(Source):
    """Squares of pictures on a grid of steps, so that every pixel is in one: the last ones lie at the edges.

    A picture smaller than a tile is left out, and named. The tiles of one picture belong together.

    Args:
        source: pictures, whole or of one size.
        side: of a tile, in pixels.
        stride: from one tile to the next; half a side if None.

    Raises:
        ConfigError: a side or stride below 1.
        DataError: every picture is smaller than a tile, or the samples are no pictures of bytes.
    """

    kind = "picture"

    def __init__(self, source: Source, side: int, stride: int | None = None) -> None:
        step = max(1, side // 2) if stride is None else stride
        if side < 1 or step < 1:
            raise ConfigError(f"side and stride must be at least 1, not {side!r} and {stride!r}")
        if len(source.shape) != 3 or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"tiles are cut from pictures (C, H, W) of bytes, not from samples of shape {source.shape}")
        self.source, self.side = source, side
        self.at_once = max(2, _PIXELS // side**2)
        self.name, self.origin = source.name, f"{source.origin}, in tiles of {side} x {side}"
        whole, rows = in_whole(source)
        self._whole: WholePictures | None = whole if isinstance(whole, WholePictures) else None
        self._rows = rows
        height, width = source.shape[1:]
        sides = torch.tensor([[height, width]]).expand(len(source), 2) if self._whole is None else whole_sides(source)
        small = (sides < side).any(1)
        if bool(small.all()):
            largest = " x ".join(map(str, sides[sides.prod(1).argmax()].tolist()))
            raise DataError(
                f"every picture of {source.name} is smaller than a tile of {side} x {side}: the largest has {largest} "
                "pixels, so use smaller tiles or larger pictures"
            )
        left = small.nonzero()[:, 0].tolist()
        called = [source.names[row] if source.names else str(row) for row in left]
        self.skipped = (*source.skipped, *((name, f"smaller than a tile of {side} x {side}") for name in called))
        if left:
            shown = ", ".join(called[:3]) + (f" and {len(called) - 3} more" if len(called) > 3 else "")
            warnings.warn(
                f"{len(left)} of {len(source)} pictures of {source.name} are smaller than a tile of {side} x {side} "
                f"({shown}): left out",
                stacklevel=2,
            )
        corners = [_corners(row, sides[row].tolist(), side, step) for row in (~small).nonzero()[:, 0].tolist()]
        self._corners = torch.cat(corners)

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        return cls(ArraySource(torch.randint(0, 256, (4, 3, 12, 10), dtype=torch.uint8, generator=generator)), 8)

    def __len__(self) -> int:
        return len(self._corners)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        corners = self._corners[chosen]
        x = torch.zeros(len(chosen), *self.shape, dtype=torch.uint8)
        # Pictures of one size come in one read; of whole ones a tile alone is read of the mapped file.
        pictures = self.source[corners[:, 0]].x if self._whole is None else None
        for place, (row, top, left) in enumerate(corners.tolist()):
            one = pictures[place] if pictures is not None else self._picture(row)
            x[place] = one[:, top : top + self.side, left : left + self.side]
        return Batch(x, chosen)

    def _picture(self, row: int) -> Tensor:
        assert self._whole is not None
        return self._whole.picture(int(self._rows[row]))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape[0], self.side, self.side

    @property
    def together(self) -> Tensor | None:
        return self._corners[:, 0]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"picture": self._corners[:, 0]}

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return a folder's or a named set's pictures whole, for they are judged and enlarged whole."""
        return whole_like(data, split, PLAIN if self._whole is None else self._whole.reading)

    def fingerprint(self) -> str:
        words = repr((self.source.fingerprint(), self.side, self._corners.tolist()))
        return blake2b(words.encode(), digest_size=16).hexdigest()


def on_grid(length: int, side: int, step: int) -> list[int]:
    """Return where pieces of length `side` begin that lie `step` apart, the last one at the end."""
    return sorted({*range(0, length - side + 1, step), length - side})


def whole_sides(source: Source) -> Tensor:
    """Return height and width of each of some whole pictures, int64 `(N, 2)`."""
    known = source.attributes
    return torch.stack([known["height"], known["width"]], 1)


def _corners(row: int, sides: Sequence[int], side: int, step: int) -> Tensor:
    """Return row, top and left of each tile of a picture, int64 `(M, 3)`."""
    tops, lefts = (torch.tensor(on_grid(length, side, step)) for length in sides)
    return torch.cartesian_prod(torch.tensor([row]), tops, lefts)
