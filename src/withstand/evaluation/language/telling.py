"""What a language model says after prompts, by greedy decoding: whether a told answer comes, and the words that do.

Sizes: `B` prompts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.attacks.language.told import said, told_loss
from withstand.core.sequences import Sequences
from withstand.core.victims.victim import Victim
from withstand.data.text.container import Told, behind
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.generation import generate

AT_ONCE = 32


def told_at(lm: CausalLM, prompts: Sequences, answers: Sequences) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each answer its mean cross-entropy, whether greedy decoding says it, and its tokens, `(B,)` each."""
    texts = behind(prompts, answers)
    losses, hits = [], []
    with Victim(lm).held(), torch.no_grad():
        for first in range(0, len(prompts), AT_ONCE):
            part = some(texts, slice(first, first + AT_ONCE))
            logits = lm(part.ids, part.mask)
            losses.append(told_loss(logits, part).cpu())
            hits.append(said(logits, part).cpu())
    return torch.cat(losses), torch.cat(hits), answers.lengths.cpu()


def some(texts: Told, rows: slice | Tensor) -> Told:
    """Return some of the texts, as wide as all."""
    return Told(texts.ids[rows], texts.mask[rows], texts.told[rows])


def greedy_words(lm: CausalLM, prompts: Sequence[Tensor], most: int = 24) -> list[str]:
    """Return the words that greedy decoding puts after prompts, up to the end token or so many ids.

    Args:
        lm: what is asked; in eval mode meanwhile.
        prompts: ids of each, `(n,)`.
        most: ids of an answer.
    """
    with Victim(lm).held(), torch.no_grad():
        rows = generate(lm, Sequences.padded(list(prompts)).to(next(lm.parameters()).device), most=most)
    return [lm.tokenizer.decode(row) for row in rows]
