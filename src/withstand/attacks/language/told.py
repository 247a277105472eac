"""How likely answers are that stand behind prompts: what an attack on a language model reads.

Sizes: `B` texts, `L` ids of the longest, `V` ids of the vocabulary.
"""

import torch
from torch import Tensor

from withstand.data.text.container import Told


def prompt_of(texts: Told) -> Tensor:
    """Return which ids are the prompts', bool `(B, L)`."""
    return texts.mask & ~texts.told


def told_loss(logits: Tensor, texts: Told) -> Tensor:
    """Return the mean cross-entropy of each answer's ids, `(B,)`, in float32 at least.

    Args:
        logits: `(B, L, V)`; those at place t are about the id at t + 1.
        texts: what is told.
    """
    each, told = token_losses(logits, texts)
    return each.sum(1) / told.sum(1)


def token_losses(logits: Tensor, texts: Told) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each id after the first, 0 where none is told, and which are, `(B, L - 1)` both."""
    before, told = logits[:, :-1], texts.told[:, 1:]
    before = before.to(torch.promote_types(before.dtype, torch.float32))
    each = before.logsumexp(2) - before.gather(2, texts.ids[:, 1:, None])[..., 0]
    return each.masked_fill(~told, 0), told


def said(logits: Tensor, texts: Told) -> Tensor:
    """Return whether greedy decoding after each prompt gives its answer, bool `(B,)`: each id is then the likeliest."""
    right = logits[:, :-1].argmax(2) == texts.ids[:, 1:]
    return (right | ~texts.told[:, 1:]).all(1)
