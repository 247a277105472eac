"""The tokenizer of a causal language model as a part: texts to ids and back, and rows of ids side by side.

Sizes: `B` texts, `L` ids of the longest.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.models.tokens.causal_base import tokenizer_named

Side: TypeAlias = Literal["left", "right"]


class CausalTokenizer(Part):
    """What a language model's tokenizer does, by the model's name alone: its weights are not read.

    Args:
        name: of the model, as `CausalLM` takes it.
        pad: the piece that pads rows, where the tokenizer names none. Any will do, for masks hide it.

    Attributes:
        tokenizer: transformers' own, with its chat template.
        pad_id: the id that pads.
        start_id: the id before every text; None where the tokenizer puts none.
        end_id: the id after a completion; None where the tokenizer has none.

    Raises:
        MissingExtra: transformers is not installed.
        ConfigError: nothing has this name, or there is no pad token, or no such piece.
        DataError: a folder or a file that cannot be read.
    """

    def __init__(self, name: str, pad: str | None = None) -> None:
        self.name, self.tokenizer = name, tokenizer_named(name)
        known: dict[str, int] = self.tokenizer.get_vocab()
        if pad is not None:
            if pad not in known:
                raise ConfigError(f"pad {pad!r} is no piece of {name}'s tokenizer: {nearest(pad, known)}")
            self.tokenizer.pad_token = pad
        if self.tokenizer.pad_token_id is None:
            some: Any = self.tokenizer.eos_token or next(iter(known))
            raise ConfigError(f"{name}'s tokenizer has no pad token: name a piece that pads, pad={some!r} say")
        self.pad_id = int(self.tokenizer.pad_token_id)
        end: Any = self.tokenizer.eos_token_id
        self.end_id = None if end is None else int(end)
        first, start = self.encode("a")[:1], self.tokenizer.bos_token_id
        self.start_id = int(start) if start is not None and first == [start] else None

    @classmethod
    def example(cls) -> Self:
        return cls("tiny:llama")

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Return a text's ids.

        Args:
            text: any.
            start: put before it what the tokenizer puts before texts, as <s>; nothing is ever put after.
        """
        return self.encode_all([text], start=start)[0]

    def encode_all(self, texts: Sequence[str], *, start: bool = True) -> list[list[int]]:
        """Return the ids of texts, as `encode` gives those of one, and many times faster for many."""
        if not len(texts):
            return []
        rows: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=start)["input_ids"]
        end = getattr(self, "end_id", None)
        ends = start and end is not None
        return [list(row[:-1]) if ends and len(row) > 1 and row[-1] == end else list(row) for row in rows]

    def decode(self, ids: Sequence[int] | Tensor, *, special: bool = False) -> str:
        """Return the text of ids, without special pieces unless they are asked for."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        text: str = self.tokenizer.decode(numbers, skip_special_tokens=not special)
        return text

    def pad(self, rows: Sequence[Sequence[int] | Tensor], side: Side = "left") -> tuple[Tensor, Tensor]:
        """Return rows of ids side by side, int64 `(B, L)`, and which are a row's own, bool `(B, L)`.

        Raises:
            DataError: a row without ids.
        """
        ids = torch.full((len(rows), max(map(len, rows), default=0)), self.pad_id)
        own = torch.zeros(ids.shape, dtype=torch.bool)
        for place, row in enumerate(rows):
            if not len(row):
                raise DataError(f"row {place} has no ids: a text has one at least")
            at = slice(len(ids[place]) - len(row), None) if side == "left" else slice(len(row))
            ids[place, at], own[place, at] = torch.as_tensor(row, dtype=torch.int64), True
        return ids, own
