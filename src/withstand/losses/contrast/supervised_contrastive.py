"""Contrast by groups: rows of one group attract, all others repel.

Supervised Contrastive Learning (2020), the form with the mean outside the logarithm. With each sample's views as its
own group this is NT-Xent over any number of views.

Sizes: B rows on this process, N over all processes, K stored rows, D width.
"""

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather, total, world_size
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.temperature import Temperature, checked_temperature


@full_precision
def supervised_contrastive(
    z: Tensor,
    groups: Tensor,
    temperature: Temperature = 0.1,
    *,
    stored: Tensor | None = None,
    stored_groups: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """Return the mean over anchors of `-1/|P| sum_p log(exp(s_p) / sum_a exp(s_a))`, a over all other rows, 0-d.

    P are the anchor's group but itself. Anchors without any are left out; with none at all the loss is 0. Gradients
    flow through both sides, and are those of the global batch.

    Args:
        z: embeddings `(B, D)`, unnormalised.
        groups: int64 `(B,)`.
        temperature: tau, above 0.
        stored: further rows to compare with `(K, D)`, no anchors; the same on every process.
        stored_groups: their groups `(K,)`.
        kept: which rows count, bool `(B,)`; the others are neither anchors nor compared with. None for all.
    """
    temperature = checked_temperature(temperature)
    if z.dim() != 2 or groups.shape != z.shape[:1]:
        raise DataError(f"each of {tuple(z.shape)} embeddings needs a group, not {tuple(groups.shape)} of them")
    if kept is not None and (kept.shape != groups.shape or kept.dtype != torch.bool):
        raise DataError(f"kept must be bool {tuple(groups.shape)}, not {kept.dtype} {tuple(kept.shape)}")
    unit = unit_rows(z)
    keys, key_groups = gather(unit), gather(groups)
    itself = torch.arange(len(z), device=z.device)
    itself = itself + first_row(len(z))
    if stored is not None and stored_groups is not None:
        keys, key_groups = torch.cat([keys, unit_rows(stored)]), torch.cat([key_groups, stored_groups])
    if len(keys) < 2:
        return unit.sum() * 0  # nothing to compare with
    same = (groups[:, None] == key_groups[None]).scatter(1, itself[:, None], False)
    similarity = unit @ keys.T / temperature
    compared = similarity.scatter(1, itself[:, None], -torch.inf)
    if kept is not None:
        key_kept = torch.cat([gather(kept), kept.new_ones(len(keys) - len(z) * world_size())])
        same = same & kept[:, None] & key_kept
        # A row that is no anchor may have nothing left to compare with: its log-sum-exp is not asked for.
        compared = torch.where(key_kept | ~same.any(1, keepdim=True), compared, -torch.inf)
    others = compared.logsumexp(1)
    positives = same.sum(1)
    mean = (similarity * same).sum(1) / positives.clamp_min(1)
    anchors = positives > 0
    values = torch.where(anchors, others - mean, 0)
    count = total(anchors.sum().to(values)).clamp_min(1)
    return values.sum() * (world_size() / count)
