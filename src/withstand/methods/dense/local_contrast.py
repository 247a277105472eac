"""L^R, L^D: a region of a slice is told from those beside it, whatever its brightness and contrast.

paper: Contrastive learning of global and local features for medical image segmentation with limited annotations (2020)
needs: two views whose pixels lie where the slice's do        modalities: volumes, pictures
sizes: B slices, l decoder blocks, K a region's side, A regions
differences: neighbours are the five nearest points of the lattice, where the code has tables written by hand; the
    encoder's batch normalisation is frozen with its weights, where the code's statistics go on moving
"""

from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Method, Source, Terms
from withstand.data.volumes.batches import volume_batches
from withstand.losses.contrast.local import anchor_points, local_contrast, nearest_points, regions
from withstand.methods.shared.by_volume import (
    EXAMPLE,
    example_slices,
    other_slots,
    volumes_in_batches,
)
from withstand.methods.shared.pairs import require_positive, view_pair
from withstand.methods.shared.whole_batches import refuse_odd_batch
from withstand.models.dense.unet import UNet, UNetDecoder, UNetEncoder, pixel_head

Local: TypeAlias = Literal["lr", "ld"]
_ACROSS = 2
"""Other volumes whose regions are positives."""
_FEW = 4
"""Neighbours that repel a region where other volumes attract it."""


class LocalContrast(Method):
    """Contrast of regions on a decoder's map, over an encoder that stays as it is.

    Args:
        encoder: the way down, as an earlier stage learnt it.
        decoder: the way up, whose first blocks are trained.
        slices: how many each volume has, in the order of the data; for the loss "ld".
        blocks: l, how many.
        size: K, 3 or 1.
        anchors: A, 13 or 9.
        loss: "lr" knows a slice's own two views; to "ld" the same region of two other volumes' slices of one partition
            is a positive too.
        partitions: S.
        temperature: tau.
        frozen: keep the encoder as it is.
    """

    encoder: UNetEncoder

    def __init__(
        self,
        encoder: UNetEncoder,
        decoder: UNetDecoder,
        *,
        slices: tuple[int, ...] = (),
        blocks: int = 3,
        size: Literal[1, 3] = 3,
        anchors: Literal[9, 13] = 13,
        loss: Local = "lr",
        partitions: int = 4,
        temperature: float = 0.1,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        if loss not in get_args(Local):
            raise ConfigError(f"loss {loss!r} is unknown: {nearest(str(loss), get_args(Local))}")
        if not 1 <= blocks < len(encoder.channels):
            raise ConfigError(f"blocks must lie between 1 and {len(encoder.channels) - 1}, not {blocks!r}")
        require_positive(temperature=temperature, partitions=partitions)
        self.encoder, self.decoder, self.frozen = encoder, decoder, frozen
        self.slices, self.blocks, self.size, self.loss = tuple(slices), blocks, size, loss
        self.partitions, self.temperature = partitions, temperature
        self.anchors = anchor_points(anchors)
        self.near = nearest_points(self.anchors)
        self.pixels = pixel_head(encoder.channels[-1 - blocks])
        encoder.requires_grad_(not frozen).train(not frozen)
        for place, (narrow, joined) in enumerate(zip(decoder.narrow, decoder.joined, strict=True)):
            if place >= blocks:  # of no use to the loss: fine-tuning begins them anew
                narrow.requires_grad_(False)
                joined.requires_grad_(False)

    @classmethod
    def example(cls) -> Self:
        return cls(UNetEncoder.example(), UNetDecoder.example(), slices=EXAMPLE, blocks=2)

    def example_batch(self, rows: range = range(8)) -> Batch:
        return example_slices(rows)

    def accept(self, source: Source, batch: int) -> None:
        if len(source.shape) != 3:
            raise DataError(f"local contrast takes pictures or slices (C, H, W), not samples of shape {source.shape}")
        side = min(source.shape[1:]) >> (len(self.encoder.channels) - 1 - self.blocks)
        if side < 12:
            raise ConfigError(
                f"the map behind {self.blocks} blocks has {side} cells a side, and regions need 12: use more blocks, "
                "or larger slices"
            )
        if self.loss == "ld":
            most = volumes_in_batches(source, self.slices, self.partitions, 3) * self.partitions
            whole = f"three volumes or more, each with a slice from {self.partitions} partitions"
            refuse_odd_batch(batch, self.partitions, 3 * self.partitions, most, whole)

    def inherit(self, earlier: Method) -> None:
        if not isinstance(earlier.encoder, UNetEncoder) or earlier.encoder.channels != self.encoder.channels:
            raise ConfigError("local contrast builds on a U-Net's encoder of the same channels")
        self.encoder.load_state_dict(earlier.encoder.state_dict())

    def order(self, order: Tensor, batch: int) -> Tensor:
        return order if self.loss == "lr" else volume_batches(order, self.slices, self.partitions, batch)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the mean cosine of a region with itself in the other view, `positive`."""
        found = self.regions(torch.cat(view_pair(batch)))
        one, other = found.chunk(2)
        chosen = list(self.anchors)
        positive = (one.detach()[:, chosen] * other.detach()[:, chosen]).sum(2).mean()
        near = self.near if self.loss == "lr" else tuple(points[:_FEW] for points in self.near)
        losses = [local_contrast(one, other, self.anchors, near, self.temperature)]
        if self.loss == "ld":
            everyone = gather(one)
            mine = torch.arange(len(one), device=one.device) + first_row(len(one))
            for shift in range(1, _ACROSS + 1):
                rows = other_slots(len(everyone), self.partitions, shift).to(mine.device)[mine]
                losses.append(local_contrast(one, everyone[rows], self.anchors, near, self.temperature))
        return {"loss": torch.stack(losses).mean(), "positive": positive}

    def regions(self, x: Tensor) -> Tensor:
        """Return the regions of slices at the lattice's points, of unit length, `(B, L, K*K*C)`."""
        return regions(self.pixels(self.decoder(self.encoder.maps(x), self.blocks)), self.size)

    def dense(self) -> UNet:
        """Return the U-Net, whose blocks that were not trained are as they were made."""
        return UNet(self.encoder, self.decoder)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but a frozen encoder, which stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self
