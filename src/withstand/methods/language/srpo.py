"""SRPO: one language model learns to answer and to improve its own answers, from pairs of answers, offline.

paper: Self-Improving Robust Preference Optimization (Choi, Ahmadian, Geist, Pietquin, Azar; ICLR 2025)
needs: prompts with a chosen and a rejected answer          modalities: texts
sizes: B pairs, S of the data, L ids of the longest text
differences: no official code is known; the loss is derived anew from the paper's game, and its minimum is compared with
    the closed form. The equal weight of both terms and the words that ask for a better answer are ours. Dropout is off,
    so that both terms begin at 1 and 1/4.
"""

import math
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch, as_structured
from withstand.core.devices.distributed import gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.outputs import Maker, Output
from withstand.core.random import Draws
from withstand.core.roles import Epoch, Method, Product, Source, Terms
from withstand.data.text.container import TextPairs, TextPrompts, behind, stacked
from withstand.data.text.source import EXAMPLE, Preferences
from withstand.data.text.wording import Wording
from withstand.losses.preference.pairwise import check_beta, dpo, ipo
from withstand.losses.preference.self_improving import LogRatios, srpo
from withstand.losses.preference.sequence import mean_log_prob, summed_log_prob
from withstand.methods.shared.wrappers.continued import take_over_language_model
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_features import CausalFeatures
from withstand.models.tokens.generation import answers

Objective: TypeAlias = Literal["srpo", "dpo", "ipo"]
_SCORES = 6
_AT_ONCE = 16
"""Pairs whose reference is computed in one pass: six texts each."""


class SRPO(Method):
    """Learns from pairs of answers; what the model said of each before it learnt is its reference, computed once.

    The reference is kept in the buffer `reference`, `(S, 6)`: filled before the first epoch, or, in a loop of one's own
    that calls no `before_epoch`, at a row's first step. Columns are those of `LogRatios`.

    Args:
        language_model: what is trained.
        wording: how prompts and drafts are put into its ids, by which it answers too.
        samples: S, how many pairs the data have.
        objective: "srpo"; or, to compare with, "dpo", or "ipo" with means over tokens, which know no drafts.
        beta: how dear it is to leave the reference.
        alpha: the weight of the improving term, that of the answering one is 1 - alpha.
    """

    taught_by = "preferences"

    reference: Tensor
    encoder: CausalFeatures
    fewest = 1

    def __init__(
        self,
        language_model: CausalLM,
        wording: Wording,
        *,
        samples: int,
        objective: Objective = "srpo",
        beta: float = 0.01,
        alpha: float = 0.5,
    ) -> None:
        super().__init__()
        if objective not in get_args(Objective):
            raise ConfigError(f"objective {objective!r} is unknown: {nearest(str(objective), get_args(Objective))}")
        check_beta(beta)
        if not 0 < alpha <= 1:
            raise ConfigError(f"alpha must lie in (0, 1], not {alpha!r}")
        if samples < 1:
            raise ConfigError(f"samples must be at least 1, not {samples}")
        if language_model.tuning == "frozen":
            raise ConfigError("a frozen language model learns nothing: take tuning 'lora' or 'full'")
        if language_model.tokenizer.name != wording.tokenizer.name:
            raise ConfigError(
                f"the wording is for {wording.tokenizer.name}, and the language model is {language_model.name}"
            )
        self.encoder, self.wording = CausalFeatures(language_model), wording
        self.objective, self.beta, self.alpha = objective, beta, alpha
        self.register_buffer("reference", torch.full((samples, _SCORES), math.nan))

    @classmethod
    def example(cls) -> Self:
        return cls(CausalLM("tiny:llama", "full"), Wording.example(), samples=8)

    @property
    def language_model(self) -> CausalLM:
        """What is trained."""
        return self.encoder.language_model

    def train(self, mode: bool = True) -> Self:
        """Switch modes, the language model's not: with dropout it would differ from its reference before it learns."""
        super().train(mode)
        self.language_model.eval()
        return self

    def products(self) -> dict[str, Product]:
        """Return the language model, and what embeds prompts with it."""
        return {"encoder": self.encoder, "language model": self.language_model}

    def maker(self) -> Maker:
        """Return what answers prompts, and revises its answers."""
        return self.answered

    def example_batch(self, rows: range = range(8)) -> Batch:
        return Preferences(EXAMPLE, self.wording, max_length=128)[rows]

    def accept(self, source: Source, batch: int) -> None:
        if len(source) != len(self.reference):
            raise ConfigError(f"samples is {len(self.reference)}, but the data have {len(source)}")
        pairs = TextPairs.of(source[[0]].x)
        if self.objective == "srpo" and pairs.after_chosen is None:
            raise DataError(
                "SRPO learns to improve drafts, and these pairs were read without: read them with drafts=True"
            )
        self.language_model.require_room(source.shape[0])

    def inherit(self, earlier: Method) -> None:
        """Go on with the language model of an earlier stage, which is the reference then.

        Raises:
            ConfigError: it has none, or another.
        """
        take_over_language_model(self.language_model, earlier)

    def before_epoch(self, epoch: Epoch) -> None:
        """Compute the reference's log-probabilities, before anything is learnt."""
        if epoch.number:
            return

        def scored(x: Tensor) -> Tensor:
            pairs = TextPairs.of(x)
            parts = [self.scores(pairs.rows(slice(at, at + _AT_ONCE))) for at in range(0, len(pairs), _AT_ONCE)]
            return torch.cat(parts)

        # What stands there of an earlier run of this object is not the reference of this one.
        self.reference.copy_(epoch.pass_over(scored))

    def scores(self, pairs: TextPairs) -> Tensor:
        """Return the log-probabilities of a batch's answers in every context, `(B, 6)`, in the order of `LogRatios`.

        Those after drafts are 0 where the objective knows none.
        """
        score = mean_log_prob if self.objective == "ipo" else summed_log_prob
        plain = stacked(behind(pairs.prompt, pairs.chosen), behind(pairs.prompt, pairs.rejected))
        found = [score(self.language_model(plain.ids, plain.mask), plain.ids, plain.told)]
        if self.objective == "srpo":
            if pairs.after_chosen is None or pairs.after_rejected is None:
                raise DataError("SRPO learns to improve drafts, and these pairs were read without")
            told = stacked(
                behind(pairs.after_rejected, pairs.chosen),
                behind(pairs.after_rejected, pairs.rejected),
                behind(pairs.after_chosen, pairs.chosen),
                behind(pairs.after_chosen, pairs.rejected),
            )
            found.append(score(self.language_model(told.ids, told.mask), told.ids, told.told))
        else:
            found.append(found[0].new_zeros(4 * len(pairs)))
        return torch.cat(found).view(_SCORES, len(pairs)).T

    def ratios(self, batch: Batch) -> LogRatios:
        """Return the log-ratios of a batch's answers, whose reference is noted where it is not known yet."""
        pairs = TextPairs.of(batch.x)
        index = batch.index
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.reference):
            raise DataError(f"a pair has index {int(index.max())}, but there are references for {len(self.reference)}")
        now = self.scores(pairs)
        known = self.reference[index]
        known = torch.where(known.isnan(), now.detach().to(known.dtype), known)
        self.reference[gather(index)] = gather(known)
        return LogRatios(*(now - known).unbind(1))

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and how often and by how much chosen answers lead.

        Raises:
            DataError: other samples than pairs of answers, or pairs without drafts.
        """
        r = self.ratios(batch)
        terms = {
            "accuracy": (r.chosen > r.rejected).float().mean(),
            "margin": (r.chosen - r.rejected).detach().mean(),
        }
        if self.objective != "srpo":
            return {"loss": (dpo if self.objective == "dpo" else ipo)(r.chosen, r.rejected, self.beta).mean(), **terms}
        found = srpo(r, self.beta, self.alpha)
        improved = r.chosen_after_rejected > r.rejected_after_rejected
        return {
            "loss": found.loss.mean(),
            "generative": found.generative.detach().mean(),
            "improving": found.improving.detach().mean(),
            **terms,
            "improver's accuracy": improved.float().mean(),
        }

    def answered(
        self, batch: Batch, *, revisions: int = 5, most: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> dict[str, Output]:
        """Return the answer to each prompt, and its revisions; one that fills the model's context stands as it is.

        Args:
            batch: prompts, or pairs of answers to them.
            revisions: how many times the model revises its own answer.
            most: the most ids of an answer.
            temperature: 0 for the likeliest answer; above it ids are drawn.
            seed: of what is drawn.

        Raises:
            DataError: other samples.
        """
        texts = as_structured(batch.x)
        if not isinstance(texts, TextPrompts):
            raise DataError(f"a language model answers prompts, TextPrompts, not a {type(batch.x).__name__}")
        prompts = texts.texts()
        made = answers(
            self.language_model, self.wording, prompts, revisions=revisions, most=most, temperature=temperature,
            draws=Draws(seed, batch.index),
        )  # fmt: skip
        shown = [said if isinstance(said, str) else " / ".join(words for _, words in said) for said in prompts]
        names = ["answer", *(f"revision {number}" for number in range(1, revisions + 1))]
        return {"prompt": Output(shown, "columns")} | {
            name: Output(some, "columns") for name, some in zip(names, made, strict=True)
        }
