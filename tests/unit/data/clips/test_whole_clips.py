"""Clips of folders, archives and arrays, and the stretches that are cut from them."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Source
from withstand.data.clips.frames import in_order, read_clips
from withstand.data.clips.stretches import Stretches
from withstand.data.clips.whole import Clips, clips_of, is_clips
from withstand.data.derived.subset import Subset, holdout


def write(folder: Path, count: int, height: int = 10, width: int = 12, first: int = 0) -> np.ndarray:
    """Write frames called 0.png to 11.png, and return them in their order."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(first).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    for place, frame in enumerate(pixels):
        Image.fromarray(frame).save(folder / f"{place}.png")
    return pixels


def test_frames_come_as_people_count(tmp_path: Path) -> None:
    names = ["10.png", "9.png", "a2.png", "a10.png", "1.png", "01.png"]
    assert sorted(names, key=in_order) == ["01.png", "1.png", "9.png", "10.png", "a2.png", "a10.png"]
    pixels = write(tmp_path / "clips" / "one", 12)
    assert np.array_equal(read_clips(tmp_path / "clips")["one"], pixels)
    assert torch.equal(Clips(tmp_path / "clips")[[0]].x[0], torch.from_numpy(pixels).permute(0, 3, 1, 2))


def test_a_folder_an_archive_and_a_single_clip(tmp_path: Path) -> None:
    one, two = write(tmp_path / "clips" / "b", 3), write(tmp_path / "clips" / "a", 4, 8, 6, first=1)
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        for file in sorted((tmp_path / "clips").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "clips"))
    for place in (tmp_path / "clips", tmp_path / "clips.zip"):
        clips = Clips(place)
        assert (clips.name, clips.names) == ("clips", ("a", "b"))
        assert clips.lengths.tolist() == [4, 3]
        assert clips.sides.tolist() == [[8, 6], [10, 12]]
        for row, pixels in enumerate((two, one)):
            assert np.array_equal(clips[[row]].x[0].permute(0, 2, 3, 1).numpy(), pixels)
        assert np.array_equal(clips.frames(1, 1, 3).permute(0, 2, 3, 1).numpy(), one[1:3])
        with pytest.raises(DataError, match="differ in length or size: read them one at a time"):
            clips[[0, 1]]
    assert Clips(tmp_path / "clips").fingerprint() == Clips(tmp_path / "clips.zip").fingerprint()
    alone = Clips(tmp_path / "clips" / "b")
    assert (alone.names, alone.shape) == (("b",), (3, 3, 10, 12))
    before = alone.fingerprint()
    Image.fromarray(one[0] // 2).save(tmp_path / "clips" / "b" / "0.png")
    assert Clips(tmp_path / "clips" / "b").fingerprint() != before


def test_arrays_of_either_order_and_range(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 9, 7, 3), dtype=np.uint8)
    wanted = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)
    np.save(tmp_path / "clips.npy", pixels)
    for given in (pixels, pixels / 255, wanted, tmp_path / "clips.npy", str(tmp_path / "clips.npy")):
        assert is_clips(given)
        assert torch.equal(Clips(given)[[0, 1]].x, wanted)
    grey = Clips(torch.zeros(2, 4, 1, 9, 7, dtype=torch.uint8))
    assert grey.shape == (4, 1, 9, 7)
    assert not is_clips(pixels[0])
    for wrong, said in ((pixels[0], r"\(N, T, C, H, W\) or"), (np.zeros((1, 2, 5, 6, 7), np.uint8), "1 or 3 channels")):
        with pytest.raises(DataError, match=said):
            Clips(wrong)
    with pytest.raises(DataError, match=r"NaN|infinit|finite"):
        Clips(np.full((1, 2, 3, 4, 4), np.nan, np.float32))


def test_what_is_no_clip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"nor the name of a set: did you mean 'clips'"):
        Clips("clip")
    monkeypatch.delenv("WITHSTAND_DATA", raising=False)
    with pytest.raises(DataError, match=r"calendar is not on this machine.*video/vid4_calendar_lr\.zip"):
        Clips("calendar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no frames: give folders of frames, one a clip"):
        Clips(tmp_path / "empty")
    write(tmp_path / "mixed" / "one", 2)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "mixed" / "x.png")
    with pytest.raises(DataError, match="1 frames beside other clips"):
        Clips(tmp_path / "mixed")
    write(tmp_path / "sizes" / "one", 2)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "sizes" / "one" / "2.png")
    with pytest.raises(DataError, match=r"2\.png has 4 x 4 pixels, and the first of clip one 10 x 12"):
        Clips(tmp_path / "sizes")[[0]]
    (tmp_path / "sizes" / "one" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png cannot be read: cannot identify image file$"):
        Clips(tmp_path / "sizes")[[0]]
    with pytest.raises(DataError, match="clips are needed, and data holds clips of shape"):
        clips_of(Stretches.example())


def moving() -> Source:
    """Clips whose values tell clip, frame, row and column."""
    place = torch.cartesian_prod(*map(torch.arange, (3, 7, 8, 9))).view(3, 7, 8, 9, 4)
    return Clips((place * torch.tensor([80, 9, 3, 1])).sum(4)[:, :, None].to(torch.uint8))


def test_stretches_lie_on_a_grid_that_ends_at_the_edges() -> None:
    source = Stretches(Subset(moving(), [2, 0]), 4, 6, step=2, stride=4)
    starts, tops, lefts = [0, 2, 3], [0, 2], [0, 3]
    assert len(source) == 2 * len(starts) * len(tops) * len(lefts)
    whole = source[range(len(source))].x
    assert whole.shape == (24, 4, 1, 6, 6)
    expected = [
        80 * clip + 9 * start + 3 * top + left for clip in (2, 0) for start in starts for top in tops for left in lefts
    ]
    assert whole[:, 0, 0, 0, 0].tolist() == [value % 256 for value in expected]
    assert whole[0, :, 0, 1, 2].tolist() == [160 + 9 * frame + 3 + 2 for frame in range(4)]
    assert source.together is not None
    assert source.together.unique().tolist() == [0, 1]
    train, test = holdout(Stretches(moving(), 4, 6), 0.3)
    assert {*train.source.together[train.rows].tolist()}.isdisjoint(test.source.together[test.rows].tolist())


def test_clips_that_are_too_short_or_small_are_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path / "clips" / "short", 2)
    write(tmp_path / "clips" / "small", 5, 6, 12)
    write(tmp_path / "clips" / "good", 5)
    with pytest.warns(UserWarning, match=r"2 of 3 clips .* \(short: shorter than 4 frames; small: smaller than 8 x 8"):
        source = Stretches(Clips(tmp_path / "clips"), 4, 8)
    assert source.skipped == (("short", "shorter than 4 frames"), ("small", "smaller than 8 x 8"))
    assert len(source) == 2 * 2 * 2
    with pytest.raises(DataError, match=r"shorter than 6 frames or smaller than 8 x 8: the longest has 5 frames"):
        Stretches(Clips(tmp_path / "clips"), 6, 8)
    with pytest.raises(ConfigError, match="length, side, step and stride must be at least 1"):
        Stretches(moving(), 4, 6, step=0)
    with pytest.raises(DataError, match="cut from clips, not from samples"):
        Stretches(Stretches.example(), 2, 4)
