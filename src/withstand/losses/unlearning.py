"""Losses of unlearning without labels, on representations.

Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models (Shen, Zhang, Zhao, Bialkowski, Chen, Xu; ICLR
2024), the official code's form. It sums over batches; these are means over them, which Adam does not tell apart.

Sizes: `B` samples that are kept, `U` that are to be forgotten, `D` features.
"""

import torch
from torch import Tensor

from withstand.core.devices.distributed import gather
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.temperature import Temperature


@full_precision
def bounded_distance(restored: Tensor, features: Tensor) -> Tensor:
    """Return exp(d / (d + 1)) of each sample's squared distance d, `(B,)`: 1 where they agree, below e however far.

    Args:
        restored: `(B, D)`.
        features: `(B, D)`.
    """
    distance = (restored - features).square().sum(1)
    return (distance / (distance + 1)).exp()


@full_precision
def turned(features: Tensor, before: Tensor) -> Tensor:
    """Return 1 less the cosine of each sample's features with those that it had before, `(B,)`; of a zero row, 1."""
    return 1 - (unit_rows(features) * unit_rows(before)).sum(1)


@full_precision
def alignment(kept: Tensor, kept_before: Tensor, gone: Tensor, gone_before: Tensor, temperature: Temperature) -> Tensor:
    """Return how far kept samples turned, less the soft maximum of how far forgotten ones did, 0-d.

    It is -log U where nothing has turned. Forgotten samples of all processes count.

    Args:
        kept: `(B, D)`, as they are now.
        kept_before: `(B, D)`.
        gone: `(U, D)`, as they are now.
        gone_before: `(U, D)`.
        temperature: above 0; a high one lets forgotten samples be.
    """
    away = gather(turned(gone, gone_before)) / temperature
    return turned(kept, kept_before).mean() - torch.logsumexp(away, 0)
