"""Losses and weights for classes of unequal size.

Effective numbers: Class-Balanced Loss Based on Effective Number of Samples (2019).
LDAM: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss (2019).
Focal: Focal Loss for Dense Object Detection (2017).

Sizes: B samples, C classes, n_k samples of class k in the training set. Losses are per sample, unweighted.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.losses.precision import full_precision, unit_rows


def effective_number_weights(counts: Sequence[int], beta: float = 0.9999) -> Tensor:
    """Return class weights `(1 - beta) / (1 - beta^n_k)`, scaled to a mean of 1, float64 `(C,)`.

    A class without samples weighs 0, and is not in the mean. At beta = 0 all others are 1; as beta nears 1 they become
    proportional to 1 / n_k.
    """
    if not 0 <= beta < 1:
        raise ConfigError(f"beta must lie in [0, 1), not {beta!r}")
    if not any(counts) or min(counts) < 0:
        raise ConfigError(f"counts must be at least 0 and one of them above, not {tuple(counts)!r}")
    numbers = torch.tensor(list(counts), dtype=torch.float64)
    present = numbers > 0
    # expm1: 1 - beta^n loses its digits for beta near 1.
    weights = 1 / -torch.expm1(numbers.clamp_min(1) * torch.log(torch.tensor(beta, dtype=torch.float64)))
    return torch.where(present, weights / weights[present].mean(), 0)


@full_precision
def focal(logits: Tensor, y: Tensor, gamma: float = 1.0) -> Tensor:
    """Return `(1 - p_y)^gamma` times the cross-entropy, `(B,)`."""
    loss = F.cross_entropy(logits, y, reduction="none")
    return (1 - torch.exp(-loss)).clamp_min(0).pow(gamma) * loss if gamma else loss


def ldam_margins(counts: Sequence[int], largest: float = 0.5) -> Tensor:
    """Return each class's margin, `n_k^(-1/4)` scaled so that the rarest class has `largest`, float64 `(C,)`.

    A class without samples counts as one of the rarest: its margin is never used.
    """
    numbers = torch.tensor(list(counts), dtype=torch.float64)
    rarity = torch.where(numbers > 0, numbers, numbers[numbers > 0].min()).pow(-0.25)
    return rarity * (largest / rarity.max())


@full_precision
def ldam(logits: Tensor, y: Tensor, margins: Tensor, scale: float = 30.0) -> Tensor:
    """Return the cross-entropy of `scale` times the logits, the label's own lowered by its class's margin, `(B,)`.

    Args:
        logits: cosines `(B, C)`: the scale of 30 is meant for a normalised classifier, see `cosine_logits`.
        y: labels `(B,)`.
        margins: `(C,)`, from `ldam_margins`.
        scale: s.
    """
    lowered = logits - F.one_hot(y, logits.shape[1]) * margins.to(logits)
    return F.cross_entropy(scale * lowered, y, reduction="none")


@full_precision
def cosine_logits(features: Tensor, weight: Tensor) -> Tensor:
    """Return cosines between features `(B, W)` and class vectors `(C, W)`, `(B, C)`."""
    return unit_rows(features) @ unit_rows(weight).T


@full_precision
def balanced_softmax(logits: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """Return the cross-entropy of `logits + log n_k`, `(B,)`: training for a test set of equal classes (2020).

    A class without samples counts as one with one, so that its logits still learn to be low.
    """
    return F.cross_entropy(logits + counts.to(logits).clamp_min(1).log(), y, reduction="none")
