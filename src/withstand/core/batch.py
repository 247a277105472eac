"""Batch: what a source gives, views change and a method reads."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self, cast

import torch
from torch import Tensor

from withstand.core.random import Draws, derive


class Structured(ABC):
    """B samples that no single tensor holds, such as graphs: it stands in a batch where their tensor would.

    Shared code hands samples on without looking inside, so it is declared to take tensors; `as_samples` says so to
    type checkers. Networks that read such samples refuse tensors in their place.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what it holds, by name."""

    @abstractmethod
    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return it with changed floating tensors."""

    @abstractmethod
    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return it on a device; itself when it is there."""

    def as_samples(self) -> Tensor:
        """Return itself, as what shared code takes."""
        return cast(Tensor, self)


def tensors_of(samples: Tensor, name: str) -> dict[str, Tensor]:
    """Return the tensors that hold samples: themselves under `name`, or the parts of a `Structured`."""
    whole = as_structured(samples)
    return {name: samples} if whole is None else {f"{name} {part}": value for part, value in whole.tensors().items()}


def as_structured(samples: object) -> Structured | None:
    """Return samples that are `Structured`, and None for a tensor of them."""
    return samples if isinstance(samples, Structured) else None


def unit_range(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return bytes, as those of pictures, as numbers of `dtype` in [0, 1]; anything else as it is.

    Bytes are amounts, so whole numbers that are names, as token ids, come as int64; inside a `Structured` all stay.
    """
    return x.to(dtype).div_(255) if isinstance(x, Tensor) and x.dtype == torch.uint8 else x


class Further(Mapping[str, Tensor]):
    """Extras with some more, which stand in the place of those of the same name.

    Args:
        base: the extras before.
        own: those that came.
    """

    def __init__(self, base: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        self.base, self.own = base, dict(own)

    def __getitem__(self, name: str) -> Tensor:
        return self.own[name] if name in self.own else self.base[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in self.base if name not in self.own)

    def __len__(self) -> int:
        return len({*self.own, *self.base})


MASK = "mask"
"""The extra that holds what each pixel shows: whole numbers from 0, the background, and -1 where it is not known."""
KEYPOINTS = "keypoints"
"""The extra that holds points, x and y in pixels, `(B, J, 2)`: the middle of the pixel in row i, column j is (j, i)."""
VISIBLE = "visible"
"""The extra that says which points are known, bool `(B, J)`; all where there is no such extra."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples of any modality.

    Attributes:
        x: the samples, first axis B (pictures are uint8 or float, `(B, C, H, W)`), or a `Structured` of B of them.
        index: each sample's place in its source, int64 `(B,)`; draws and per-sample state hang on it.
        y: labels `(B,)`, or None. Never needed to pretrain.
        views: what a view made of `x`, one tensor a view, each with first axis B.
        extras: further tensors a modality needs (edges, masks, times), by name.
        beside: batches of the experiment's further sources, by their names.
        seed: of the run; what a method draws hangs on it, see `draws`.
        step: how many batches the run had before this one.
        epoch: how many passes over the data.
        whole: the samples in more detail than `x` holds, for views that take parts of them; None where `x` holds all.
            Only what is made for views has it, see `Source.for_views`, and other samples in `x` end it.
    """

    x: Tensor
    index: Tensor
    y: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    beside: Mapping[str, "Batch"] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    epoch: int = 0
    whole: Structured | None = None

    def draws(self, name: str) -> Draws:
        """Return a stream for each sample of this step, `(B,)`: it hangs on seed, step, index and name alone."""
        return Draws(derive(self.seed, name), self.index, epoch=self.step)

    def draws_for_all(self, name: str, *words: int | str) -> Draws:
        """Return one stream for the whole batch of this step, the same on every process: `(1,)`."""
        return Draws(derive(self.seed, name, *words), torch.zeros(1, dtype=torch.int64), epoch=self.step)

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
            beside={name: batch.to(device) for name, batch in self.beside.items()},
            whole=None if self.whole is None else self.whole.to(device, non_blocking=True),
        )

    def with_x(self, x: Tensor) -> Self:
        """Return the batch with other samples in place of `x`."""
        return replace(self, x=x, whole=None)

    def with_extra(self, name: str, value: Tensor) -> Self:
        """Return the batch with a further extra, or another in its place; the others are handed on unread."""
        return replace(self, extras=Further(self.extras, {name: value}))

    def without_extra(self, name: str) -> Self:
        """Return the batch without one of its extras; the others are handed on unread where it came last."""
        extras = self.extras
        if isinstance(extras, Further) and name in extras.own and name not in extras.base:
            own = {key: value for key, value in extras.own.items() if key != name}
            return replace(self, extras=Further(extras.base, own) if own else extras.base)
        return replace(self, extras={key: value for key, value in extras.items() if key != name})

    def with_views(self, *views: Tensor) -> Self:
        """Return the batch with these views."""
        return replace(self, views=views)
