"""G^D: slices of volumes at one depth are alike, whoever they are of.

paper: Contrastive learning of global and local features for medical image segmentation with limited annotations (2020)
needs: slices of volumes; one or two views        modalities: volumes
sizes: B slices, m volumes of S partitions a batch, D projection width
differences: the mean over all pairs, as in the paper, in place of the code's sum over 3B or 4B; pairs across volumes by
    their places in the batch, where the code finds them modulo the batch and leaves its last third empty; partitions
    that differ by one slice where they do not divide a volume, whose rest the code leaves out
"""

from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Method, Source, Terms
from withstand.data.volumes.batches import volume_batches
from withstand.data.volumes.slices import partitions_of
from withstand.losses.contrast.explicit import masked_info_nce
from withstand.methods.shared.by_volume import (
    EXAMPLE,
    example_slices,
    partner_rows,
    volumes_in_batches,
)
from withstand.methods.shared.pairs import require_positive
from withstand.methods.shared.whole_batches import refuse_odd_batch
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.dense.unet import UNetEncoder

Global: TypeAlias = Literal["gd", "gd-", "gr"]
_VIEWS = {"gd": 1, "gd-": 2, "gr": 2}


class GlobalContrast(Method):
    """Contrast of whole slices, with what their depth says of who is alike.

    Args:
        encoder: the way down of a U-Net.
        slices: how many each volume has, in the order of the data.
        side: of slices, pixels.
        partitions: S, into how many parts the depth is cut.
        loss: "gd" draws slices of one partition of two volumes together, "gd-" only keeps them from being negatives,
            "gr" knows nothing of depth.
        hidden: width of the head's hidden layer.
        dim: D.
        temperature: tau.
    """

    encoder: UNetEncoder
    depths: Tensor

    def __init__(
        self,
        encoder: UNetEncoder,
        *,
        slices: tuple[int, ...],
        side: int = 64,
        partitions: int = 4,
        loss: Global = "gd",
        hidden: int = 1024,
        dim: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if loss not in get_args(Global):
            raise ConfigError(f"loss {loss!r} is unknown: {nearest(str(loss), get_args(Global))}")
        require_positive(partitions=partitions, temperature=temperature)
        unit = 2 ** (len(encoder.channels) - 1)
        if side < unit or side % unit:
            raise ConfigError(f"side must be a multiple of {unit}, which the levels halve it by, not {side!r}")
        self.encoder, self.slices, self.partitions = encoder, tuple(slices), partitions
        self.loss, self.temperature = loss, temperature
        flat = encoder.width * (side // unit) ** 2
        self.projection = ProjectionHead(flat, hidden, dim, batch_norm=False, last_bias=False)
        self.register_buffer("depths", partitions_of(self.slices, partitions)[1], persistent=False)

    @classmethod
    def example(cls) -> Self:
        return cls(UNetEncoder.example(), slices=EXAMPLE, side=16, hidden=12, dim=10)

    def example_batch(self, rows: range = range(8)) -> Batch:
        return example_slices(rows)

    def accept(self, source: Source, batch: int) -> None:
        most = volumes_in_batches(source, self.slices, self.partitions) * self.partitions
        if self.loss == "gr":
            return
        unit, what = (2 * self.partitions, "pairs of volumes") if self.loss == "gd" else (self.partitions, "volumes")
        refuse_odd_batch(batch, unit, unit, most, f"{what} with a slice from each of {self.partitions} partitions")

    def order(self, order: Tensor, batch: int) -> Tensor:
        return order if self.loss == "gr" else volume_batches(order, self.slices, self.partitions, batch)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the mean cosine of slices with their own view, `positive`."""
        if len(batch.views) < _VIEWS[self.loss]:
            raise DataError(f"{self.loss} needs {_VIEWS[self.loss]} views of each slice, not {len(batch.views)}")
        seen = batch.views[: _VIEWS[self.loss]]
        kinds = [unit_range(view) for view in (seen if self.loss == "gr" else (batch.x, *seen))]
        maps = self.encoder.maps(torch.cat(kinds))
        z = self.projection(maps[-1].flatten(1)).view(len(kinds), len(batch), -1)
        positive, negative = self._masks(batch, len(kinds))
        keys = torch.cat([gather(one) for one in z])
        embeddings = z.detach()
        return {
            "loss": masked_info_nce(z.flatten(0, 1), keys, positive, negative, self.temperature),
            "positive": cosine_similarity(embeddings[0].float(), embeddings[1].float()).mean(),
            "embeddings": embeddings,
        }

    def _masks(self, batch: Batch, kinds: int) -> tuple[Tensor, Tensor]:
        """Return which keys, of all processes, attract and repel each anchor of this one, kind after kind."""
        depths = gather(self.depths[batch.index])
        count, device = len(depths), depths.device
        mine = torch.arange(len(batch), device=device) + first_row(len(batch))
        kind = torch.arange(kinds, device=device)
        anchor_kind, anchor = kind.repeat_interleave(len(mine))[:, None], mine.repeat(kinds)[:, None]
        key_kind, key = kind.repeat_interleave(count)[None], torch.arange(count, device=device).repeat(kinds)[None]
        own = anchor == key
        positive = own & (anchor_kind != key_kind)
        if self.loss == "gr":
            return positive, ~own
        if self.loss == "gd":
            # Batches of one's own making have pairs only where rows of one partition lie as `order` puts them.
            partner = partner_rows(count, self.partitions).to(device)
            positive |= (partner[anchor] == key) & (anchor_kind == key_kind) & (depths[anchor] == depths[key])
        return positive, depths[anchor] != depths[key]
