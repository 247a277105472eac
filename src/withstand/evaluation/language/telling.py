"""What a language model says after prompts, by greedy decoding: whether a told answer comes, and the words that do.

Sizes: `B` prompts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.attacks.language.told import said, told_loss
from withstand.core.sequences import Sequences
from withstand.core.victim import Victim
from withstand.data.text.container import Told, behind, left_padded
from withstand.models.tokens.causal import CausalLM

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
    device = next(lm.parameters()).device
    ids, mask = left_padded(Sequences.padded(list(prompts)))
    ids, mask = ids.to(device), mask.to(device)
    end, found = lm.tokenizer.end_id, torch.empty(len(ids), 0, dtype=torch.int64, device=device)
    room = most if lm.context is None else min(most, lm.context - int(mask.sum(1).max()))
    with Victim(lm).held(), torch.no_grad():
        for _ in range(max(room, 0)):
            logits = lm(torch.cat([ids, found], 1), torch.nn.functional.pad(mask, (0, found.shape[1]), value=True))
            found = torch.cat([found, logits[:, -1:].argmax(2)], 1)
            if end is not None and bool((found == end).any(1).all()):
                break
    rows = []
    for row in found.tolist():
        kept = row[: row.index(end)] if end in row else row
        rows.append(lm.tokenizer.decode(kept))
    return rows
