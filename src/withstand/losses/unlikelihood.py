"""Losses that keep a language model from an answer, and what bounds them.

paper: Efficient Adversarial Training in LLMs with Continuous Attacks (Xhonneux et al., NeurIPS 2024), and its code.
Sizes: `B` texts, `L` ids of the longest, `V` ids of the vocabulary.
"""

import torch
from torch import Tensor

LEAK = 0.001
"""What is left of a loss's slope below its cutoff."""


def leaky_cutoff(loss: Tensor, cutoff: float) -> Tensor:
    """Return a loss that hardly falls any more below its cutoff: there it is cutoff + 0.001 loss.

    At the cutoff the value jumps by 0.001 cutoff, as published; slopes are 1 above and 0.001 below.
    """
    return torch.where(loss < cutoff, cutoff + LEAK * loss, loss)


def log_one_minus_p(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log(1 - p) of each token but the first, given those before it, `(B, L - 1)`; at most 0.

    Computed as the log-sum-exp of all logits but the token's own, less that of all: stable where p is nearly 1.

    Args:
        logits: `(B, L, V)`; those at place t are about the token at t + 1.
        ids: the tokens, int64 `(B, L)`.
    """
    before = logits[:, :-1]
    before = before.to(torch.promote_types(before.dtype, torch.float32))
    others = before.scatter(2, ids[:, 1:, None], -torch.inf)
    return others.logsumexp(2) - before.logsumexp(2)


def unlikelihood(logits: Tensor, ids: Tensor, told: Tensor, threshold: float = -5.0) -> Tensor:
    """Return -log(1 - p) of each answer's tokens, `(B, L - 1)`; 0 elsewhere, and where log p is below the threshold.

    Args:
        logits: `(B, L, V)`.
        ids: `(B, L)`.
        told: which tokens are the answer's, bool `(B, L)`.
        threshold: tokens less likely than this pull no more.
    """
    before = logits[:, :-1]
    before = before.to(torch.promote_types(before.dtype, torch.float32))
    likely = before.gather(2, ids[:, 1:, None])[..., 0] - before.logsumexp(2)
    pulls = told[:, 1:] & (likely >= threshold)
    return (-log_one_minus_p(logits, ids)).masked_fill(~pulls, 0)
