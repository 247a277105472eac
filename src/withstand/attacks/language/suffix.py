"""A discrete attack on a language model: some tokens after the prompt that make a wanted answer likely.

paper: Universal and Transferable Adversarial Attacks on Aligned Language Models (Zou et al., 2023): greedy coordinate
    gradients. Sizes: `K` tokens of the suffix, `V` ids of the vocabulary, `D` width of embeddings.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from withstand.attacks.language.told import said, told_loss
from withstand.core.errors import ConfigError, require_at_least
from withstand.core.part import Part
from withstand.core.random import Draws, derive
from withstand.core.victims.victim import Victim
from withstand.data.text.container import Told
from withstand.models.tokens.causal import CausalLM


@dataclass(frozen=True, slots=True)
class FoundSuffix:
    """The best suffix found for one text.

    Attributes:
        ids: int64 `(K,)`.
        text: the same as text.
        before: the answer's mean cross-entropy after the clean prompt.
        after: after prompt and suffix.
        reached: whether greedy decoding after prompt and suffix gives the answer.
        queries: texts that the model read.
    """

    ids: Tensor
    text: str
    before: float
    after: float
    reached: bool
    queries: int


@dataclass(frozen=True)
class SuffixSearch(Part):
    """Greedy coordinate gradients: exchange one token at a time for one that the gradient recommends.

    At each step the gradient at the embeddings names the best exchanges of every place; `candidates` of these are drawn
    and read, and the best replaces the suffix where it is better.

    The suffix stands at the prompt's end; behind it comes what a template puts after a prompt, then the answer.

    Args:
        length: K.
        steps: exchanges at most; the search ends early where the answer is reached.
        candidates: suffixes read at each step.
        best: exchanges of a place among which candidates are drawn.
        as_text: keep to suffixes that a tokenizer reads back as the same tokens, so that they can be typed.
        seed: of draws.
    """

    length: int = 10
    steps: int = 50
    candidates: int = 64
    best: int = 64
    as_text: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(1, length=self.length, candidates=self.candidates, best=self.best)
        if self.steps < 0:
            raise ConfigError(f"steps must be at least 0, not {self.steps!r}")

    def __call__(
        self, lm: CausalLM, prompt: Tensor, answer: Tensor, *, after: Tensor | None = None, place: int = 0
    ) -> FoundSuffix:
        """Search a suffix for one text.

        Args:
            lm: what is attacked; it is in eval mode meanwhile, and as it was afterwards.
            prompt: its ids up to where a user may write, int64 `(n,)`.
            answer: the ids that are wanted, `(m,)`.
            after: what a template puts between prompt and answer, as the sign of the assistant's turn, `(k,)`; None for
                nothing.
            place: of the text among others: draws hang on it and the seed alone.

        Raises:
            ConfigError: no suffix can be typed, by this tokenizer.
        """
        draws = Draws(derive(self.seed, "suffix"), torch.tensor([place], device=prompt.device))
        usable = self._usable(lm).to(prompt.device)
        frame = _Frame(prompt, prompt[:0] if after is None else after, answer)
        with Victim(lm).held():
            before = float(self._read(lm, frame, prompt.new_zeros(1, 0))[0][0])
            suffix = self._start(lm, frame, usable, draws)
            loss, hit = (value[0] for value in self._read(lm, frame, suffix[None]))
            queries = 2
            for step in range(self.steps):
                if bool(hit):
                    break
                tried = self._tried(lm, frame, suffix, usable, draws.child(step))
                queries += 1 + len(tried)
                if not len(tried):
                    continue
                losses, hits = self._read(lm, frame, tried)
                at = int(losses.argmin())
                if losses[at] < loss:
                    suffix, loss, hit = tried[at], losses[at], hits[at]
        text = lm.tokenizer.decode(suffix)
        return FoundSuffix(suffix.cpu(), text, before, float(loss), bool(hit), queries)

    def _usable(self, lm: CausalLM) -> Tensor:
        """Return which ids may stand in a suffix, bool `(V,)`: pieces of text, and no special ones."""
        usable = torch.zeros(lm.vocabulary, dtype=torch.bool)
        usable[: len(lm.tokenizer)] = True
        own: Any = lm.tokenizer.tokenizer
        # Signs of a conversation's turns are special, and not always among the tokenizer's named ones.
        added = [number for number, piece in own.added_tokens_decoder.items() if piece.special]
        usable[torch.tensor([*own.all_special_ids, *added], dtype=torch.int64)] = False
        return usable

    def _start(self, lm: CausalLM, frame: "_Frame", usable: Tensor, draws: Draws) -> Tensor:
        """Return one piece again and again: the exclamation mark, as published, or the first of a drawn order.

        Raises:
            ConfigError: the tokenizer reads no piece back.
        """
        known = usable.nonzero()[:, 0]
        order = known[draws.child("start").permutations(len(known))[0]]
        marks = torch.tensor(lm.tokenizer.encode("!", start=False)[-1:], device=order.device)
        suffix: Tensor
        for piece in torch.cat([marks, order]):
            suffix = piece.repeat(self.length)
            if not self.as_text or self._read_back(lm, frame, suffix):
                return suffix
        raise ConfigError(
            f"{lm.name}'s tokenizer reads no repeated piece after this prompt back as it was: search with as_text=False"
        )

    def _tried(self, lm: CausalLM, frame: "_Frame", suffix: Tensor, usable: Tensor, draws: Draws) -> Tensor:
        """Return suffixes that differ from one in one place, `(C, K)`."""
        texts = frame.told(suffix[None])
        with torch.enable_grad():
            embedded = lm.embed(texts.ids).detach().requires_grad_()
            loss = told_loss(lm.from_embeddings(embedded, texts.mask), texts).sum()
            (slope,) = torch.autograd.grad(loss, embedded)
        own = slope[0, len(frame.prompt) : len(frame.prompt) + self.length].float()
        table = lm.table.float()
        # The gradient at a one-hot row, without making one.
        rise = (own @ table.T)[:, : len(usable)].masked_fill(~usable, torch.inf)
        best = min(self.best, int(usable.sum()))
        wanted = rise.topk(best, dim=1, largest=False).indices
        # Every place gets its share of the candidates.
        spots = torch.arange(self.candidates, device=suffix.device) * self.length // self.candidates
        ranks = (draws.uniform(self.candidates)[0] * best).long()
        drawn = suffix.repeat(self.candidates, 1)
        drawn[torch.arange(self.candidates, device=suffix.device), spots] = wanted[spots, ranks]
        tried: Tensor = torch.unique(drawn, dim=0)
        tried = tried[(tried != suffix).any(1)]
        if not self.as_text:
            return tried
        same = [self._read_back(lm, frame, row) for row in tried]
        return tried[torch.tensor(same, dtype=torch.bool, device=tried.device)]

    def _read_back(self, lm: CausalLM, frame: "_Frame", suffix: Tensor) -> bool:
        """Return whether prompt, suffix and what comes behind them, as one text, are read as these ids."""
        whole = torch.cat([frame.prompt, suffix, frame.after])
        start = lm.tokenizer.start_id is not None and int(whole[0]) == lm.tokenizer.start_id
        own = whole[1:] if start else whole
        return lm.tokenizer.encode(lm.tokenizer.decode(own, special=True), start=False) == own.tolist()

    @torch.no_grad()
    def _read(self, lm: CausalLM, frame: "_Frame", suffixes: Tensor) -> tuple[Tensor, Tensor]:
        texts = frame.told(suffixes)
        logits = lm(texts.ids, texts.mask)
        return told_loss(logits, texts), said(logits, texts)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands round a suffix, ids `(n,)`, `(k,)` and `(m,)`."""

    prompt: Tensor
    after: Tensor
    answer: Tensor

    def told(self, suffixes: Tensor) -> Told:
        """Return the text with each of some suffixes `(C, K)`."""
        count = len(suffixes)
        before, after, answer = (some.expand(count, -1) for some in (self.prompt, self.after, self.answer))
        ids = torch.cat([before, suffixes, after, answer], 1)
        told = torch.zeros_like(ids, dtype=torch.bool)
        told[:, ids.shape[1] - len(self.answer) :] = True
        return Told(ids, torch.ones_like(told), told)
