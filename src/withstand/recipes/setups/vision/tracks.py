"""What a recipe on tracks shares: things at several times, from clips, arrays, or simulated of pictures."""

from dataclasses import dataclass
from pathlib import Path

from withstand.core.errors import DataError
from withstand.core.roles import Source
from withstand.data.clips.load import FrameTracks, is_tracks
from withstand.data.clips.tracks import SimulatedTracks
from withstand.data.derived.subset import holdout_or_all
from withstand.data.load import DEFAULT_SIZE
from withstand.recipes.setups.vision.pictures import PictureSetup, both


@dataclass(frozen=True, kw_only=True)
class TrackSetup(PictureSetup):
    """What a recipe on tracks can be told besides.

    Args:
        data: a folder or zip archive of folders of frames; a .npy or .npz array (N, T, C, H, W) of tracks; with
            simulate any pictures.
        size: side of the patches that are tracked, or of a folder's pictures, pixels.
        learning_rate: of SGD, for a batch of 128; scaled with the batch.
        patches: tracked from each stretch of 30 frames of a clip, at most.
        simulate: make tracks of single pictures, turned, resized, shifted and dimmed as what they look like later.
    """

    batch: int = 128
    learning_rate: float = 0.05
    patches: int = 20
    simulate: bool = False

    def parts(self) -> tuple[Source, Source]:
        """Return (train, test), tracks.

        Raises:
            DataError: data that hold no tracks.
        """
        if self.simulate:
            train, test = both(super().parts())
            return SimulatedTracks(train), SimulatedTracks(test, seed=1)
        self.reading.refuse("frames of tracks are read as they stand")
        size = DEFAULT_SIZE if self.size is None else self.size
        if isinstance(self.data, Source):
            return both(holdout_or_all(self.data, self.holdout))
        if is_tracks(self.data):
            whole = FrameTracks(str(self.data), size=size, patches=self.patches)
            return both(holdout_or_all(whole, self.holdout))
        named = str(self.data) if isinstance(self.data, str | Path) else f"a {type(self.data).__name__}"
        raise DataError(
            f"{named} holds no tracks: give a folder or zip archive of folders of frames, or an "
            "array (N, T, C, H, W); --simulate makes tracks of pictures"
        )
