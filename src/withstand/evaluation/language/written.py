"""Where an attacker writes into a prompt: within the user's words, not behind a template's signs.

Sizes: `n` ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.roles import Source
from withstand.data.derived.subset import in_whole
from withstand.data.text.container import TextPairs
from withstand.data.text.said import Said, with_words
from withstand.data.text.wording import Wording
from withstand.evaluation.language.refusals import unpadded
from withstand.models.tokens.causal import CausalLM


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt by its parts, and other wordings of it.

    Attributes:
        before: ids up to where the user's words end, int64 `(n,)`.
        after: ids of what a template puts behind them; empty without one.
        reworded: ids of the whole prompt with further words before the user's, by these.
    """

    before: Tensor
    after: Tensor
    reworded: dict[str, Tensor]


def written(lm: CausalLM, source: Source, pairs: TextPairs, words: Sequence[str]) -> list[Written]:
    """Return the prompts of pairs by their parts.

    Args:
        lm: whose tokenizer reads them, where a source does not say how it put them into ids.
        source: where the pairs are from.
        pairs: on any device.
        words: what is put before the user's own.

    Raises:
        DataError: a conversation in which no user says anything.
    """
    whole, _ = in_whole(source)
    wording = getattr(whole, "wording", None)
    wording = wording if isinstance(wording, Wording) else Wording(lm.tokenizer)
    every = zip(unpadded(pairs.prompt, range(len(pairs))), _texts(pairs), strict=True)
    return [_by_words(wording, ids, said, words) or _by_ids(lm, ids, words) for ids, said in every]


def _texts(pairs: TextPairs) -> list[Said | None]:
    """Return the prompts as they came; None where a source of others' making does not say them."""
    try:
        return [*pairs.texts()]
    except ValueError:
        return [None] * len(pairs)


def _by_words(wording: Wording, ids: Tensor, said: Said | None, words: Sequence[str]) -> Written | None:
    """Return a prompt's parts, found by its words; None where these do not give its ids."""
    if said is None or wording.contexts([(said, None)])[0] != ids.tolist():
        return None
    before, after = (torch.tensor(some, dtype=torch.int64, device=ids.device) for some in wording.parted(said))
    others = wording.contexts([(with_words(said, f"{one} "), None) for one in words])
    return Written(
        before, after, {one: torch.tensor(row, device=ids.device) for one, row in zip(words, others, strict=True)}
    )


def _by_ids(lm: CausalLM, ids: Tensor, words: Sequence[str]) -> Written:
    """Return a prompt that is all the user's, as ids alone: other words come behind the tokenizer's start."""
    start = int(lm.tokenizer.start_id is not None and int(ids[0]) == lm.tokenizer.start_id)
    read = {one: torch.tensor(lm.tokenizer.encode(f"{one} ", start=False), device=ids.device) for one in words}
    return Written(ids, ids[:0], {one: torch.cat([ids[:start], some, ids[start:]]) for one, some in read.items()})
