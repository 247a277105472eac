"""Hard negatives made by mixing: of a query's hardest keys with each other, and with the query itself.

Hard Negative Mixing for Contrastive Learning (MoCHi, 2020).

Sizes: B queries, K queued keys, D projection width.
"""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.losses.precision import full_precision, unit_rows


@full_precision
@torch.no_grad()
def mix_hard_negatives(
    queries: Tensor, queue: Tensor, draws: Draws, *, hardest: int, pairs: int, with_query: int
) -> Tensor:
    """Return each query's synthetic negatives, of unit length, `(B, pairs + with_query, D)`; constants to gradients.

    `a n_i + (1 - a) n_j`, a uniform in [0, 1], of two of the query's hardest keys (i may be j); then
    `b q + (1 - b) n_j`, b uniform in [0, 1/2], so that the key prevails.

    Args:
        queries: `(B, D)`, of unit length.
        queue: keys of unit length, `(K, D)`.
        draws: B streams.
        hardest: N, how many keys are mixed; at most K are taken.
        pairs: s, mixtures of two keys.
        with_query: s', mixtures with the query.
    """
    if hardest < 1 or pairs < 0 or with_query < 0:
        raise ConfigError(
            "hardest must be at least 1, pairs and with_query at least 0, "
            f"not {hardest!r}, {pairs!r} and {with_query!r}"
        )
    count = min(hardest, len(queue))
    near = (queries @ queue.T).topk(count, dim=1).indices
    places = draws.integers(0, count, 2 * pairs + with_query)
    # Only the keys that were drawn are gathered: (B, N, D) of all the hardest would be a hundred times as much.
    keys = queue[near.gather(1, places)]
    one, two, three = torch.split(keys, [pairs, pairs, with_query], dim=1)
    share = draws.uniform(pairs + with_query)[:, :, None].to(queries.dtype)
    first, second = share[:, :pairs], share[:, pairs:] / 2
    mixed = torch.cat([first * one + (1 - first) * two, second * queries[:, None] + (1 - second) * three], dim=1)
    return unit_rows(mixed.flatten(0, 1)).view_as(mixed)
