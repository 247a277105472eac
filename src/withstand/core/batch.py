"""Batch: what a source gives, views change and a method reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples of any modality.

    Attributes:
        x: the samples, first axis B (pictures are uint8 or float, `(B, C, H, W)`).
        index: each sample's place in its source, int64 `(B,)`; draws and per-sample state hang on it.
        y: labels `(B,)`, or None. Never needed to pretrain.
        views: what a view made of `x`, one tensor a view, each with first axis B.
        extras: further tensors a modality needs (edges, masks, times), by name.
    """

    x: Tensor
    index: Tensor
    y: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Self:
        """Return the batch with every tensor on `device`."""
        return replace(
            self,
            x=self.x.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
            y=None if self.y is None else self.y.to(device, non_blocking=True),
            views=tuple(view.to(device, non_blocking=True) for view in self.views),
            extras={name: value.to(device, non_blocking=True) for name, value in self.extras.items()},
        )

    def with_x(self, x: Tensor) -> Self:
        """Return the batch with other samples in place of `x`."""
        return replace(self, x=x)

    def with_views(self, *views: Tensor) -> Self:
        """Return the batch with these views."""
        return replace(self, views=views)
