"""Views of clips: one draw for all frames of a sample."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import View


@dataclass(frozen=True)
class ClipView(View):
    """Clips `(B, T, C, H, W)`, mirrored or not, and sometimes a single frame that is panned in their place.

    A panned one moves from frame to frame by whole pixels, floor(U(-reach + 1/2, reach + 1/2)) down and across. Where
    it leaves the square, the picture goes on mirrored.

    Args:
        flip: probability of a mirrored clip.
        still: probability that the first frame is panned in place of the clip.
        reach: pixels from frame to frame at most.

    Raises:
        ConfigError: no probability, or a reach below 0.
    """

    flip: float = 0.5
    still: float = 0.3
    reach: int = 4

    def __post_init__(self) -> None:
        if not (0 <= self.flip <= 1 and 0 <= self.still <= 1) or self.reach < 0:
            given = (self.flip, self.still, self.reach)
            raise ConfigError(f"flip and still must lie in [0, 1] and reach be at least 0, not {given!r}")

    @classmethod
    def example(cls) -> Self:
        return cls()

    def example_batch(self) -> Batch:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (4, 5, 3, 12, 14), dtype=torch.uint8, generator=generator)
        return Batch(x, torch.arange(4), torch.arange(4))

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        if batch.x.dim() != 5:
            raise DataError(f"clips are (B, T, C, H, W), not {tuple(batch.x.shape)}")
        x = unit_range(batch.x).clone()
        mirrored, panned = draws.chance(self.flip, 1)[:, 0], draws.chance(self.still, 1)[:, 0]
        moves = draws.uniform(x.shape[1], 2, low=0.5 - self.reach, high=self.reach + 0.5).floor().long()
        x[mirrored] = x[mirrored].flip(4)
        for row in panned.nonzero()[:, 0].tolist():
            x[row] = self._panned(x[row, 0], moves[row])
        return batch.with_views(x)

    def _panned(self, frame: Tensor, moves: Tensor) -> Tensor:
        """Return a frame `(C, H, W)` as a clip that moves by `(T, 2)` pixels, the first move being none."""
        places = moves.clone()
        places[0] = 0
        places = places.cumsum(0)
        height, width = frame.shape[1:]
        rows, columns = (
            _mirrored(torch.arange(side, device=frame.device) + places[:, axis, None], side)
            for axis, side in enumerate((height, width))
        )
        return frame[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


def _mirrored(places: Tensor, side: int) -> Tensor:
    """Return places in a row of pixels that goes on mirrored at both ends, its last pixels once."""
    period = max(1, 2 * (side - 1))
    folded = places % period
    return torch.where(folded < side, folded, period - folded)
