"""Mixed Barlow Twins: a mixed picture's embedding shall correlate with others as the mixed embeddings do.

Guarding Barlow Twins Against Overfitting with Mixed Samples (2023), the form of the paper and of its CIFAR code.

Sizes: B samples on this process, N over all processes, D projection width.
"""

from typing import NamedTuple

from torch import Tensor

from withstand.core.devices.distributed import gather
from withstand.core.errors import DataError
from withstand.losses.agreement.redundancy import off_diagonal, standardize
from withstand.losses.precision import full_precision, unit_rows


class MixedTerms(NamedTuple):
    """Barlow Twins' two sums, and the squared difference of the mixed pictures' correlations from the mixed ones."""

    invariance: Tensor
    redundancy: Tensor
    mixing: Tensor


@full_precision
def mixed_barlow_twins_terms(
    z1: Tensor,
    z2: Tensor,
    mixed: Tensor,
    order: Tensor,
    share: float,
    *,
    unbiased: bool = True,
    unit_length: bool = True,
    eps: float = 1e-8,
) -> MixedTerms:
    """Return the sums for projections `(B, D)` of two views and of pictures mixed from them.

    With A, B, M the standardised projections and B' the rows of B in `order`, the mixed pictures' correlations with
    a view, `M'A / N`, are to be `share A'A / N + (1 - share) B''A / N`. Both are linear in their first factor, so
    their difference is `(M - share A - (1 - share) B')'A / N`. Gradients flow through all three.

    Args:
        z1: projections of the first views.
        z2: projections of the second views.
        mixed: projections of `share * view 1 + (1 - share) * view 2 of the sample in order`.
        order: which sample of the global batch was mixed in, int64 `(N,)`.
        share: of the first view, in [0, 1].
        unbiased: standardise with the unbiased variance, as the official code does.
        unit_length: bring rows to length 1 before, as the CIFAR code does; the ImageNet code does not.
        eps: added to variances; the official code has none, and divides by 0 where a column is constant.
    """
    if not z1.shape == z2.shape == mixed.shape or z1.dim() != 2:
        shapes = " and ".join(str(tuple(z.shape)) for z in (z1, z2, mixed))
        raise DataError(f"views and their mixtures need projections of one shape (B, D), not {shapes}")
    every = [gather(unit_rows(z) if unit_length else z) for z in (z1, z2, mixed)]
    one, two, both = (standardize(z, unbiased=unbiased, eps=eps) for z in every)
    count = len(one)
    correlation = one.T @ two / count
    apart = both - share * one - (1 - share) * two[order]
    return MixedTerms(
        (correlation.diagonal() - 1).square().sum(),
        off_diagonal(correlation).square().sum(),
        (apart.T @ one / count).square().sum() + (apart.T @ two / count).square().sum(),
    )
