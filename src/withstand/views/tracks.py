"""Views of tracks: both frames of a sample go through the same changes, by one draw."""

from dataclasses import dataclass
from typing import Self

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.picture import PictureView, own_copy

LATER = "later"
"""The extra of a batch that holds the same things later, pictures `(B, C, H, W)` of bytes."""


@dataclass(frozen=True)
class TrackViews(View):
    """Two views, a thing and the same thing later, changed alike: what differs between them is what time changed.

    Args:
        view: of pictures.
    """

    view: PictureView

    @classmethod
    def example(cls) -> Self:
        return cls(RandomResizedCrop(8))

    def example_batch(self) -> Batch:
        from withstand.data.clips.tracks import SimulatedTracks  # whose module needs this one

        return SimulatedTracks.example()[range(4)]

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        if LATER not in batch.extras:
            raise DataError("these pictures have no later ones: give tracks, or simulate them")
        frames = [own_copy(batch.x), own_copy(batch.extras[LATER])]
        # A fresh copy of the streams for each frame: the same numbers, so that one draw holds for all of a track.
        everything = slice(None)
        return batch.with_views(*(self.view.change(frame, draws[everything]) for frame in frames))
