"""Log-sum-exp of similarities, row by row, without the matrix of all similarities.

R queries and K keys have R x K similarities: 4 GiB for R = K = 32,768 in float32. They are taken in stripes of
rows small enough for the cache; the backward pass computes them again. Both passes are exact.

Sizes: R rows, K keys, D their width, k excluded columns a row.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from withstand.losses.precision import full_precision
from withstand.losses.temperature import Temperature

# How large exponents may grow without a shift by the row's maximum. Sums of exp(50) times 1e7, and their
# inverses times gradients of 1e-8, stay well inside float32's normal numbers; likewise for float64.
_LARGEST_EXPONENT = {torch.float32: 50.0, torch.float64: 500.0}


@full_precision
def similarity_logsumexp(queries: Tensor, keys: Tensor, temperature: Temperature, exclude: Tensor) -> Tensor:
    """Return `log sum_j exp(<q_i, k_j> / temperature)` over the keys that row i does not exclude, `(R,)`.

    Args:
        queries: `(R, D)`.
        keys: `(K, D)`.
        temperature: tau, above 0; a learnable one gets its gradient.
        exclude: columns left out of each row, int64 `(R, k)`; k may be 0, and some key must remain.
    """
    found: Tensor = _Similarity.apply(queries, keys, temperature, exclude)
    return found


@full_precision
def pairwise_logsumexp(points: Tensor, temperature: Temperature, exclude: Tensor) -> Tensor:
    """Return `log sum_j exp(<p_i, p_j> / temperature)` over the other points that i does not exclude, `(R,)`.

    The matrix is symmetric, so that half of it is enough: about twice as fast as `similarity_logsumexp`.

    Args:
        points: rows of length at most 1, `(R, D)`.
        temperature: tau, above 0; a learnable one gets its gradient.
        exclude: columns left out of each row besides itself, int64 `(R, k)`. Exclusion must be mutual: when row
            i excludes j, row j excludes i.
    """
    exclude = torch.cat([torch.arange(len(points), device=points.device)[:, None], exclude], dim=1)
    if 1 / temperature > _LARGEST_EXPONENT[points.dtype]:
        return similarity_logsumexp(points, points, temperature, exclude)
    found: Tensor = _Pairwise.apply(points, temperature, exclude)
    return found


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, temperature: Temperature, exclude: Tensor) -> Tensor:
        scaled = queries / temperature
        result = queries.new_empty(len(queries))
        for rows, similarity in _stripes(scaled, keys, exclude):
            largest = similarity.amax(1)
            result[rows] = similarity.sub_(largest[:, None]).exp_().sum(1).log_().add_(largest)
        ctx.save_for_backward(queries, keys, _as_tensor(temperature, queries), exclude, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        queries, keys, temperature, exclude, result = ctx.saved_tensors
        scaled = queries / temperature
        for_queries, for_keys, for_temperature, _ = ctx.needs_input_grad
        to_queries = torch.empty_like(queries) if for_queries or for_temperature else None
        to_keys = torch.zeros_like(keys) if for_keys else None
        with torch.autocast(queries.device.type, enabled=False):
            for rows, similarity in _stripes(scaled, keys, exclude):
                share = similarity.sub_(result[rows, None]).exp_().mul_(gradient[rows, None])
                if to_queries is not None:
                    to_queries[rows] = (share @ keys).div_(temperature)
                if to_keys is not None:
                    to_keys.addmm_(share.T, scaled[rows])
        # Queries and temperature enter as their quotient alone: tau dL/dtau = -<q, dL/dq>.
        to_temperature = None
        if for_temperature and to_queries is not None:
            to_temperature = -(queries * to_queries).sum() / temperature
        return to_queries if for_queries else None, to_keys, to_temperature, None


def _stripes(scaled: Tensor, keys: Tensor, exclude: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Give the similarities stripe by stripe, minus infinity where excluded, in one buffer used again and again."""
    height = _height(len(keys), scaled.device)
    buffer = scaled.new_empty(min(height, len(scaled)), len(keys))
    for first in range(0, len(scaled), height):
        rows = slice(first, min(first + height, len(scaled)))
        similarity = torch.mm(scaled[rows], keys.T, out=buffer[: rows.stop - first])
        yield rows, similarity.scatter_(1, exclude[rows], -torch.inf)


class _Pairwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, temperature: Temperature, exclude: Tensor) -> Tensor:
        sums = points.new_zeros(len(points))
        for rows, below, exponential in _half_stripes(points, temperature, exclude):
            sums[rows] += exponential.sum(1)
            sums[below] += exponential[:, rows.stop - rows.start :].sum(0)
        result = sums.log_()
        ctx.save_for_backward(points, _as_tensor(temperature, points), exclude, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        points, temperature, exclude, result = ctx.saved_tensors
        # With E = exp(S) and a = gradient / row sums, row i receives sum_j E_ij (a_i + a_j) p_j: a symmetric matrix.
        factor = gradient * (-result).exp()
        to_points = torch.zeros_like(points)
        with torch.autocast(points.device.type, enabled=False):
            for rows, below, exponential in _half_stripes(points, temperature, exclude):
                weight = exponential.mul_(factor[rows, None] + factor[None, rows.start :])
                to_points[rows] += weight @ points[rows.start :]
                to_points[below].addmm_(weight[:, rows.stop - rows.start :].T, points[rows])
        to_points.div_(temperature)
        # Points enter twice where the temperature enters once: tau dL/dtau = -<p, dL/dp> / 2.
        to_temperature = -(points * to_points).sum() / (2 * temperature) if ctx.needs_input_grad[1] else None
        return to_points, to_temperature, None


def _half_stripes(points: Tensor, temperature: Temperature, exclude: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Give exp(similarity) of each stripe of rows with the columns from its first row on, 0 where excluded.

    Columns below the stripe's last row stand for the mirrored entries too: `(rows, below, stripe)`.
    """
    count = len(points)
    scaled = points / temperature
    height = _height(count, points.device)
    buffer = points.new_empty(min(height, count) * count)
    for first in range(0, count, height):
        rows = slice(first, min(first + height, count))
        stripe = buffer[: (rows.stop - first) * (count - first)].view(rows.stop - first, count - first)
        torch.mm(scaled[rows], points[first:].T, out=stripe)
        column = exclude[rows] - first
        # Columns before this stripe were left out there; name the row itself again instead.
        column = torch.where(column < 0, column[:, :1], column)
        yield rows, slice(rows.stop, count), stripe.exp_().scatter_(1, column, 0)


def _as_tensor(temperature: Temperature, like: Tensor) -> Tensor:
    return temperature if isinstance(temperature, Tensor) else like.new_tensor(temperature)


def _height(width: int, device: torch.device) -> int:
    """Return how many rows of similarities to hold at once.

    128 rows were fastest on CPUs at every size tried; rows so long that these exceed 16 MiB get fewer.
    Accelerators want large products: 256 MiB.
    """
    return max(16, min(128, (1 << 22) // width) if device.type == "cpu" else (1 << 26) // width)
