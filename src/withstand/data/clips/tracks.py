"""Tracks: a thing at several times. A sample is the first picture, and `extras["later"]` brings the last one along."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, derive
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource, as_tensor
from withstand.data.derived.wrapped import Wrapped
from withstand.data.shared.digest import as_indices
from withstand.views.tracks import LATER


class Tracks(Source):
    """Tracks in an array, each of two frames or more; the first and the last are used.

    Args:
        frames: `(N, T, C, H, W)` or `(N, T, H, W, C)`, bytes or floats in [0, 1]; an array or a tensor.
        name: what people call them.
        origin: where they come from, in words.

    Raises:
        DataError: another shape, or tracks of one frame.
    """

    kind = "picture"

    def __init__(self, frames: Any, name: str = "tracks", origin: str = "given in memory") -> None:
        data = as_tensor(np.asarray(frames) if isinstance(frames, list) else frames, "frames")
        if data.dim() != 5 or not len(data):
            raise DataError(f"tracks must be (N, T, C, H, W), not {tuple(data.shape)}")
        if data.shape[1] < 2:
            raise DataError(
                "tracks of one frame show nothing that changes: give two frames or more, or simulate tracks of pictures"
            )
        self.name, self.origin = name, origin
        first, last = (ArraySource(data[:, place].contiguous()) for place in (0, -1))
        rows = range(len(data))
        self._first, self._last = first[rows].x, last[rows].x

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        return cls(torch.randint(0, 256, (8, 3, 3, 8, 8), dtype=torch.uint8, generator=generator))

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._first[chosen], chosen, extras={LATER: self._last[chosen]})

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._first.shape[1:])

    def fingerprint(self) -> str:
        state = blake2b(repr(self._first.shape).encode(), digest_size=16)
        for part in (self._first, self._last):
            state.update(part.contiguous().numpy().data.cast("B"))
        return state.hexdigest()


class SimulatedTracks(Wrapped):
    """Pictures, each with a strongly changed copy as what it looks like later: turned, resized, shifted, dimmed.

    The copy of a picture is always the same, as a film's frames are. A simulated track has none of what real motion
    brings: other sides of a thing, other grounds.

    Args:
        source: pictures of bytes `(C, H, W)`.
        degrees: it is turned by up to so many, either way.
        scale: smallest and largest factor of its size.
        shift: share of the side by which it is moved at most.
        brightness: its values are multiplied by 1 less, to 1 more this.
        seed: of what is drawn.

    Raises:
        DataError: no such pictures.
        ConfigError: settings out of range.
    """

    def __init__(
        self,
        source: Source,
        *,
        degrees: float = 40.0,
        scale: tuple[float, float] = (0.7, 1.2),
        shift: float = 0.1,
        brightness: float = 0.4,
        seed: int = 0,
    ) -> None:
        if len(source.shape) != 3 or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"tracks are simulated of pictures (C, H, W) of bytes, not samples of shape {source.shape}")
        if not 0 < scale[0] <= scale[1] or not 0 <= brightness <= 1 or not 0 <= shift <= 1 or not 0 <= degrees <= 180:
            raise ConfigError(
                "degrees must lie in [0, 180], scale rise from above 0, shift and brightness lie in [0, 1], not "
                f"{degrees!r}, {scale!r}, {shift!r} and {brightness!r}"
            )
        self._wrap(source)
        self.degrees, self.scale, self.shift, self.brightness, self.seed = degrees, scale, shift, brightness, seed
        self.origin = f"{source.origin}; tracks simulated"

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return cls(ArraySource(x, torch.arange(8) % 4))

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        return replace(batch, extras={**batch.extras, LATER: self.later(batch.x, batch.index)})

    def later(self, x: Tensor, index: Tensor) -> Tensor:
        """Return what pictures `(B, C, H, W)` of bytes look like later.

        Args:
            x: the pictures.
            index: their places in the source.
        """
        turn, size, across, down, light = Draws(derive(self.seed, LATER), index).uniform(5).unbind(1)
        angle = (2 * turn - 1) * (self.degrees * torch.pi / 180)
        factor = 1 / (self.scale[0] + size * (self.scale[1] - self.scale[0]))
        cosine, sine = angle.cos() * factor, angle.sin() * factor
        moves = [(2 * value - 1) * (2 * self.shift) for value in (across, down)]
        grid = torch.stack([torch.stack([cosine, -sine, moves[0]], 1), torch.stack([sine, cosine, moves[1]], 1)], 1)
        places = affine_grid(grid, list(x.shape), align_corners=False)
        bent = grid_sample(x.float(), places, mode="bilinear", padding_mode="border", align_corners=False)
        dimmed = bent * (1 + (2 * light - 1) * self.brightness).view(-1, 1, 1, 1)
        return dimmed.round().clamp(0, 255).to(torch.uint8)

    def fingerprint(self) -> str:
        words = (self.source.fingerprint(), self.degrees, self.scale, self.shift, self.brightness, self.seed)
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()


class LaterPictures(Wrapped):
    """What tracks look like later, as pictures: what is judged where the change is to make no difference.

    Args:
        source: of tracks.

    Raises:
        DataError: pictures without a later one.
    """

    def __init__(self, source: Source) -> None:
        if LATER not in source[[0]].extras:
            raise DataError(f"{source.name} has no tracks: its pictures come without a later one")
        self._wrap(source)
        self.origin = f"{source.origin}; the last frame of each"

    @classmethod
    def example(cls) -> Self:
        return cls(SimulatedTracks.example())

    def __getitem__(self, indices: Indices) -> Batch:
        batch = self.source[indices]
        extras: Mapping[str, Tensor] = {name: value for name, value in batch.extras.items() if name != LATER}
        return replace(batch, x=batch.extras[LATER], extras=extras)

    def like(self, data: Any, split: str = "all") -> Source | None:
        return None

    def fingerprint(self) -> str:
        return blake2b(f"{self.source.fingerprint()} later".encode(), digest_size=16).hexdigest()
