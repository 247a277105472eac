"""Views of pictures with captions: crops and colors of the one, missing and moved words of the other.

Easy Data Augmentation (Wei and Zou, 2019), on ids of words. Every change is one gather of the whole batch.
Sizes: `B` pictures, `C` captions of each at most, `L` words of a caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.data.captions.source import CAPTIONS, CaptionedClasses
from withstand.data.captions.words import Vocabulary
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.picture import check_probability

TEXTS = "texts"
"""The name in `Batch.extras` of drawn captions, int64 `(B, 1 + K, L)`: the weak one, then the strong ones."""

STOP_WORDS = frozenset((
    "a", "an", "the", "and", "but", "or", "nor", "so", "yet", "if", "then", "else", "because", "as", "until",
    "while", "of", "at", "by", "for", "with", "without", "within", "about", "against", "between", "into", "onto",
    "through", "during", "before", "after", "above", "below", "to", "from", "up", "down", "in", "out", "on", "off",
    "over", "under", "upon", "again", "further", "once", "here", "there", "when", "where", "why", "how", "all",
    "any", "both", "each", "few", "more", "most", "other", "others", "some", "such", "no", "not", "only", "own",
    "same", "than", "too", "very", "just", "also", "i", "me", "my", "mine", "myself", "we", "us", "our", "ours",
    "ourselves", "you", "your", "yours", "yourself", "yourselves", "he", "him", "his", "himself", "she", "her",
    "hers", "herself", "it", "its", "itself", "they", "them", "their", "theirs", "themselves", "this", "that",
    "these", "those", "who", "whom", "whose", "which", "what", "is", "am", "are", "was", "were", "be", "been",
    "being", "have", "has", "had", "having", "do", "does", "did", "doing", "done", "can", "could", "may", "might",
    "must", "shall", "should", "will", "would", "ought", "don't", "doesn't", "didn't", "isn't", "aren't", "wasn't",
    "weren't", "won't", "can't", "couldn't", "shouldn't", "wouldn't", "hasn't", "haven't", "hadn't", "it's",
    "that's", "there's", "he's", "she's", "they're", "we're", "you're", "i'm", "let's", "s", "t", "d", "ll", "m",
    "o", "re", "ve", "y", "now",
))  # fmt: skip
"""English words that tell how others belong together."""


@dataclass(frozen=True)
class CaptionViews(View):
    """One weak and K strong views of each picture, and as many of its captions, each drawn from all it has.

    Pictures are `batch.views`, the weak one first; texts are `batch.extras["texts"]`. Weakly augmented texts lose their
    stop words, if others remain, with a probability; strongly augmented ones lose them likewise, and then suffer one of
    three changes: a word becomes a synonym, two words change places, or each word is dropped with a probability, not
    all of them.

    Args:
        weak: view of pictures.
        strong: further views of pictures, K of them.
        vocabulary: of the captions.
        removal: probability that stop words go, of weak and strong texts.
        weights: of synonyms, exchange and dropping. Where no synonyms are given, the other two share their weight.
        dropped: probability of each word to be dropped.
        synonyms: groups of words that stand for one another.

    Raises:
        ConfigError: a probability or weight out of range.
    """

    weak: View
    strong: tuple[View, ...]
    vocabulary: Vocabulary
    removal: float = 0.8
    weights: tuple[float, float, float] = (0.4, 0.4, 0.2)
    dropped: float = 0.1
    synonyms: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        check_probability("removal", self.removal)
        check_probability("dropped", self.dropped)
        if min(self.weights) < 0 or sum(self.weights[1:]) <= 0:
            raise ConfigError(f"weights must be at least 0, and exchange or dropping above it, not {self.weights}")

    @classmethod
    def example(cls) -> Self:
        crop = RandomResizedCrop(8, (0.5, 1.0))
        return cls(crop, (crop, crop), Vocabulary.example(), synonyms=(("dog", "cat"),))

    def example_batch(self) -> Batch:
        return CaptionedClasses.example().reading(self.vocabulary)[range(7)]

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        captions = batch.extras.get(CAPTIONS)
        if captions is None:
            raise DataError("these pictures have no captions: give a folder of pictures with a captions.csv")
        captions = captions[:, :, : max(1, int((captions != 0).sum(2).max()))]
        pictures, texts = [], []
        for place, view in enumerate((self.weak, *self.strong)):
            own = draws.child(place)
            seen = view(batch, own.child("picture"))
            pictures.append(seen.views[0] if seen.views else seen.x)
            drawn = self.drawn(captions, own.child("caption"))
            texts.append(self.changed(drawn, own.child("words"), strong=place > 0))
        seen = batch.with_views(*pictures)
        return replace(seen, extras=batch.extras).with_extra(TEXTS, torch.stack(texts, 1))

    @staticmethod
    def drawn(captions: Tensor, draws: Draws) -> Tensor:
        """Return one of each picture's captions, `(B, L)`."""
        counts = (captions[..., 0] != 0).sum(1)
        chosen = (draws.uniform(1)[:, 0] * counts).long().clamp_max(counts - 1)
        return captions[torch.arange(len(captions), device=captions.device), chosen]

    def changed(self, texts: Tensor, draws: Draws, *, strong: bool) -> Tensor:
        """Return texts `(B, L)` with the weak or a strong change."""
        stop = self._stop_words().to(texts.device)[texts]
        go = draws.chance(self.removal, 1) & stop & ((texts != 0) & ~stop).any(1, keepdim=True)
        texts = without(texts, go)
        if not strong:
            return texts
        table, counts = self._synonyms()
        synonym, exchange, dropping = self.weights
        total = exchange + dropping + (synonym if len(self.synonyms) else 0.0)
        kind = draws.uniform(1) * total
        outcome = torch.where(kind < dropping, dropped_words(texts, self.dropped, draws), exchanged(texts, draws))
        if not len(self.synonyms):
            return outcome
        replaced = replaced_word(texts, table.to(texts.device), counts.to(texts.device), draws)
        return torch.where(kind < dropping + exchange, outcome, replaced)

    def _stop_words(self) -> Tensor:
        """Return which ids are those of stop words, bool `(V,)`."""
        return torch.tensor([False, False, *(word in STOP_WORDS for word in self.vocabulary.words)])

    def _synonyms(self) -> tuple[Tensor, Tensor]:
        """Return the other words of each id's group, int64 `(V, S)`, and how many they are, `(V,)`."""
        of = {word: place for place, word in enumerate(self.vocabulary.words, 2)}
        groups = [[of[word] for word in group if word in of] for group in self.synonyms]
        most = max((len(group) - 1 for group in groups), default=0)
        table = torch.zeros(len(self.vocabulary), max(1, most), dtype=torch.int64)
        counts = torch.zeros(len(self.vocabulary), dtype=torch.int64)
        for group in groups:
            for word in group:
                others: Sequence[int] = [other for other in group if other != word]
                table[word, : len(others)], counts[word] = torch.tensor(others, dtype=torch.int64), len(others)
        return table, counts


def without(texts: Tensor, gone: Tensor) -> Tensor:
    """Return texts `(B, L)` without the words that go, bool `(B, L)`; the others close up."""
    gone = gone | (texts == 0)
    return torch.where(gone, 0, texts).gather(1, gone.long().argsort(dim=1, stable=True))


def dropped_words(texts: Tensor, probability: float, draws: Draws) -> Tensor:
    """Return texts `(B, L)`, each word dropped with a probability; where all would go, one at random stays."""
    chance = draws.uniform(texts.shape[1]).masked_fill(texts == 0, -1.0)
    stays = chance >= probability
    stays[torch.arange(len(texts), device=texts.device), chance.argmax(1)] = True
    return without(texts, ~stays)


def exchanged(texts: Tensor, draws: Draws) -> Tensor:
    """Return texts `(B, L)` with two words at random in each other's place; one of a single word stays."""
    order = draws.uniform(texts.shape[1]).masked_fill(texts == 0, -1.0)
    if texts.shape[1] < 2:
        return texts
    places = order.topk(2, dim=1).indices
    some = texts.gather(1, places)
    swapped = texts.scatter(1, places, some.flip(1))
    return torch.where((some != 0).all(1, keepdim=True), swapped, texts)


def replaced_word(texts: Tensor, table: Tensor, counts: Tensor, draws: Draws) -> Tensor:
    """Return texts `(B, L)`, each with a synonym in place of one word that has some, at random.

    Args:
        texts: ids of words.
        table: synonyms of each id, `(V, S)`.
        counts: how many each id has, `(V,)`.
        draws: a stream for each text.
    """
    able = counts[texts] > 0
    place = draws.uniform(texts.shape[1]).masked_fill(~able, -1.0).argmax(1, keepdim=True)
    word = texts.gather(1, place)
    many = counts[word]
    other = table[word[:, 0]].gather(1, (draws.uniform(1) * many).long().clamp_max((many - 1).clamp_min(0)))
    return torch.where(able.any(1, keepdim=True), texts.scatter(1, place, other), texts)
