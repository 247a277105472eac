"""What is kept of photos for crops: which photos, how large, when, and who sees it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import Source
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.source import CaptionedClasses
from withstand.data.derived.origins import Origins
from withstand.data.derived.poisoned import Poisoned
from withstand.data.derived.shrunk import Shrunk
from withstand.data.derived.subset import Subset, holdout
from withstand.data.load import load, splits
from withstand.data.pictures.decoding.forms import ForCrops
from withstand.data.pictures.folder import ImageFolder
from withstand.recipes.contrastive.simclr import SETUP, experiment
from withstand.recipes.setups.vision.pictures import CropSetup

SIDES = {"real/a.png": (40, 56), "real/b.png": (16, 30), "fake/c.png": (90, 24), "fake/d.png": (12, 12)}
SIZE, KEPT = 16, 32


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "withstand" / "pictures"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for name, sides in SIDES.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (*sides, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def whole(source: Source, rows: list[int]) -> list[np.ndarray]:
    kept = source.for_views(rows).whole
    assert kept is not None
    return list(kept.pictures)


def cached(home: Path) -> list[str]:
    return sorted(path.stem.partition("-")[2] for path in home.glob("*.pictures"))


def test_photos_larger_than_the_size_are_kept_whole_when_a_view_asks(folder: Path, cache_home: Path) -> None:
    source = ImageFolder(folder, SIZE, cache_size=KEPT)
    plain = ImageFolder(folder, SIZE)
    assert source.names == ("fake/c.png", "fake/d.png", "real/a.png", "real/b.png")
    batch = source.for_views(range(4))
    assert batch.whole.larger.tolist() == [True, False, True, False]  # b's shorter side is the size itself
    assert torch.equal(batch.x, plain[range(4)].x)
    assert cached(cache_home) == ["16"]
    assert [one.shape for one in batch.whole.pictures] == [(90, 24, 3), (32, 45, 3)]
    assert cached(cache_home) == ["16", "16-crops-32"]
    file = np.asarray(Image.open(folder / "fake/c.png"))  # no larger than what is kept: as it is
    assert np.array_equal(batch.whole.pictures[0], file)
    shrunk = Image.open(folder / "real/a.png").resize((45, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(whole(source, [2])[0], np.asarray(shrunk))
    assert plain.for_views(range(4)).whole is None
    assert source.fingerprint() == plain.fingerprint()  # what is judged is the same


def test_a_folder_of_small_pictures_is_read_as_ever(folder: Path, cache_home: Path) -> None:
    source = ImageFolder(folder, 90, cache_size=180)
    assert source.for_views([0]).whole is None
    with pytest.raises(DataError, match="cache_size=8 must be at least size=16"):
        ImageFolder(folder, 16, cache_size=8)


def test_samples_that_are_chosen_keep_their_photos_and_changed_ones_lose_them(folder: Path) -> None:
    source = ImageFolder(folder, SIZE, cache_size=KEPT)
    part = holdout(Subset(source, [0, 2]), 0.5)[0]  # one of them
    (row,) = (row for row in (0, 2) if torch.equal(source[[row]].x, part[[0]].x))
    assert np.array_equal(whole(part, [0])[0], whole(source, [row])[0])
    assert part.for_views([0]).index.tolist() == [0]
    told = Origins(source)
    assert np.array_equal(whole(told, [2])[0], whole(source, [2])[0])
    assert told.for_views([2]).y.tolist() == told[[2]].y.tolist() == [0]
    said = CaptionedClasses(source)
    assert np.array_equal(whole(said, [0])[0], whole(source, [0])[0])
    assert set(said.for_views([0]).extras) == set(said[[0]].extras)
    for other in (Shrunk(source), Poisoned.example(), ArraySource(np.zeros((3, 8, 8, 3), np.uint8))):
        assert other.for_views([0]).whole is None


def test_a_photo_that_changed_in_between_is_named(folder: Path) -> None:
    source = ImageFolder(folder, SIZE, cache_size=KEPT)
    (folder / "real/a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"real/a.png in .* was read before and is not now: cannot identify"):
        whole(source, [2])


@settings(max_examples=60, deadline=None)
@given(high=st.integers(1, 4000), wide=st.integers(1, 4000), size=st.integers(1, 300), times=st.floats(1, 4))
def test_kept_sides(high: int, wide: int, size: int, times: float) -> None:
    """Never enlarged, never below the size, the shape kept, bounded."""
    side = int(size * times)
    made = ForCrops(side, size).sides(high, wide)
    if min(high, wide) <= size:
        assert made == (high, wide)
        return
    assert made[0] <= high
    assert made[1] <= wide
    assert min(made) >= size or made == (high, wide)
    assert min(made) <= side
    assert abs(made[0] / high - made[1] / wide) <= 1 / min(high, wide) + 1e-9
    assert made[0] * made[1] <= max(4 * side**2, max(high, wide) / min(high, wide) * size**2) * 1.05 + 2 * max(made)


def test_training_takes_crops_from_photos_and_can_be_told_not_to(folder: Path) -> None:
    def view(**changes: object) -> torch.Tensor:
        made = experiment(replace(SETUP, data=str(folder), size=SIZE, **changes))
        batch = made.source.for_views(range(len(made.source)))
        return made.view(batch, Draws(0, batch.index)).views[0]

    assert not torch.equal(view(), view(cache_size=0))
    assert torch.equal(view(), view(cache_size=2 * SIZE))
    with pytest.raises(ConfigError, match="cache_size must be at least the size, 16, or 0"):
        view(cache_size=15)
    with pytest.raises(ConfigError, match="cache_size is of photos in a folder"):
        CropSetup(data="digits", cache_size=64).kept_side()
    assert CropSetup(data="digits").kept_side() is None


def test_only_what_is_learnt_from_is_kept_whole(tmp_path: Path, folder: Path) -> None:
    train, test = splits(folder, size=SIZE, cache_size=KEPT)
    assert train.for_views(range(len(train))).whole is not None
    assert load(folder, size=SIZE).for_views([0]).whole is None
    for part in ("train", "test"):
        (tmp_path / "parted" / part).mkdir(parents=True)
        Image.new("RGB", (50, 40)).save(tmp_path / "parted" / part / "a.png")
    train, test = splits(tmp_path / "parted", size=SIZE, cache_size=KEPT)
    assert train.for_views([0]).whole is not None
    assert test.for_views([0]).whole is None
    assert isinstance(train.for_views([0]), Batch)
