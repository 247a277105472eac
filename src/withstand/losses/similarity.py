"""Log-sum-exp of similarities, row by row, without the matrix of all similarities.

R queries and K keys of width D have R x K similarities: 4 GiB for R = K = 32,768 in float32. Rows are
taken in stripes that stay in the cache; the backward pass recomputes them. Both passes are exact.
"""


import torch
from torch import Tensor

from withstand.losses.precision import full_precision


@full_precision
def similarity_logsumexp(queries: Tensor, keys: Tensor, temperature: float, exclude: Tensor) -> Tensor:
    """Return `log sum_j exp(<q_i, k_j> / temperature)` over the keys that row i does not exclude, `(R,)`.

    Args:
        queries: `(R, D)`.
        keys: `(K, D)`.
        temperature: tau, above 0.
        exclude: columns left out of each row, int64 `(R, k)`; k may be 0.
    """
    similarity = (queries @ keys.T / temperature).scatter(1, exclude, -torch.inf)
    return similarity.logsumexp(1)
