"""ColloSSL: what other devices on the same body record at the same time is the view of a device's window.

paper: ColloSSL: Collaborative Self-Supervised Learning for Human Activity Recognition (Jain, Tang, Min, Kawsar, Mathur;
    IMWUT 2022)
needs: windows of several devices, batches of one user            modalities: sensor windows
sizes: B windows on this process, N over all, D devices, C channels, T readings
differences: the official code takes Keras' cosine similarity, which is minus the cosine, so that as written it pushes
    aligned windows apart; here cosines have the paper's sign, and `published_sign` brings the code's back. Windows at
    another time are drawn by a cycle through the batch, so that none meets its own time; the code's plain shuffle lets
    one in N do so. Devices are chosen anew in every batch (the code's "dynamic" mode); its "static" one is not here.
    The MMD comes out of one Gram matrix, over all processes' windows.
"""

from collections.abc import Sequence
from typing import Self, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import isolated
from withstand.core.roles import Method, Source, Terms
from withstand.data.derived.group_batches import same_group_batches
from withstand.data.windows.ranges import norms
from withstand.data.windows.source import USER, WindowSource
from withstand.losses.contrast.explicit import group_info_nce
from withstand.losses.precision import unit_rows
from withstand.methods.shared.device_selection import Strategy, distances_to, group_weights, select
from withstand.methods.shared.pairs import require_positive
from withstand.models.windows.tpn import AnchorEncoder


class ColloSSL(Method):
    """Group contrastive learning over devices. Reads view 0 of a batch (its samples where there are no views).

    Args:
        encoder: shared by all devices; its anchor is the device that is learnt for.
        acceleration: the channels whose length tells how near two devices are, whichever way they are turned.
        users: how many windows each user has, as they stand one user after another; none where all are one user's.
            Batches hold windows of one user.
        selection: which devices attract and repel, see `methods.shared.device_selection.select`.
        temperature: tau.
        weighted: weigh negative devices by the inverse of their distance.
        largest_weight: bound of a negative's weight over a positive's; None for none, as published: then a device that
            is nearly like the anchor, at distance 1e-4, drowns the positive.
        negatives: windows at another time of each negative device, for each anchor.
        published_sign: take minus the cosine, as the official code does.
    """

    encoder: AnchorEncoder

    def __init__(
        self,
        encoder: AnchorEncoder,
        *,
        acceleration: Sequence[int] = (0, 1, 2),
        users: Sequence[int] = (),
        selection: Strategy = "closest_pos_all_neg",
        temperature: float = 0.05,
        weighted: bool = True,
        largest_weight: float | None = None,
        negatives: int = 1,
        published_sign: bool = False,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, negatives=negatives)
        if largest_weight is not None:
            require_positive(largest_weight=largest_weight)
        if selection not in get_args(Strategy):
            raise ConfigError(f"selection {selection!r} is unknown: {nearest(selection, get_args(Strategy))}")
        if not acceleration:
            raise ConfigError("acceleration names no channel: at least one is needed")
        self.encoder, self.acceleration, self.users = encoder, tuple(acceleration), tuple(users)
        self.selection: Strategy = selection
        self.temperature, self.weighted, self.largest_weight = temperature, weighted, largest_weight
        self.negatives, self.published_sign = negatives, published_sign

    @classmethod
    def example(cls) -> Self:
        return cls(AnchorEncoder.example())

    def example_batch(self, rows: range = range(8)) -> Batch:
        return WindowSource.example()[rows]

    def accept(self, source: Source, batch: int) -> None:
        if len(source.shape) != 3:
            raise DataError(f"ColloSSL learns from windows (devices, channels, readings), not {source.shape}")
        devices = source.shape[0]
        if not self.encoder.anchor < devices:
            raise ConfigError(f"the anchor is device {self.encoder.anchor}, and there are {devices} (from 0 on)")
        select([0.0] * devices, self.encoder.anchor, self.selection)  # refuses too few devices
        if max(self.acceleration) >= source.shape[1]:
            raise ConfigError(f"acceleration names channel {max(self.acceleration)} of {source.shape[1]} (from 0 on)")
        whose = source.attributes.get(USER, torch.zeros(len(source), dtype=torch.int64))
        counts = torch.unique_consecutive(whose, return_counts=True)[1].tolist()
        if counts != list(self.users or (len(source),)):
            raise ConfigError(f"users must be {tuple(counts)}, the windows of each user in turn, not {self.users}")
        if max(counts) < batch:
            raise DataError(
                f"batch {batch} is larger than any user's windows, {max(counts)} at most: batches hold one user's, so "
                f"use --batch {max(counts)} or less"
            )

    def order(self, order: Tensor, batch: int) -> Tensor:
        """Return batches of one user's windows each; where a pass over the users has too few, another follows."""
        whose = torch.arange(len(self.users) or 1).repeat_interleave(torch.tensor(self.users or (len(order),)))
        wanted = len(order) // batch
        passes: list[Tensor] = []
        while sum(map(len, passes)) < wanted:
            turned = order.roll(len(passes) * (len(order) // 3 + 1))
            passes.append(same_group_batches(turned, whose, batch, small="skip"))
        return torch.cat(passes)[:wanted].flatten()

    def step(self, batch: Batch) -> Terms:
        """Return the loss; the mean cosine of the anchor with the positive, and with negatives; the closest device."""
        x = batch.views[0] if batch.views else batch.x
        anchor = self.encoder.anchor
        with torch.no_grad():
            distances = distances_to(gather(norms(x, self.acceleration)), anchor)
        positive, negative = select(distances.tolist(), anchor, self.selection)
        used = sorted({anchor, *positive, *negative})
        with isolated():  # dropout draws from the global generator, which the engine sets for each step
            found = dict(zip(used, self.encoder.devices(x, used), strict=True))
        near = torch.stack([found[place] for place in positive])
        far = torch.stack(self._elsewhere(batch, found, negative))
        weights = group_weights(distances, negative, self.largest_weight) if self.weighted else None
        own = -found[anchor] if self.published_sign else found[anchor]
        loss = group_info_nce(
            own,
            near,
            far,
            self.temperature,
            positive_weights=None if weights is None else weights[0].expand(len(near)),
            negative_weights=None if weights is None else weights[1].repeat_interleave(self.negatives),
        )
        with torch.no_grad():
            one = unit_rows(found[anchor].float())
            alike, unlike = (
                torch.stack([(one * unit_rows(other.float())).sum(1).mean() for other in group]).mean()
                for group in (near, far)
            )
        return {
            "loss": loss,
            "aligned": alike,
            "misaligned": unlike,
            "closest": torch.tensor(float(positive[0]), device=x.device),
            "embeddings": torch.stack([found[anchor], near[0]]).detach(),
        }

    def _elsewhere(self, batch: Batch, found: dict[int, Tensor], negative: Sequence[int]) -> list[Tensor]:
        """Return windows of the negative devices at other times than the anchors', `(B, F)` each."""
        chosen = []
        for place in negative:
            whole = gather(found[place])
            for copy in range(self.negatives):
                other = derangement(batch, len(whole), f"negatives {place} {copy}")
                mine = first_row(len(batch))
                chosen.append(whole[other[mine : mine + len(batch)].to(whole.device)])
        return chosen


def derangement(batch: Batch, count: int, name: str) -> Tensor:
    """Return a random cycle through `count` rows, the same on every process: no row stays where it is, int64 `(N,)`."""
    cycle = batch.draws_for_all(name).permutations(count)[0]
    return torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(-1))
