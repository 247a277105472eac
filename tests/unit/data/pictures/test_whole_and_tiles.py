"""Pictures at full resolution: pixels as the files hold them, tiles that cover all of it, and what is refused."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.subset import holdout
from withstand.data.pictures.tiles import Tiles
from withstand.data.pictures.whole import WholePictures, whole_parts

SIDES = {"a.png": (20, 31), "b.png": (17, 16), "c.png": (9, 40)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for name, (height, width) in SIDES.items():
        pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    return tmp_path / "pictures"


def read(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_pictures_are_neither_shrunk_nor_cropped(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):  # decoded, and then from the cache
        source = WholePictures(folder, cache=tmp_path / "cache")
        assert source.names == tuple(SIDES)
        for row, name in enumerate(SIDES):
            assert torch.equal(source[[row]].x[0], read(folder / name))
    assert source.shape == (3, 20, 31)
    with pytest.raises(DataError, match="differ in size: read them one at a time"):
        source[[0, 1]]
    mark = source.fingerprint()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "d.png")
    assert WholePictures(folder, cache=tmp_path / "cache").fingerprint() != mark


def test_a_damaged_cache_is_made_again(folder: Path, tmp_path: Path) -> None:
    WholePictures(folder, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.pictures")
    held = bytearray(kept.read_bytes())
    held[5] ^= 1
    kept.write_bytes(held)
    with pytest.warns(UserWarning, match="is damaged or of another version: made again"):
        again = WholePictures(folder, cache=tmp_path / "cache")
    assert torch.equal(again[[0]].x[0], read(folder / "a.png"))


def test_tiles_cover_every_pixel_and_are_the_pictures_own(folder: Path, tmp_path: Path) -> None:
    pictures = WholePictures(folder, cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match=r"1 of 3 pictures .* smaller than a tile of 12 x 12 \(c.png\): left out"):
        tiles = Tiles(pictures, 12, 5)
    assert tiles.skipped == (("c.png", "smaller than a tile of 12 x 12"),)
    covered = [torch.zeros(20, 31, dtype=torch.bool), torch.zeros(17, 16, dtype=torch.bool)]
    for place, (row, top, left) in enumerate(tiles._corners.tolist()):
        x = tiles[[place]].x[0]
        assert torch.equal(x, pictures[[row]].x[0, :, top : top + 12, left : left + 12])
        covered[row][top : top + 12, left : left + 12] = True
    assert all(bool(one.all()) for one in covered)
    assert tiles.together is not None
    assert torch.equal(tiles.together, tiles._corners[:, 0])
    train, test = holdout(pictures, 0.34)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = Tiles(train, 9)
    assert ours[[0]].x.shape == (1, 3, 9, 9)
    assert torch.equal(ours[[0]].x[0], train[[0]].x[0, :, :9, :9])
    assert len(test) == 1


def test_pictures_smaller_than_a_tile(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every picture of pictures is smaller than a tile of 64 x 64"):
        Tiles(WholePictures(folder, cache=tmp_path / "cache"), 64)
    with pytest.raises(DataError, match="not from samples of shape"):
        Tiles(ArraySource(np.zeros((4, 3), np.float32)), 2)


def test_tiles_of_pictures_of_one_size() -> None:
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.int64).remainder(256).to(torch.uint8).view(2, 3, 8, 8)
    tiles = Tiles(ArraySource(x), 4, 4)
    assert len(tiles) == 8
    assert torch.equal(tiles[[5, 0]].x, torch.stack([x[1, :, :4, 4:], x[0, :, :4, :4]]))


def test_other_data_are_read_whole_and_parts_are_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
    tiles = Tiles(ArraySource(np.zeros((2, 8, 8, 3), np.uint8)), 4)
    other = tiles.like(folder)
    assert isinstance(other, WholePictures)
    assert len(other) == 3
    assert tiles.like(np.zeros((2, 8, 8, 3), np.uint8)) is None
    for part, name in (("train", "a.png"), ("test", "b.png")):
        (folder.parent / "parted" / part).mkdir(parents=True)
        (folder / name).rename(folder.parent / "parted" / part / name)
    assert {part: source.names for part, source in whole_parts(folder.parent / "parted").items()} == {
        "train": ("a.png",),
        "test": ("b.png",),
    }


def test_sets_that_are_not_there_and_files_that_are_no_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHSTAND_DATA", str(tmp_path))
    with pytest.raises(DataError, match="set5 is not on this machine: set WITHSTAND_DATA"):
        WholePictures("set5")
    with pytest.raises(DataError, match="neither a folder nor the name of a set: did you mean 'set5'"):
        WholePictures("set55")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"there are no pictures in .* that can be read \(x.png: "):
        WholePictures(tmp_path / "empty", cache=tmp_path / "cache")
