"""Text that a causal language model generates: answers to prompts, and answers that improve the last one.

Sizes: B prompts, L ids of the longest, V ids of the vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.sequences import Sequences
from withstand.data.text.container import left_padded
from withstand.data.text.said import Said
from withstand.data.text.wording import Wording
from withstand.models.tokens.causal import CausalLM


def generate(
    lm: CausalLM, prompts: Sequences, *, most: int, temperature: float = 0.0, draws: Draws | None = None
) -> list[list[int]]:
    """Return the ids that follow each prompt, up to the end token, which is left out, or to `most` ids.

    A prompt's answer does not hang on its company: places are counted by the mask, and every prompt has its own draws.

    Args:
        lm: the model, in eval mode.
        prompts: ids, padded on the right.
        most: the most ids of an answer; less where the model's context ends before.
        temperature: 0 takes the likeliest id; else ids are drawn from softmax(logits / temperature).
        draws: of each prompt; needed where ids are drawn.

    Raises:
        ConfigError: settings out of range.
        DataError: a prompt that leaves no room for an answer.
    """
    if most < 1 or temperature < 0:
        raise ConfigError(f"an answer has 1 id or more, and a temperature is at least 0, not {most} and {temperature}")
    if temperature and draws is None:
        raise ConfigError("ids are drawn with a temperature above 0: give draws")
    longest = int(prompts.lengths.max())
    if lm.context is not None and longest >= lm.context:
        raise DataError(f"a prompt has {longest} ids, and {lm.name} reads {lm.context}: no room is left for an answer")
    ids, mask = left_padded(prompts)
    rooms = torch.full_like(prompts.lengths, most)
    if lm.context is not None:
        rooms = rooms.clamp(max=(lm.context - prompts.lengths).clamp_min(1))
    end = lm.tokenizer.end_id
    made = torch.zeros(len(ids), most, dtype=torch.int64, device=ids.device)
    count, going = torch.zeros_like(rooms), torch.ones_like(rooms, dtype=torch.bool)
    known, step = None, 0
    while True:
        logits, known = lm.follow(ids, mask, known)
        chosen = _next(logits, temperature, draws, step)
        if end is not None:
            going = going & (chosen != end)
        made[:, step] = torch.where(going, chosen, 0)
        count += going
        step += 1
        going = going & (count < rooms)
        if not bool(going.any()) or step == most:
            break
        # What has ended stays where it is, outside the mask, so that its places end too.
        ids, mask = chosen.masked_fill(~going, 0)[:, None], torch.cat([mask, going[:, None]], 1)
    return [row[:length] for row, length in zip(made.tolist(), count.tolist(), strict=True)]


def _next(logits: Tensor, temperature: float, draws: Draws | None, step: int) -> Tensor:
    if not temperature or draws is None:
        return logits.argmax(1)
    shares = (logits.double() / temperature).softmax(1).cumsum(1)
    drawn = draws.child(step).uniform(1).double() * shares[:, -1:]
    return torch.searchsorted(shares, drawn, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def answers(
    lm: CausalLM,
    wording: Wording,
    prompts: Sequence[Said],
    *,
    revisions: int = 0,
    most: int = 64,
    temperature: float = 0.0,
    draws: Draws | None = None,
) -> list[list[str]]:
    """Return the answer to each prompt, and each revision of it: the model reads its last answer and writes a better.

    An answer that with its prompt fills the model's context cannot be revised, and stands as it is.

    Args:
        lm: the model, in eval mode.
        wording: how prompts and drafts are put into ids.
        prompts: what is answered.
        revisions: how many times an answer is revised.
        most: the most ids of an answer.
        temperature: see `generate`.
        draws: of each prompt.

    Returns:
        `revisions + 1` lists, of an answer a prompt each.
    """
    if revisions < 0:
        raise ConfigError(f"revisions must be at least 0, not {revisions}")
    device = next(lm.parameters()).device
    found: list[list[str]] = []
    drafts: list[str] | None = None
    for number in range(revisions + 1):
        asked = [(said, None if drafts is None else drafts[place]) for place, said in enumerate(prompts)]
        rows = wording.contexts(asked)
        made = list(drafts or [""] * len(rows))
        # The first time a prompt without room is refused; later on an answer without room stands as it is.
        places = [
            place for place, row in enumerate(rows) if drafts is None or lm.context is None or len(row) < lm.context
        ]
        if places:
            some = Sequences.padded([torch.tensor(rows[place], dtype=torch.int64) for place in places]).to(device)
            own = None if draws is None else draws.child(number)[torch.tensor(places, device=draws.device)]
            ids = generate(lm, some, most=most, temperature=temperature, draws=own)
            for place, row in zip(places, ids, strict=True):
                made[place] = lm.tokenizer.decode(row).strip()
        found.append(made)
        drafts = made
    return found
