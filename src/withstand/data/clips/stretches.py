"""Parts of clips: some frames in a row, in squares at their own resolution."""

import warnings
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Indices, Source
from withstand.data.clips.whole import Clips, clips_like
from withstand.data.derived.subset import in_whole
from withstand.data.pictures.tiles import on_grid
from withstand.data.shared.digest import as_indices

_PIXELS = 64 * 96**2
"""Of all frames that are embedded at once."""


class Stretches(Source):
    """Parts of clips, so many frames long, and squares of these on a grid: what is learnt from.

    A clip that is shorter, or smaller than a square, is left out, and named. The parts of one clip belong together.

    Args:
        source: `Clips`, or some of them.
        length: N, frames of a part.
        side: of a square, in pixels.
        step: frames from one part to the next; half a length if None.
        stride: pixels from one square to the next; half a side if None.

    Raises:
        ConfigError: a number below 1.
        DataError: the samples are no clips, or every clip is too short or too small.
    """

    kind = "clip"

    def __init__(
        self, source: Source, length: int, side: int, step: int | None = None, stride: int | None = None
    ) -> None:
        later = max(1, length // 2) if step is None else step
        across = max(1, side // 2) if stride is None else stride
        if min(length, side, later, across) < 1:
            raise ConfigError(f"length, side, step and stride must be at least 1, not {(length, side, step, stride)!r}")
        whole, rows = in_whole(source)
        if not isinstance(whole, Clips):
            raise DataError(f"stretches are cut from clips, not from samples of shape {source.shape}")
        self.source, self.length, self.side, self._whole = source, length, side, whole
        self.at_once = max(1, _PIXELS // (length * side**2))
        self.name = source.name
        self.origin = f"{source.origin}, in parts of {length} frames of {side} x {side}"
        lengths, sides = whole.lengths[rows], whole.sides[rows]
        why = {
            row: f"shorter than {length} frames" if lengths[row] < length else f"smaller than {side} x {side}"
            for row in ((lengths < length) | (sides < side).any(1)).nonzero()[:, 0].tolist()
        }
        called = {row: whole.names[int(rows[row])] if whole.names else str(int(rows[row])) for row in why}
        if len(why) == len(rows):
            height, width = sides[sides.prod(1).argmax()].tolist()
            raise DataError(
                f"every clip of {source.name} is shorter than {length} frames or smaller than {side} x {side}: the "
                f"longest has {int(lengths.max())} frames, and the largest {height} x {width} pixels"
            )
        self.skipped = (*source.skipped, *((called[row], reason) for row, reason in why.items()))
        if why:
            shown = "; ".join(f"{called[row]}: {reason}" for row, reason in list(why.items())[:3])
            warnings.warn(f"{len(why)} of {len(rows)} clips of {source.name} are left out ({shown})", stacklevel=2)
        self._corners = torch.cat(
            [
                torch.cartesian_prod(
                    torch.tensor([row]),
                    torch.tensor(on_grid(int(lengths[row]), length, later)),
                    *(torch.tensor(on_grid(int(whole_side), side, across)) for whole_side in sides[row].tolist()),
                )
                for row in range(len(rows))
                if row not in why
            ]
        )
        self._rows = rows

    @classmethod
    def example(cls) -> Self:
        return cls(Clips.example(), 3, 40)

    def __len__(self) -> int:
        return len(self._corners)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        x = torch.zeros(len(chosen), *self.shape, dtype=torch.uint8)
        for place, (row, start, top, left) in enumerate(self._corners[chosen].tolist()):
            frames = self._whole.frames(int(self._rows[row]), start, start + self.length)
            x[place] = frames[..., top : top + self.side, left : left + self.side]
        return Batch(x, chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.length, self._whole.shape[1], self.side, self.side

    @property
    def together(self) -> Tensor | None:
        return self._corners[:, 0]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"clip": self._corners[:, 0], "start": self._corners[:, 1]}

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other clips whole, for they are judged and enlarged whole."""
        return clips_like(data, split)

    def fingerprint(self) -> str:
        words = repr((self.source.fingerprint(), self.length, self.side, self._corners.tolist()))
        return blake2b(words.encode(), digest_size=16).hexdigest()
