"""How far two samples' distributions lie apart: the maximum mean discrepancy.

A Kernel Two-Sample Test (Gretton, Borgwardt, Rasch, Schölkopf, Smola; 2012); the kernel's widths are those of ColloSSL.

Sizes: X and Y samples, T their length.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision

WIDTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 100.0)
"""Sigma of each Gaussian of the kernel, as ColloSSL's code has them; they enter linearly, not squared."""


@full_precision
def mmd(x: Tensor, y: Tensor, widths: Sequence[float] = WIDTHS) -> Tensor:
    """Return the squared maximum mean discrepancy, biased, at least 0; 0-d.

    `mean K(x, x') + mean K(y, y') - 2 mean K(x, y)`, K the sum over sigma of `exp(-||a - b||^2 / (2 sigma))`. All
    distances come out of one Gram matrix, so that memory grows with (X + Y)^2 and not with T.

    Args:
        x: samples `(X, T)`.
        y: samples `(Y, T)`.
        widths: each sigma, above 0.

    Raises:
        DataError: no samples, or of different lengths.
        ConfigError: a width that is not above 0, or none.

    >>> mmd(torch.zeros(3, 2), torch.zeros(4, 2)).item()
    0.0
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        raise DataError(f"two samples (X, T) and (Y, T) of one length are needed, not {(*x.shape,)} and {(*y.shape,)}")
    if not widths or not all(width > 0 for width in widths):
        raise ConfigError(f"widths must be above 0, at least one, not {tuple(widths)!r}")
    whole = torch.cat([x, y])
    whole = whole - whole.mean(0)  # distances stay, and lose less to rounding
    gram = whole @ whole.T
    squares = gram.diagonal()
    distances = (squares[:, None] + squares[None] - 2 * gram).clamp_min(0)
    distances = distances.masked_fill(torch.eye(len(whole), dtype=torch.bool, device=x.device), 0)
    kernel = torch.zeros_like(distances)
    for width in widths:
        kernel += (distances / (-2 * width)).exp()
    first = len(x)
    within = kernel[:first, :first].mean() + kernel[first:, first:].mean()
    return (within - 2 * kernel[:first, first:].mean()).clamp_min(0)
