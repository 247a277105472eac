"""`Sequences`: samples of different lengths side by side, as texts, flows or recordings are.

Sizes: `B` samples, `L` steps of the longest, `F` numbers a step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from withstand.core.batch import Structured
from withstand.core.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Sequences(Structured):
    """A batch of sequences, padded at their ends.

    Lengths are a part of the samples, and no extras of a batch: whoever embeds, probes or predicts hands a network its
    samples and nothing else. How far a batch is padded depends on its company, so what is computed of a sample must
    not: read `mask`, or `mean`.

    Attributes:
        values: `(B, L, ...)`: token ids `(B, L)`, int64, or numbers `(B, L, F)`; beyond a sample's length they are 0.
        lengths: steps of each, at least 1, int64 `(B,)`.
    """

    values: Tensor
    lengths: Tensor

    @staticmethod
    def of(samples: object) -> "Sequences":
        """Return samples as sequences.

        Raises:
            DataError: they are something else.
        """
        if isinstance(samples, Sequences):
            return samples
        shape = f" of shape {tuple(samples.shape)}" if isinstance(samples, Tensor) else ""
        raise DataError(
            f"this network reads Sequences, not a {type(samples).__name__}{shape}: Sequences.whole(x) are some of "
            "equal length"
        )

    @classmethod
    def padded(cls, samples: Sequence[Tensor]) -> Self:
        """Return sequences `(L_i, ...)` side by side.

        Raises:
            DataError: one without steps.
        """
        lengths = torch.tensor([len(one) for one in samples], dtype=torch.int64)
        if len(lengths) and not int(lengths.min()):
            raise DataError(f"a sequence has one step or more, and number {int(lengths.argmin())} has none")
        return cls(pad_sequence(list(samples), batch_first=True), lengths)

    @classmethod
    def whole(cls, values: Tensor) -> Self:
        """Return sequences that all have the full length, from values `(B, L, ...)`."""
        return cls(values, torch.full((len(values),), values.shape[1], device=values.device))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def mask(self) -> Tensor:
        """Which steps are a sample's own, bool `(B, L)`."""
        return torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def mean(self, steps: Tensor) -> Tensor:
        """Return the mean over each sample's own steps, `(B, D)`, of what was computed of each step, `(B, L, D)`.

        What was computed of the padding may be anything, even NaN.
        """
        own = steps.masked_fill(~self.mask[..., None], 0)
        return own.sum(1) / self.lengths[:, None].to(own.dtype)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values, "lengths": self.lengths}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, values=function(self.values)) if self.values.is_floating_point() else self

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        values = self.values.to(device, non_blocking=non_blocking)
        lengths = self.lengths.to(device, non_blocking=non_blocking)
        return (
            self if values is self.values and lengths is self.lengths else replace(self, values=values, lengths=lengths)
        )
