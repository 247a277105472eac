"""Composites: small pictures pasted into larger ones, so that what a picture holds twice can be told apart.

Investigating the Benefits of Projection Head for Representation Learning (2024) puts digits on photos; so do studies of
which features a method suppresses.
"""

from dataclasses import replace
from hashlib import blake2b

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.random import permutation
from withstand.core.roles import Indices, Source
from withstand.data.shared.digest import as_indices


class Pasted(Source):
    """Pictures of one source with a picture of another pasted over one place, in random pairs.

    Labels are the pasted pictures' own, or those of the ground.

    Args:
        ground: the large pictures, `(C, H, W)`, uint8.
        stamps: the small ones, of as many channels or grey, uint8; each is used about equally often.
        top: of the place, pixels.
        left: of the place, pixels.
        scale: a whole factor by which stamps are enlarged.
        of_ground: labels are the ground's.
        seed: of the pairs.

    Raises:
        DataError: no uint8 pictures, other channels, or a stamp that does not fit into its place.
    """

    kind = "picture"

    def __init__(
        self,
        ground: Source,
        stamps: Source,
        *,
        top: int = 0,
        left: int = 0,
        scale: int = 1,
        of_ground: bool = False,
        seed: int = 0,
    ) -> None:
        for what, source in (("ground", ground), ("stamps", stamps)):
            if len(source.shape) != 3 or source[[0]].x.dtype != torch.uint8:
                raise DataError(f"{what} must be pictures (C, H, W) of bytes, not samples of shape {source.shape}")
        (channels, height, width), (few, tall, wide) = ground.shape, stamps.shape
        if few not in (1, channels):
            raise DataError(f"stamps of {few} channels do not fit pictures of {channels}: take grey ones")
        if scale < 1 or min(top, left) < 0 or top + scale * tall > height or left + scale * wide > width:
            raise DataError(
                f"stamps of {tall} x {wide} pixels, enlarged {scale} times, at ({top}, {left}) do not fit into "
                f"{height} x {width} pixels"
            )
        self.ground, self.stamps, self.of_ground = ground, stamps, of_ground
        self.name, self.origin = f"{stamps.name}-on-{ground.name}", f"{stamps.name} pasted on {ground.name}"
        self._scale, self._place = scale, (slice(top, top + scale * tall), slice(left, left + scale * wide))
        rounds = -(-len(ground) // len(stamps))
        orders = [permutation(len(stamps), seed, "pasted", str(number)) for number in range(rounds)]
        self._stamp = torch.cat(orders)[: len(ground)]

    def __len__(self) -> int:
        return len(self.ground)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        batch = self.ground[chosen]
        stamps = self.stamps[self._stamp[chosen]].x
        large = stamps.repeat_interleave(self._scale, 2).repeat_interleave(self._scale, 3)
        x = batch.x.clone()
        x[:, :, self._place[0], self._place[1]] = large
        labels = self.labels
        return replace(batch, x=x, y=None if labels is None else labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.ground.shape

    @property
    def labels(self) -> Tensor | None:
        if self.of_ground:
            return self.ground.labels
        return None if self.stamps.labels is None else self.stamps.labels[self._stamp]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.ground.classes if self.of_ground else self.stamps.classes

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Where stamps are: top, left, height, width."""
        rows, columns = self._place
        return rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start

    def fingerprint(self) -> str:
        state = blake2b(f"{self.ground.fingerprint()} {self.stamps.fingerprint()}".encode(), digest_size=16)
        state.update(repr((self.box, self.of_ground)).encode() + self._stamp.numpy().tobytes())
        return state.hexdigest()
