"""Batches of prompts and of pairs of answers, as ids; and a context with its answer side by side.

Sizes: B samples, L ids of the longest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Structured
from withstand.core.errors import DataError
from withstand.core.sequences import Sequences
from withstand.data.text.said import Said, from_ids


@dataclass(frozen=True, slots=True, eq=False)
class TextPrompts(Structured):
    """Prompts to answer.

    Attributes:
        prompt: the ids before an answer.
        said: the prompts as they came, as bytes; see `texts`.
    """

    prompt: Sequences
    said: Sequences

    def __len__(self) -> int:
        return len(self.prompt)

    def texts(self) -> list[Said]:
        """Return the prompts as they came: words, or conversations."""
        values, lengths = self.said.values.cpu(), self.said.lengths.tolist()
        return [from_ids(row[:length]) for row, length in zip(values, lengths, strict=True)]

    def rows(self, chosen: slice) -> Self:
        """Return some of the samples."""
        return replace(
            self,
            **{name: Sequences(some.values[chosen], some.lengths[chosen]) for name, some in self._parts().items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name} {part}": value for name, some in self._parts().items() for part, value in some.tensors().items()
        }

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{name: some.map(function) for name, some in self._parts().items()})

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        moved = {name: some.to(device, non_blocking=non_blocking) for name, some in self._parts().items()}
        return self if all(moved[name] is some for name, some in self._parts().items()) else replace(self, **moved)

    def _parts(self) -> dict[str, Sequences]:
        return {"prompt": self.prompt, "said": self.said}


@dataclass(frozen=True, slots=True, eq=False)
class TextPairs(TextPrompts):
    """Prompts with a chosen and a rejected answer, and with what asks for a better one than either.

    An answer's ids end with the end token, unless it was cut, and are the same after every context.

    Attributes:
        chosen: the ids of the chosen answer.
        rejected: of the rejected one.
        after_chosen: the ids before an answer that improves the chosen one; None where they were not asked for.
        after_rejected: before one that improves the rejected one.
    """

    chosen: Sequences
    rejected: Sequences
    after_chosen: Sequences | None = None
    after_rejected: Sequences | None = None

    @staticmethod
    def of(samples: object) -> "TextPairs":
        """Return samples as pairs of answers.

        Raises:
            DataError: they are something else.
        """
        if isinstance(samples, TextPairs):
            return samples
        raise DataError(f"this method reads pairs of answers, TextPairs, not a {type(samples).__name__}")

    def _parts(self) -> dict[str, Sequences]:
        every = {
            "prompt": self.prompt,
            "said": self.said,
            "chosen": self.chosen,
            "rejected": self.rejected,
            "after_chosen": self.after_chosen,
            "after_rejected": self.after_rejected,
        }
        return {name: some for name, some in every.items() if some is not None}


@dataclass(frozen=True, slots=True)
class Told:
    """Contexts with an answer behind each, padded on the right.

    Attributes:
        ids: int64 `(B, L)`, 0 in the padding.
        mask: which are a sample's own, bool `(B, L)`.
        told: which of them are the answer's, bool `(B, L)`.
    """

    ids: Tensor
    mask: Tensor
    told: Tensor


def behind(context: Sequences, answer: Sequences) -> Told:
    """Return each context with its answer directly behind it."""
    first, more = context.lengths[:, None], answer.lengths[:, None]
    longest = int((first + more).max())
    at = torch.arange(longest, device=first.device).expand(len(context), longest)
    mask, told = at < first + more, (at >= first) & (at < first + more)
    before = context.values.gather(1, at.clamp(max=context.values.shape[1] - 1))
    after = answer.values.gather(1, (at - first).clamp(0, answer.values.shape[1] - 1))
    return Told(torch.where(told, after, before).masked_fill(~mask, 0), mask, told)


def stacked(*some: Told) -> Told:
    """Return several one below the other, padded to the longest: one pass of a network for all."""
    longest = max(one.ids.shape[1] for one in some)

    def wide(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, longest - values.shape[1]))

    return Told(*(torch.cat([wide(getattr(one, name)) for one in some]) for name in ("ids", "mask", "told")))


def left_padded(some: Sequences) -> tuple[Tensor, Tensor]:
    """Return ids with the padding before them, and the mask of a sample's own: what text is generated behind.

    Places in the text are counted by the mask, so padding on either side means the same to a network.
    """
    longest = some.values.shape[1]
    at = torch.arange(longest, device=some.lengths.device) - (longest - some.lengths[:, None])
    mask = at >= 0
    return some.values.gather(1, at.clamp_min(0)).masked_fill(~mask, 0), mask
