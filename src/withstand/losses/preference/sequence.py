"""Log-probabilities of sequences under a language model: summed and averaged are two functions, never a switch.

Sizes: B sequences, L tokens of the longest, V words of the vocabulary.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError


def token_log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the log-probability of each token but the first, given those before it, `(B, L - 1)`.

    Args:
        logits: `(B, L, V)`; those at place t are about the token at t + 1.
        ids: the tokens, int64 `(B, L)`.
    """
    before = logits[:, :-1]
    if before.dtype in (torch.float16, torch.bfloat16):
        before = before.float()  # a sum of exponents over the vocabulary needs more digits than these have
    chosen: Tensor = before.gather(2, ids[:, 1:, None])[..., 0]
    return chosen - before.logsumexp(2)


def summed_log_prob(logits: Tensor, ids: Tensor, told: Tensor) -> Tensor:
    """Return the log-probability of each answer, the sum over its tokens, `(B,)`: as DPO and SRPO take it.

    Args:
        logits: `(B, L, V)`.
        ids: `(B, L)`.
        told: which tokens are the answer's, bool `(B, L)`.

    Raises:
        DataError: an answer without tokens, or one that begins at a sequence's first token, before which nothing says
            how likely it is.
    """
    return _of_answers(logits, ids, told)[0]


def mean_log_prob(logits: Tensor, ids: Tensor, told: Tensor) -> Tensor:
    """Return the mean log-probability of each answer's tokens, `(B,)`: as IPO takes it; arguments as for the sum."""
    total, count = _of_answers(logits, ids, told)
    return total / count


def _of_answers(logits: Tensor, ids: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """Return each answer's log-probability and its number of tokens."""
    count = told.sum(1)
    if bool((count == 0).any()):
        raise DataError(f"answer {int((count == 0).nonzero()[0])} of the batch has no tokens")
    if bool(told[:, 0].any()):
        raise DataError("an answer begins at a sequence's first token: put a start token or a prompt before it")
    each = token_log_probs(logits, ids)
    # Not a product: what is computed of padding may be infinite.
    return each.masked_fill(~told[:, 1:], 0).sum(1), count.to(each.dtype)
