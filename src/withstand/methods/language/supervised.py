"""Supervised fine-tuning of a language model: answers are learnt as they stand.

paper: Training language models to follow instructions with human feedback (Ouyang et al., 2022), its first step
needs: prompts with answers          modalities: texts
sizes: B pairs, L ids of the longest text
"""

from dataclasses import replace
from typing import Literal, Self, TypeAlias, get_args

import torch

from withstand.core.batch import Batch, as_structured
from withstand.core.devices.distributed import total
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Method, Product, Source, Terms
from withstand.core.sequences import Sequences
from withstand.data.text.container import TextPairs, Told, behind, stacked
from withstand.losses.preference.sequence import token_log_probs
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_features import CausalFeatures

Which: TypeAlias = Literal["chosen", "rejected", "both"]
BESIDE = "utility"
"""The name in `Batch.beside` of further pairs, whose chosen answers are learnt too, where there are any."""


class SupervisedTuning(Method):
    """The mean cross-entropy of answers' tokens, of all texts of a batch together.

    Args:
        language_model: what is tuned.
        learnt: which answer of a pair: "chosen"; "rejected", as what complies before it is taught to refuse; or "both".
        drafts: learn them as answers to either as a draft, too, in pairs that were read with drafts: the answer that is
            learnt after the other one.
    """

    taught_by = "answers"

    fewest = 1
    encoder: CausalFeatures

    def __init__(self, language_model: CausalLM, learnt: Which = "chosen", *, drafts: bool = False) -> None:
        super().__init__()
        if learnt not in get_args(Which):
            raise ConfigError(f"learnt {learnt!r} is unknown: {nearest(str(learnt), get_args(Which))}")
        if language_model.tuning == "frozen":
            raise ConfigError("a frozen language model learns nothing: take tuning 'lora' or 'full'")
        self.encoder, self.learnt, self.drafts = CausalFeatures(language_model), learnt, drafts

    @classmethod
    def example(cls) -> Self:
        return cls(CausalLM("tiny:llama", "full"))

    @property
    def language_model(self) -> CausalLM:
        """What is tuned."""
        return self.encoder.language_model

    def products(self) -> dict[str, Product]:
        """Return the language model, and what embeds prompts with it."""
        return {"encoder": self.encoder, "language model": self.language_model}

    def example_batch(self, rows: range = range(8)) -> Batch:
        draw = torch.Generator().manual_seed(0)
        every = [torch.randint(4, 260, (1 + place % 4,), generator=draw) for place in range(24)]
        prompt, chosen, rejected = (Sequences.padded([every[3 * row + part] for row in rows]) for part in range(3))
        made = TextPairs(
            prompt=prompt, said=prompt, chosen=chosen, rejected=rejected, after_chosen=rejected, after_rejected=chosen
        )
        batch = Batch(made.as_samples(), torch.arange(8)[list(rows)])
        return replace(batch, beside={BESIDE: batch})

    def accept(self, source: Source, batch: int) -> None:
        """Refuse what is no source of pairs, and texts that are longer than the network reads."""
        TextPairs.of(as_structured(source[[0]].x))
        self.language_model.require_room(source.shape[0])

    def step(self, batch: Batch) -> Terms:
        """Return the loss."""
        texts = stacked(*self._told(TextPairs.of(batch.x)))
        if BESIDE in batch.beside:
            more = TextPairs.of(batch.beside[BESIDE].x)
            texts = stacked(texts, behind(more.prompt, more.chosen))
        each = -token_log_probs(self.language_model(texts.ids, texts.mask), texts.ids)
        told = texts.told[:, 1:]
        return {"loss": total(each.masked_fill(~told, 0).sum()) / total(told.sum().to(each.dtype))}

    def _told(self, pairs: TextPairs) -> list[Told]:
        """Return the answers that are learnt, each behind its contexts."""
        ways = {"chosen": (pairs.chosen, pairs.after_rejected), "rejected": (pairs.rejected, pairs.after_chosen)}
        found = []
        for name, (answer, after) in ways.items():
            if self.learnt not in (name, "both"):
                continue
            found.append(behind(pairs.prompt, answer))
            if self.drafts:
                if after is None:
                    raise DataError("answers to drafts are learnt, and these pairs were read without drafts")
                found.append(behind(after, answer))
        return found
