"""Losses of adversarial training, one value a sample.

PGD-AT: Towards Deep Learning Models Resistant to Adversarial Attacks (2018), plain cross-entropy.
TRADES: Theoretically Principled Trade-off between Robustness and Accuracy (2019).
MART: Improving Adversarial Robustness Requires Revisiting Misclassified Examples (2020).
DeACL: Decoupled Adversarial Contrastive Learning for Self-supervised Adversarial Robustness (2022).

Sizes: B samples, C classes. `clean` and `attacked` are logits of a sample and of the same sample under attack.
Nothing is detached: gradients flow through both, as in the official code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.losses.precision import full_precision, unit_rows


@full_precision
def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """Return KL(p(clean) || p(attacked)) of each sample, `(B,)`; never below 0 but for round-off."""
    return F.kl_div(attacked.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="none").sum(1)


@full_precision
def trades(clean: Tensor, attacked: Tensor, y: Tensor, beta: float = 6.0) -> Tensor:
    """Return the clean cross-entropy plus `beta` times the divergence under attack, `(B,)`.

    Args:
        clean: logits `(B, C)`.
        attacked: logits `(B, C)` under attack.
        y: labels `(B,)`.
        beta: what robustness weighs against accuracy; 6 in the paper's best row, 0 for plain training.
    """
    return F.cross_entropy(clean, y, reduction="none") + beta * divergence(clean, attacked)


@full_precision
def boosted_cross_entropy(attacked: Tensor, y: Tensor) -> Tensor:
    """Return MART's `-log p_y - log(1 - max of the other p)`, `(B,)`, with the official code's constants."""
    log_p = attacked.log_softmax(1)
    own = log_p.gather(1, y[:, None]).squeeze(1)
    other = log_p.scatter(1, y[:, None], -torch.inf).amax(1).exp()
    return -own - torch.log(1.0001 - other + 1e-12)


@full_precision
def mart(clean: Tensor, attacked: Tensor, y: Tensor, beta: float = 5.0) -> Tensor:
    """Return the boosted cross-entropy under attack plus `beta` times a divergence that weighs clean errors up, `(B,)`.

    The weight is 1 - p_y on the clean sample.

    Args:
        clean: logits `(B, C)`.
        attacked: logits `(B, C)` under attack.
        y: labels `(B,)`.
        beta: 5 in the official training script, 6 as its function's default.
    """
    own = clean.softmax(1).gather(1, y[:, None]).squeeze(1)
    return boosted_cross_entropy(attacked, y) + beta * divergence(clean, attacked) * (1.0000001 - own)


@full_precision
def decoupled_alignment(clean: Tensor, attacked: Tensor, teacher: Tensor, gamma: float = 2.0) -> Tensor:
    """Return DeACL's loss `-cos(clean, teacher) - gamma cos(attacked, clean)`, `(B,)`, at least -(1 + gamma).

    Args:
        clean: the student's features `(B, D)`.
        attacked: the student's features under attack.
        teacher: a frozen network's features of the clean samples.
        gamma: what consistency under attack weighs; neither of its sides is detached.
    """
    student, guide, under = unit_rows(clean), unit_rows(teacher), unit_rows(attacked)
    return -(student * guide).sum(1) - gamma * (under * student).sum(1)
