"""Words as numbers: a vocabulary learnt from captions.

Sizes: `B` texts, `L` words of the longest.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part

PAD, UNKNOWN, FIRST = 0, 1, 2
"""The ids of no word and of an unknown one, and that of the first known one."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d|[^\w\s]+|_+")


def words_of(text: str) -> list[str]:
    """Return a text's words in small letters; digits stand alone, and marks side by side are one word.

    >>> words_of("A dog &amp; 2 men's hats .")
    ['a', 'dog', '&', '2', "men's", 'hats', '.']
    """
    return _WORD.findall(html.unescape(text).casefold())


class Vocabulary(Part):
    """A tokenizer whose tokens are words.

    Ids 0 and 1 are no word and an unknown one, the others are `words` in their order. It is the whole of a run's
    tokenizer, and stands in the run's description.

    Args:
        words: known ones, in small letters, each once.
        context: words after which a text is cut.

    Raises:
        ConfigError: no words, a repeated one, or a context below 1.
    """

    def __init__(self, words: Sequence[str], context: int = 75) -> None:
        if not words or len(set(words)) < len(words):
            raise ConfigError("a vocabulary holds at least one word, and each once")
        if context < 1:
            raise ConfigError(f"context must be at least 1, not {context!r}")
        self.words, self.context = tuple(words), context
        self._ids = {word: place for place, word in enumerate(self.words, FIRST)}

    @classmethod
    def example(cls) -> Self:
        return cls(("a", "the", "of", "dog", "cat", "runs", "sleeps", "red", "blue"), 6)

    @classmethod
    def learnt(cls, captions: Iterable[str], *, least: int = 2, context: int = 75) -> Self:
        """Return the words of captions, the most frequent first, equally frequent ones in the alphabet's order.

        Args:
            captions: what to learn from.
            least: how often a word must be there; where none is so often, 1.
            context: words after which a text is cut.
        """
        counts = Counter(word for caption in captions for word in words_of(caption))
        known = {word: count for word, count in counts.items() if count >= least} or counts
        return cls(sorted(known, key=lambda word: (-known[word], word)), context)

    def __len__(self) -> int:
        """Return how many ids there are, those of no word and of an unknown one included."""
        return FIRST + len(self.words)

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Return the ids of texts, int64 `(B, L)`, 0 after a text's end; a text without words is one unknown word."""
        rows = [
            [self._ids.get(word, UNKNOWN) for word in words_of(text)[: self.context]] or [UNKNOWN] for text in texts
        ]
        found = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.int64)
        for place, row in enumerate(rows):
            found[place, : len(row)] = torch.tensor(row)
        return found

    def texts(self, ids: Tensor) -> list[str]:
        """Return the words of ids `(B, L)` up to each row's first 0, with spaces between; an unknown one is "?".

        >>> words = Vocabulary(("a", "dog"))
        >>> words.texts(words.ids(["a dog", "A cat"]))
        ['a dog', 'a ?']
        """
        names = ("", "?", *self.words)
        rows = [row[: row.index(PAD)] if PAD in row else row for row in ids.tolist()]
        return [" ".join(names[word] for word in row) for row in rows]

    def known(self, text: str) -> bool:
        """Return whether all words of a text are known."""
        return all(word in self._ids for word in words_of(text))

    def cuts(self, text: str) -> bool:
        """Return whether a text has more words than are read."""
        return len(words_of(text)) > self.context

    def require(self, text: str, what: str) -> None:
        """Refuse a text with unknown words, or with none, which would be read as another text.

        Raises:
            ConfigError: names the word, and the nearest known one.
        """
        words = words_of(text)
        if not words:
            raise ConfigError(f"{what} {text!r} holds no word")
        for word in words:
            if word not in self._ids:
                raise ConfigError(
                    f"{what} {text!r} has the word {word!r}, which no caption has: {nearest(word, self.words)}"
                )
        if len(words) > self.context:
            raise ConfigError(f"{what} {text!r} has {len(words)} words, and texts are cut after {self.context}")
