"""C-AdvUL and C-AdvIPO: a language model refuses, even where a prompt's embeddings are moved towards the other answer.

paper: Efficient Adversarial Training in LLMs with Continuous Attacks (Xhonneux, Sordoni, Günnemann, Gidel, Schwinn;
    NeurIPS 2024)
needs: prompts with an answer that is wanted (chosen) and one that must not come (rejected); C-AdvUL also texts that
    keep the model useful, beside          modalities: texts
sizes: B pairs, L ids of the longest text, V ids of the vocabulary
differences: the attack runs in eval mode unless told, where the official code leaves LoRA's dropout on in it; reference
    log-probabilities belong to their rows, where the official code hands them out in reverse; an answer's tokens are
    found by their place, so that id 0 counts; prompt and answers are joined as ids, so that the perturbation of the
    prompt fits both. The base is not quantised. Useful texts come one to one with pairs, where published batches hold
    seven to one: the weights are the same.
"""

from dataclasses import replace
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from withstand.attacks.language.embeddings import EmbeddingAttack
from withstand.attacks.language.told import prompt_of, token_losses
from withstand.core.batch import Batch, as_structured
from withstand.core.devices.distributed import gather, total
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Epoch, Method, Product, Source, Terms
from withstand.core.sequences import Sequences
from withstand.data.text.container import TextPairs, Told, behind
from withstand.losses.preference.pairwise import check_beta, ipo
from withstand.losses.preference.sequence import token_log_probs
from withstand.losses.unlikelihood import leaky_cutoff, unlikelihood
from withstand.methods.shared.wrappers.continued import take_over_language_model
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_features import CausalFeatures

UTILITY = "utility"
"""The name in `Batch.beside` of texts that keep the model useful: pairs, whose chosen answers are learnt."""
Away: TypeAlias = Literal["negative-cross-entropy", "log-1-minus-p"]
Over: TypeAlias = Literal["batch", "answer"]
_AT_ONCE = 16


class ContinuousAT(Method):
    """What both methods share: the language model and the attack inside training.

    Args:
        language_model: what is tuned.
        attack: moves the prompts' embeddings towards the rejected answers.
        attack_in_train_mode: leave dropout on inside the attack, as the official code does.
    """

    taught_by = "preferences"

    fewest = 1
    encoder: CausalFeatures

    def __init__(
        self, language_model: CausalLM, attack: EmbeddingAttack | None = None, *, attack_in_train_mode: bool = False
    ) -> None:
        super().__init__()
        if language_model.tuning == "frozen":
            raise ConfigError("a frozen language model learns nothing: take tuning 'lora' or 'full'")
        self.encoder = CausalFeatures(language_model)
        self.attack = EmbeddingAttack() if attack is None else attack
        self.attack_in_train_mode = attack_in_train_mode

    @property
    def language_model(self) -> CausalLM:
        """What is tuned."""
        return self.encoder.language_model

    def products(self) -> dict[str, Product]:
        """Return the language model, and what embeds prompts with it."""
        return {"encoder": self.encoder, "language model": self.language_model}

    def example_batch(self, rows: range = range(8)) -> Batch:
        index = torch.arange(8)
        prompt, chosen, rejected, other = (_example_ids(seed) for seed in range(4))
        chosen_rows = list(rows)

        def pairs(*parts: Sequences) -> Batch:
            some = [Sequences.padded([part.values[row, : part.lengths[row]] for row in chosen_rows]) for part in parts]
            made = TextPairs(prompt=some[0], said=some[0], chosen=some[1], rejected=some[2])
            return Batch(made.as_samples(), index[chosen_rows])

        return replace(pairs(prompt, chosen, rejected), beside={UTILITY: pairs(other, prompt, rejected)})

    def accept(self, source: Source, batch: int) -> None:
        """Refuse what is no source of pairs, and texts that the network does not read."""
        first = TextPairs.of(as_structured(source[[0]].x))
        ids = max(int(some.values.max()) for some in (first.prompt, first.chosen, first.rejected))
        if ids >= self.language_model.vocabulary:
            raise DataError(
                f"the data's ids go up to {ids} at least, and {self.language_model.name} knows "
                f"{self.language_model.vocabulary}: read them with its own tokenizer"
            )
        self.language_model.require_room(source.shape[0])

    def inherit(self, earlier: Method) -> None:
        """Go on with the language model of an earlier stage.

        Raises:
            ConfigError: it has none, or another.
        """
        take_over_language_model(self.language_model, earlier)

    def attacked(self, pairs: TextPairs) -> tuple[Told, Tensor, Told, Tensor]:
        """Return rejected answers and their logits, then chosen ones and theirs, after the same moved prompts."""
        lm = self.language_model
        away, toward = behind(pairs.prompt, pairs.rejected), behind(pairs.prompt, pairs.chosen)
        delta = self.attack.delta(lm, away, keep_mode=self.attack_in_train_mode)
        shared = delta[:, : pairs.prompt.values.shape[1]]
        found = []
        for texts in (away, toward):
            clean = lm.embed(texts.ids)
            # Both begin with the prompt, place by place.
            moved = pad(shared, (0, 0, 0, texts.ids.shape[1] - shared.shape[1])) * prompt_of(texts)[..., None]
            found.append(lm.from_embeddings(clean + moved.to(clean.dtype), texts.mask))
        return away, found[0], toward, found[1]


class CAdvUL(ContinuousAT):
    """Unlikelihood of the rejected answers and likelihood of the chosen ones, both under attack, and useful texts.

    loss = away weight L_away + toward weight L_toward + utility weight L_utility, with leaky cutoffs on the first two.

    Args:
        language_model: what is tuned.
        attack: moves the prompts' embeddings towards the rejected answers.
        away: "negative-cross-entropy", or "log-1-minus-p", which heeds tokens of log p above the cutoff alone.
        away_weight: of the rejected answers' loss.
        toward_weight: of the chosen ones'.
        utility_weight: of the useful texts' loss; 0 does without them.
        away_cutoff: where the rejected answers' loss hardly falls any more.
        toward_cutoff: the chosen ones' likewise.
        over: cut the mean over a "batch"'s tokens, as published, or over each "answer"'s: then batches may be gathered
            from smaller ones (`Plan.accumulate`) without a change.
        attack_in_train_mode: leave dropout on inside the attack, as the official code does.
    """

    def __init__(
        self,
        language_model: CausalLM,
        attack: EmbeddingAttack | None = None,
        *,
        away: Away = "negative-cross-entropy",
        away_weight: float = 0.5,
        toward_weight: float = 0.5,
        utility_weight: float = 1.0,
        away_cutoff: float = -5.0,
        toward_cutoff: float = 0.5,
        over: Over = "batch",
        attack_in_train_mode: bool = False,
    ) -> None:
        super().__init__(language_model, attack, attack_in_train_mode=attack_in_train_mode)
        for name, value, allowed in (("away", away, get_args(Away)), ("over", over, get_args(Over))):
            if value not in allowed:
                raise ConfigError(f"{name} {value!r} is unknown: {nearest(str(value), allowed)}")
        weights = (away_weight, toward_weight, utility_weight)
        if min(weights) < 0 or max(weights[:2]) == 0:
            raise ConfigError(f"weights must be at least 0, and those of away and toward not both 0, not {weights}")
        if not away_cutoff < 0 <= toward_cutoff:
            raise ConfigError(
                f"away_cutoff must be below 0 and toward_cutoff at least 0, not {away_cutoff!r} and {toward_cutoff!r}: "
                "without a cutoff the first loss falls for ever, and the model with it"
            )
        self.away, self.over = away, over
        self.away_weight, self.toward_weight, self.utility_weight = weights
        self.away_cutoff, self.toward_cutoff = away_cutoff, toward_cutoff

    @classmethod
    def example(cls) -> Self:
        return cls(CausalLM("tiny:llama", "full"), EmbeddingAttack(0.1, 2, None))

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and its three parts before cutoffs and weights.

        Raises:
            DataError: no pairs, or no useful texts beside where they weigh something.
        """
        texts, logits, wanted, wanted_logits = self.attacked(TextPairs.of(as_structured(batch.x)))
        each, told = token_losses(logits, texts)
        if self.away == "log-1-minus-p":
            # This loss is at least 0; its threshold lies on single tokens.
            away = cut = self._mean(unlikelihood(logits, texts.ids, texts.told, self.away_cutoff), told)
        else:
            away = -self._mean(each, told)
            cut = leaky_cutoff(away, self.away_cutoff)
        toward = self._mean(*token_losses(wanted_logits, wanted))
        loss = self.away_weight * cut.mean() + self.toward_weight * leaky_cutoff(toward, self.toward_cutoff).mean()
        terms = {"away": away.mean().detach(), "toward": toward.mean().detach()}
        if self.utility_weight:
            if UTILITY not in batch.beside:
                raise DataError(
                    f"C-AdvUL reads useful texts beside its pairs, by the name {UTILITY!r}; a utility weight of 0 does "
                    "without, at the model's cost"
                )
            useful = TextPairs.of(as_structured(batch.beside[UTILITY].x))
            asked = behind(useful.prompt, useful.chosen)
            utility = self._mean(*token_losses(self.language_model(asked.ids, asked.mask), asked)).mean()
            loss = loss + self.utility_weight * utility
            terms["utility"] = utility.detach()
        return {"loss": loss, **terms}

    def _mean(self, each: Tensor, told: Tensor) -> Tensor:
        """Return the mean over the tokens of all processes, `()`, or of each answer, `(B,)`."""
        if self.over == "answer":
            return each.sum(1) / told.sum(1)
        return total(each.sum()) / total(told.sum().to(each.dtype))


class CAdvIPO(ContinuousAT):
    """IPO under attack: the chosen answers are to be likelier than the rejected ones by a margin, beside a reference.

    h = [lp(y+) - lp(y-)] - [lp_ref(y+) - lp_ref(y-)] with mean log-probabilities; loss = (h - 1 / (2 beta))^2. The
    policy reads moved prompts, the reference clean ones. A row's reference is what the model said of it before the
    first epoch; in a loop of one's own that calls no `before_epoch`, at the row's first step.

    Args:
        language_model: what is tuned.
        samples: how many pairs there are to learn from.
        attack: moves the prompts' embeddings towards the rejected answers.
        beta: how dear it is to leave the reference: 0.25 as published.
        away_cutoff: rejected answers' tokens of a log-probability below pull no more.
        toward_cutoff: chosen answers' tokens of a log-probability above its negative pull no more; 0 cuts none.
        attack_in_train_mode: leave dropout on inside the attack, as the official code does.
    """

    reference: Tensor

    def __init__(
        self,
        language_model: CausalLM,
        samples: int,
        attack: EmbeddingAttack | None = None,
        *,
        beta: float = 0.25,
        away_cutoff: float = -5.0,
        toward_cutoff: float = 0.0,
        attack_in_train_mode: bool = False,
    ) -> None:
        super().__init__(language_model, attack, attack_in_train_mode=attack_in_train_mode)
        check_beta(beta)
        if samples < 1:
            raise ConfigError(f"samples must be at least 1, not {samples!r}")
        if not away_cutoff < 0 <= toward_cutoff:
            raise ConfigError(
                f"away_cutoff must be below 0 and toward_cutoff at least 0, not {away_cutoff!r} and {toward_cutoff!r}"
            )
        self.beta, self.away_cutoff, self.toward_cutoff = beta, away_cutoff, toward_cutoff
        self.register_buffer("reference", torch.full((samples, 2), torch.nan))

    @classmethod
    def example(cls) -> Self:
        return cls(CausalLM("tiny:llama", "full"), 8, EmbeddingAttack(0.1, 2, None))

    def accept(self, source: Source, batch: int) -> None:
        """Refuse what is no source of as many pairs as the method was made for."""
        if len(source) != len(self.reference):
            raise ConfigError(f"samples is {len(self.reference)}, but the data have {len(source)}")
        super().accept(source, batch)

    def before_epoch(self, epoch: Epoch) -> None:
        """Learn what the reference, the model before its first step, says of every answer."""
        if epoch.number == 0:
            self.reference = epoch.pass_over(self._said_in_parts).to(self.reference)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and beside it the margin h and the share of pairs that are told apart, as clean ones."""
        pairs = TextPairs.of(as_structured(batch.x))
        if bool(self.reference.isnan().any()):  # on all processes alike
            with torch.no_grad():
                rows, said = gather(batch.index), gather(self._said(pairs))
            new = self.reference[rows].isnan().any(1)
            self.reference[rows[new]] = said[new].to(self.reference)
        texts, logits, wanted, wanted_logits = self.attacked(pairs)
        away = token_log_probs(logits, texts.ids)
        away = away.masked_fill(~texts.told[:, 1:] | (away < self.away_cutoff), 0).sum(1) / texts.told.sum(1)
        toward = token_log_probs(wanted_logits, wanted.ids)
        # Log-probabilities are at most 0, so that a cutoff of 0 cuts none.
        toward = toward.masked_fill(~wanted.told[:, 1:] | (toward > -self.toward_cutoff), 0).sum(1) / wanted.told.sum(1)
        chosen, rejected = self.reference[batch.index].to(away).unbind(1)
        loss = ipo(toward - chosen, away - rejected, self.beta).mean()
        margin = (toward - chosen - away + rejected).detach()
        return {"loss": loss, "margin": margin.mean(), "told apart": (margin > 0).to(margin.dtype).mean()}

    def _said(self, pairs: TextPairs) -> Tensor:
        """Return mean log-probabilities of chosen and rejected answers after clean prompts, `(B, 2)`, in eval mode."""
        lm, mode = self.language_model, self.language_model.training
        lm.eval()
        try:
            found = []
            for answer in (pairs.chosen, pairs.rejected):
                texts = behind(pairs.prompt, answer)
                each = token_log_probs(lm(texts.ids, texts.mask), texts.ids)
                found.append(each.masked_fill(~texts.told[:, 1:], 0).sum(1) / texts.told.sum(1))
        finally:
            lm.train(mode)
        return torch.stack(found, 1)

    def _said_in_parts(self, samples: Tensor) -> Tensor:
        pairs = TextPairs.of(as_structured(samples))
        parts = [slice(first, first + _AT_ONCE) for first in range(0, len(pairs), _AT_ONCE)]
        return torch.cat([self._said(_some(pairs, part)) for part in parts])


def _some(pairs: TextPairs, rows: slice) -> TextPairs:
    prompt, chosen, rejected = (
        Sequences(some.values[rows], some.lengths[rows]) for some in (pairs.prompt, pairs.chosen, pairs.rejected)
    )
    return TextPairs(prompt=prompt, said=prompt, chosen=chosen, rejected=rejected)


def _example_ids(seed: int) -> Sequences:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (8,), generator=draw)
    return Sequences.padded([torch.randint(4, 260, (int(length),), generator=draw) for length in lengths])
