"""Tracks: arrays, clips of frames, simulated ones, and views by one draw."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.data.arrays.source import ArraySource
from withstand.data.clips.frames import moving_patches, read_clips
from withstand.data.clips.load import FrameTracks, is_tracks
from withstand.data.clips.tracks import LaterPictures, SimulatedTracks, Tracks
from withstand.views.compose import Compose
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.tracks import LATER, TrackViews


def clip(frames: int = 6, step: int = 2) -> Tensor:
    """A textured square that moves to the right over a still textured ground."""
    generator = torch.Generator().manual_seed(0)
    ground = torch.randint(80, 120, (3, 40, 60), dtype=torch.uint8, generator=generator)
    thing = torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8, generator=generator)
    made = ground.repeat(frames, 1, 1, 1)
    for place in range(frames):
        made[place, :, 14:26, 10 + step * place : 22 + step * place] = thing
    return made


def written(path: Path, frames: Tensor, name: str = "one") -> Path:
    (path / name).mkdir(parents=True)
    for place, frame in enumerate(frames):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(path / name / f"{place:04}.png")
    return path


def test_arrays_give_the_first_frame_and_the_last() -> None:
    frames = torch.randint(0, 256, (5, 4, 3, 8, 8), dtype=torch.uint8)
    batch = Tracks(frames)[[3, 1]]
    assert torch.equal(batch.x, frames[[3, 1], 0])
    assert torch.equal(batch.extras[LATER], frames[[3, 1], -1])
    last = Tracks(frames.permute(0, 1, 3, 4, 2).numpy())
    assert torch.equal(last[[0]].x, frames[:1, 0])


def test_a_moving_thing_is_followed() -> None:
    found = moving_patches(clip(), 12, 1)
    assert found.shape == (1, 6, 3, 12, 12)
    # The window may begin beside the thing; wherever it does, it goes along with what it sees of it.
    thing = clip()[0, :, 14:26, 10:22].float()
    near = [float(np.corrcoef(found[0, 0].flatten(), frame.flatten())[0, 1]) for frame in found[0]]
    assert min(near) > 0.6
    assert found[0, 0].float().std() > 0.5 * thing.std()


def test_still_clips_have_nothing_to_follow() -> None:
    assert len(moving_patches(clip(step=0), 12, 3)) == 0


def test_frames_are_read_from_folders_and_archives(tmp_path: Path) -> None:
    folder = written(written(tmp_path / "clips", clip()), clip(4), "two")
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    for path in (folder, tmp_path / "clips.zip"):
        found = read_clips(path)
        assert list(found) == ["one", "two"]
        assert np.array_equal(found["one"], clip().permute(0, 2, 3, 1).numpy())
        tracks = FrameTracks(path, size=12, patches=2)
        assert set(tracks.attributes["clip"].tolist()) == {0, 1}
        assert tracks.group_names["clip"] == ("one", "two")
        assert tracks.together is not None
        assert is_tracks(path)


def test_clips_that_give_no_patch_are_told(tmp_path: Path) -> None:
    written(tmp_path / "clips", clip(), "a moving")
    written(tmp_path / "clips", clip(step=0), "b still")
    written(tmp_path / "clips", clip()[:, :, :10, :10], "c small")
    written(tmp_path / "clips", clip(), "d moving")
    with pytest.warns(UserWarning, match=r"2 of 4 clips give no patch \(b still: nothing that moves"):
        tracks = FrameTracks(tmp_path / "clips", size=12, patches=2)
    assert dict(tracks.skipped)["c small"] == "frames of 10 x 10 are smaller than patches of 12"
    assert tracks.group_names["clip"] == ("a moving", "d moving")
    assert set(tracks.attributes["clip"].tolist()) == {0, 1}
    assert "in 2 clips" in tracks.origin


def test_arrays_of_tracks_are_known_by_their_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "tracks.npy", np.zeros((3, 2, 3, 8, 8), np.uint8))
    np.save(tmp_path / "pictures.npy", np.zeros((3, 3, 8, 8), np.uint8))
    assert is_tracks(tmp_path / "tracks.npy")
    assert not is_tracks(tmp_path / "pictures.npy")
    assert not is_tracks("fashion-mnist-small")
    assert len(FrameTracks(tmp_path / "tracks.npy")) == 3


def test_what_shows_no_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tracks of one frame"):
        Tracks(torch.zeros(4, 1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"\(N, T, C, H, W\)"):
        Tracks(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="--simulate"):
        FrameTracks(written(tmp_path / "single", clip(1)))
    with pytest.raises(DataError, match="nothing that moves"):
        FrameTracks(written(tmp_path / "still", clip(step=0)), size=12)
    with pytest.raises(DataError, match="no folders of frames"):
        read_clips(tmp_path / "still" / "one")
    written(tmp_path / "odd", clip(2))
    Image.new("RGB", (4, 4)).save(tmp_path / "odd" / "one" / "9.png")
    with pytest.raises(DataError, match="several sizes"):
        read_clips(tmp_path / "odd")
    (tmp_path / "odd" / "one" / "9.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read"):
        read_clips(tmp_path / "odd")
    with pytest.raises(ConfigError, match="size"):
        moving_patches(clip(), 50, 1)
    with pytest.raises(DataError, match="no tracks"):
        LaterPictures(ArraySource(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)))


def test_a_simulated_track_is_always_the_same() -> None:
    x = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = SimulatedTracks(ArraySource(x))
    whole, one = source[range(6)], source[[4]]
    assert torch.equal(whole.extras[LATER][4:5], one.extras[LATER])
    assert (whole.extras[LATER].float() - x.float()).abs().mean() > 10
    still = SimulatedTracks(ArraySource(x), degrees=0.0, scale=(1.0, 1.0), shift=0.0, brightness=0.0)
    assert torch.equal(still[range(6)].extras[LATER], x)
    assert torch.equal(LaterPictures(source)[[4]].x, one.extras[LATER])
    with pytest.raises(ConfigError, match="scale"):
        SimulatedTracks(ArraySource(x), scale=(1.2, 0.7))


def test_one_draw_holds_for_all_frames() -> None:
    x = torch.rand(5, 3, 12, 12)
    view = TrackViews(Compose((RandomResizedCrop(8, (0.3, 0.6), flip=0.5), ColorJitter(0.5, 0.5, 0.5, 0.1))))
    index = torch.arange(5)
    same = view(Batch(x, index, extras={LATER: x}), Draws(0, index))
    assert torch.equal(*same.views)
    other = view(Batch(x, index, extras={LATER: x}), Draws(1, index))
    assert not torch.equal(same.views[0], other.views[0])
    with pytest.raises(DataError, match="no later ones"):
        view(Batch(x, index), Draws(0, index))
