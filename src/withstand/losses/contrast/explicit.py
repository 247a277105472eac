"""InfoNCE with its pairs said one by one: which rows attract, which repel, which count for neither.

Masked: any contrast in which some rows are neither positives nor negatives, as two slices of the same place in two
    volumes, an item met twice in a batch, or a picture's own further views.
Group: ColloSSL: Collaborative Self-Supervised Learning for Human Activity Recognition (2022), its weighted multi-view
    contrastive loss, with the sums inside the logarithm.

Sizes: B anchors on this process, K keys, P positives and N negatives of every anchor, D width. Embeddings come
unnormalised and are normalised here, once. Keys are taken as given: over several processes, gather them first
(`core.distributed.gather`), and gradients are those of the global batch.
"""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.temperature import Temperature, checked_temperature

Pairs: TypeAlias = Literal["each", "together"]
"""Whether every positive is a task of its own, or all of an anchor's stand in one sum."""


@full_precision
def masked_info_nce(
    queries: Tensor,
    keys: Tensor,
    positive: Tensor,
    negative: Tensor,
    temperature: Temperature = 0.1,
    *,
    pairs: Pairs = "each",
    offset: Tensor | None = None,
) -> Tensor:
    """Return InfoNCE in one direction, from anchors to keys, over the pairs that the masks name, 0-d.

    With pairs "each" the mean over anchors i of the mean over their positives p of
    `-log(exp(s_ip) / (exp(s_ip) + sum_n exp(s_in)))`; with "together" the mean of
    `-log(sum_p exp(s_ip) / (sum_p exp(s_ip) + sum_n exp(s_in)))`. Keys that neither mask names do not enter. Anchors
    without a positive are left out; with none at all the loss is 0.

    Args:
        queries: the anchors `(B, D)`, unnormalised.
        keys: `(K, D)`, unnormalised.
        positive: which keys each anchor has to find, bool `(B, K)`.
        negative: from which others, bool `(B, K)`.
        temperature: tau, above 0.
        pairs: "each" or "together".
        offset: what is taken off every key's similarity over temperature, `(K,)`: the logarithm of its chance to be
            in the batch (logQ correction), say.

    Raises:
        DataError: shapes that do not fit, or a key that is both positive and negative to an anchor.
    """
    temperature = checked_temperature(temperature)
    wanted = (len(queries), len(keys))
    if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1]:
        raise DataError(f"anchors (B, D) and keys (K, D) are needed, not {(*queries.shape,)} and {(*keys.shape,)}")
    masks = (positive, negative)
    if any(mask.shape != wanted or mask.dtype != torch.bool for mask in masks):
        given = " and ".join(f"{str(mask.dtype).removeprefix('torch.')} {(*mask.shape,)}" for mask in masks)
        raise DataError(f"masks must be bool {wanted}, not {given}")
    if bool((positive & negative).any()):
        raise DataError("a key cannot be positive and negative to one anchor")
    if pairs not in get_args(Pairs):
        raise ConfigError(f"pairs {pairs!r} is unknown: {nearest(str(pairs), get_args(Pairs))}")
    similarity = unit_rows(queries) @ unit_rows(keys).T / temperature
    if offset is not None:
        similarity = similarity - offset.to(similarity)
    counts = positive.sum(1)
    anchors = counts > 0
    others = _over(similarity, negative, anchors)
    if pairs == "together":
        attracted = _over(similarity, positive, anchors)
        values = torch.logaddexp(attracted, others) - attracted
    else:
        tasks = torch.logaddexp(similarity[anchors], others[:, None]) - similarity[anchors]
        values = torch.where(positive[anchors], tasks, 0).sum(1) / counts[anchors]
    return mean_of_all(values) if len(values) else mean_of_all(similarity.sum(1)[:0]) + similarity.sum() * 0


@full_precision
def group_info_nce(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: Temperature = 0.05,
    *,
    positive_weights: Tensor | None = None,
    negative_weights: Tensor | None = None,
) -> Tensor:
    """Return the weighted multi-view contrastive loss of anchors that have P positives and N negatives each, 0-d.

    The mean over anchors i of `-log(sum_p w_p exp(s_ip) / (sum_p w_p exp(s_ip) + sum_n w_n exp(s_in)))`, s the cosine
    over tau. A common factor of all weights changes nothing.

    Args:
        anchors: `(B, D)`, unnormalised.
        positives: each anchor's, `(P, B, D)`.
        negatives: each anchor's, `(N, B, D)`.
        temperature: tau, above 0.
        positive_weights: w_p, at least 0 and not all 0, `(P,)`; None for 1 each.
        negative_weights: w_n, at least 0, `(N,)`; None for 1 each.

    Raises:
        DataError: shapes that do not fit, no positives, or weights below 0.
    """
    temperature = checked_temperature(temperature)
    if anchors.dim() != 2 or any(group.shape[1:] != anchors.shape for group in (positives, negatives)):
        raise DataError(
            f"anchors (B, D) need positives (P, B, D) and negatives (N, B, D), not {(*anchors.shape,)}, "
            f"{(*positives.shape,)} and {(*negatives.shape,)}"
        )
    if not len(positives):
        raise DataError("a contrast needs a positive for each anchor")
    unit = unit_rows(anchors)
    attracted, repelled = (
        torch.stack([(unit * unit_rows(one)).sum(1) for one in group]) / temperature + _logs(weights, group)
        if len(group)
        else unit.new_full((1, len(unit)), -torch.inf)
        for group, weights in ((positives, positive_weights), (negatives, negative_weights))
    )
    near = attracted.logsumexp(0)
    return (torch.cat([attracted, repelled]).logsumexp(0) - near).mean()


def _over(similarity: Tensor, mask: Tensor, anchors: Tensor) -> Tensor:
    """Return the log-sum-exp over the keys that a mask names, of the chosen anchors; minus infinity without any."""
    chosen = similarity[anchors]
    kept = mask[anchors]
    found = torch.where(kept, chosen, -torch.inf)
    # A row of minus infinities has no gradient but NaN: it is answered without one.
    some = kept.any(1)
    safe = torch.where(some[:, None], found, 0)
    return torch.where(some, safe.logsumexp(1), -torch.inf)


def _logs(weights: Tensor | None, group: Tensor) -> Tensor:
    """Return the logarithms of weights, `(G, 1)`."""
    if weights is None:
        return group.new_zeros(len(group), 1)
    if weights.shape != (len(group),) or bool((weights < 0).any()) or not bool(weights.isfinite().all()):
        raise DataError(f"weights must be {len(group)} numbers of at least 0, not {weights.tolist()}")
    return weights.to(group).log()[:, None]
