"""Chains of picture views, and the views that fill `batch.views`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.picture import CROP, PictureView


@dataclass(frozen=True)
class Compose(PictureView):
    """Picture views one after another; view i draws from `draws.child(i)`."""

    views: tuple[PictureView, ...]

    def __post_init__(self) -> None:
        for view in self.views:
            if not isinstance(view, PictureView):
                raise ConfigError(f"Compose chains picture views, not {type(view).__name__}")

    @classmethod
    def example(cls) -> Self:
        return cls((ColorJitter(probability=1.0), RandomResizedCrop(12)))

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        if not self.views:
            return super().__call__(batch, draws)
        # The first view makes a tensor that is ours; the others may work in place.
        batch = self.views[0](batch, draws.child(0))
        if any(map(_moves, self.views[1:])) and CROP in batch.extras:
            batch = batch.without_extra(CROP)
        return batch.with_x(self._rest(batch.x, draws))

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        return self._rest(self.views[0].change(x, draws.child(0)), draws) if self.views else x

    def _rest(self, x: Tensor, draws: Draws) -> Tensor:
        for place, view in enumerate(self.views[1:], start=1):
            x = view.change(x, draws.child(place))
        return x


def _moves(view: PictureView) -> bool:
    return view.moves or (isinstance(view, Compose) and any(map(_moves, view.views)))


@dataclass(frozen=True)
class TwoViews(View):
    """Two views of every picture: `batch.views` of two tensors. `batch.x` stays.

    Args:
        first: makes view 0.
        second: makes view 1; None takes `first` again, with draws of its own.
    """

    first: View
    second: View | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(RandomResizedCrop(12), ColorJitter())

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        views = (self.first, self.second or self.first)
        return _side_by_side(batch, [view(batch, draws.child(place)) for place, view in enumerate(views)])


@dataclass(frozen=True)
class MultiCrop(View):
    """Several views of each kind (Caron et al., SwAV, 2020): `batch.views`, kind after kind. `batch.x` stays.

    Args:
        kinds: the views, large ones first by custom.
        counts: how many of each kind; every one has draws of its own.
    """

    kinds: tuple[View, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.kinds) != len(self.counts) or not self.kinds or min(self.counts) < 1:
            raise ConfigError(f"counts must give a positive number for each of {len(self.kinds)} kinds: {self.counts}")

    @classmethod
    def example(cls) -> Self:
        return cls((RandomResizedCrop(16), RandomResizedCrop(8)), (2, 3))

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        views = [view for view, count in zip(self.kinds, self.counts, strict=True) for _ in range(count)]
        return _side_by_side(batch, [view(batch, draws.child(place)) for place, view in enumerate(views)])


def _side_by_side(batch: Batch, made: Sequence[Batch]) -> Batch:
    """Return a batch with views, and with the part of the picture that each shows where all of them say it."""
    batch = batch.with_views(*(one.x for one in made))
    if not all(CROP in one.extras for one in made):
        return batch
    crops = torch.stack([one.extras[CROP] for one in made], 1)
    return batch.with_extra(CROP, crops)
