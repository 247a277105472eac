"""Triplets on the cosine: what belongs together must be nearer, by a margin, than what does not.

Learning from videos: Unsupervised Learning of Visual Representations using Videos (2015), Transitive Invariance for
Self-supervised Visual Representation Learning (2017). Distances are 1 - cosine, in [0, 2].
"""

import torch
from torch import Tensor
from torch.nn.functional import relu

from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision, unit_rows


@full_precision
def cosine_triplet(
    anchors: Tensor,
    keys: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 0.5,
    count: int = 4,
    preference: Tensor | None = None,
) -> Tensor:
    """Return the mean over positive pairs of the mean over negatives of `max(0, D(a, p) - D(a, n) + margin)`, 0-d.

    An anchor's negatives are the `count` that come first in preference of those that it may have; all where there are
    fewer. Pairs whose anchor has none are left out; without any pair the loss is 0. Each pair's loss lies in
    [0, 2 + margin]; where positives and negatives are the same it is the margin.

    Args:
        anchors: `(B, D)`, unnormalised; a row of zeros is at distance 1 from everything.
        keys: `(K, D)`, unnormalised.
        positive: which keys belong to each anchor, bool `(B, K)`.
        negative: which it may be compared with, bool `(B, K)`.
        margin: above 0.
        count: of negatives, at least 1.
        preference: the highest come first, `(B, K)`, random numbers say; None takes the hardest, the nearest keys.

    Raises:
        DataError: shapes that do not fit, or a key that is positive and negative to one anchor.
        ConfigError: a margin or a count out of range.
    """
    if not margin > 0 or count < 1:
        raise ConfigError(f"margin must be above 0 and count at least 1, not {margin!r} and {count!r}")
    wanted = (len(anchors), len(keys))
    if positive.shape != wanted or negative.shape != wanted or bool((positive & negative).any()):
        raise DataError(f"masks must be bool {wanted}, and no key both positive and negative")
    distance = 1 - unit_rows(anchors) @ unit_rows(keys).T
    order = -distance.detach() if preference is None else preference.to(distance.dtype)
    chosen = order.masked_fill(~negative, -torch.inf).topk(min(count, len(keys)), 1).indices
    real = negative.gather(1, chosen)
    rows, places = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
    gaps = relu(distance[rows, places][:, None] - distance.gather(1, chosen)[rows] + margin) * real[rows]
    return mean_of_all(gaps.sum(1) / real[rows].sum(1)) + distance.sum() * 0
