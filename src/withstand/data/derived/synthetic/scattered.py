"""Scenes made of small grey pictures: several of them in colors of their own on one canvas, with exact masks.

Sizes: `N` scenes, `S` side of a scene, `h` x `w` of the small pictures.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.batch import MASK, Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws, derive
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.shared.digest import as_indices

Ground: TypeAlias = Literal["black", "colored"]
"""A black canvas, or one of a color of its own in each scene, at most as bright as 0.4."""
_BRIGHTEST = 0.4


class Scattered(Source):
    """Scenes of a few small pictures that do not touch, each in a bright color, with masks in `extras["mask"]`.

    The canvas is cut into cells; every object lies anywhere in one of its own. A mask is 0 on the ground, and 1, 2, ...
    on the pixels of the objects that are at least as bright as a threshold.

    Args:
        source: grey pictures of bytes, `(1, h, w)`, bright on dark.
        scenes: N.
        side: S, pixels, at least as large as a picture.
        objects: fewest and most in a scene.
        ground: "black" or "colored".
        threshold: brightness from which a pixel is an object's, in (0, 1).
        seed: of pictures, places and colors.

    Raises:
        ConfigError: a setting out of range, or more objects than cells.
        DataError: other pictures than grey ones of bytes.
    """

    kind = "picture"

    def __init__(
        self,
        source: Source,
        scenes: int = 1000,
        *,
        side: int = 20,
        objects: tuple[int, int] = (2, 3),
        ground: Ground = "black",
        threshold: float = 0.3,
        seed: int = 0,
    ) -> None:
        if len(source.shape) != 3 or source.shape[0] != 1 or source[[0]].x.dtype != torch.uint8:
            raise DataError(f"only grey pictures (1, H, W) of bytes can be scattered, not samples of {source.shape}")
        if ground not in get_args(Ground):
            raise ConfigError(f"ground {ground!r} is unknown: {nearest(str(ground), get_args(Ground))}")
        if scenes < 1 or not 0 < threshold < 1:
            raise ConfigError(f"scenes must be at least 1, threshold in (0, 1), not {scenes!r}, {threshold!r}")
        rows, columns = side // source.shape[1], side // source.shape[2]
        if not 1 <= objects[0] <= objects[1] <= rows * columns:
            raise ConfigError(f"a canvas of {side} pixels has room for {rows * columns} objects, not for {objects}")
        self.source, self.side, self.most, self.ground, self.threshold = source, side, objects[1], ground, threshold
        self.name = f"{source.name}, scattered"
        self.origin = f"{source.name}, {objects[0]} to {objects[1]} in a scene on {ground} ground"
        draws = Draws(derive(seed, "scattered"), torch.arange(scenes))
        self._count = draws.integers(objects[0], objects[1] + 1, 1)[:, 0]
        self._picture = draws.integers(0, len(source), self.most)
        cell = draws.permutations(rows * columns)[:, : self.most]
        tall, wide = side // rows, side // columns
        room = torch.tensor([tall - source.shape[1] + 1, wide - source.shape[2] + 1])
        corner = torch.stack((cell // columns * tall, cell % columns * wide), 2)
        self._corner = corner + (draws.uniform(self.most, 2) * room).long()
        # Bright: one of three channels is full, so that no object is lost on the ground.
        color = draws.uniform(self.most, 3) * 0.8
        self._color = color.scatter(2, draws.integers(0, 3, self.most, 1), 1.0)
        self._ground = draws.uniform(3) * _BRIGHTEST * (ground == "colored")

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        return cls(ArraySource(torch.randint(0, 256, (6, 1, 3, 4), dtype=torch.uint8, generator=generator)), 5, side=9)

    def __len__(self) -> int:
        return len(self._count)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.side, self.side)

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"objects": self._count}

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        count = len(chosen)
        x = self._ground[chosen].view(count, 3, 1, 1).repeat(1, 1, self.side, self.side)
        mask = torch.zeros(count, self.side, self.side, dtype=torch.int64)
        small = self.source[self._picture[chosen].flatten()].x.float() / 255
        small = small.view(count, self.most, *small.shape[2:])
        down, across = (torch.arange(side) for side in small.shape[2:])
        scene = torch.arange(count)[:, None, None]
        for place in range(self.most):
            there = (self._count[chosen] > place).view(-1, 1, 1)
            top, left = self._corner[chosen, place].unbind(1)
            rows, columns = (top[:, None] + down)[:, :, None], (left[:, None] + across)[:, None]
            bright = small[:, place] * there
            color = self._color[chosen, place].view(count, 1, 1, 3)
            behind = x.permute(0, 2, 3, 1)[scene, rows, columns]
            x.permute(0, 2, 3, 1)[scene, rows, columns] = behind + (color - behind) * bright[..., None]
            label = torch.where((bright >= self.threshold) & there, place + 1, 0)
            mask[scene, rows, columns] = label
        pictures = (x * 255).round().to(torch.uint8)
        return Batch(pictures, chosen, extras={MASK: mask})

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return None: other scenes are read as they come."""
        return None

    def fingerprint(self) -> str:
        told = (self.source.fingerprint(), self.side, self.ground, self.threshold, self._count, self._picture)
        rest = (self._corner, self._color, self._ground)
        digest = blake2b(digest_size=16)
        for part in (*told, *rest):
            digest.update(part.numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode())
        return digest.hexdigest()
