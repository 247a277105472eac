"""What the recipes of super-resolution refuse in one line, and how their stages are made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from withstand.core.errors import ConfigError, DataError
from withstand.data.pictures.tiles import Tiles
from withstand.data.pictures.whole import WholePictures
from withstand.engine.experiment import Experiment
from withstand.methods.restoration.srgan import SRGAN, SuperResolution
from withstand.recipes.restoration import srgan, srresnet

SMALL = {"tile": 16, "scale": 2, "width": 2, "blocks": 1, "batch": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for place in range(5):
        pixels = draws.integers(0, 256, (20 + place, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{place}.png")
    return tmp_path / "photos"


def test_a_folder_is_learnt_from_in_tiles_and_judged_whole(folder: Path) -> None:
    setup = replace(srgan.SETUP, data=str(folder), **SMALL)  # type: ignore[arg-type]
    made = srgan.experiment(setup, first_epochs=3, critic_width=2, critic_dense=4)
    made.check()
    assert isinstance(made.source, Tiles)
    assert made.source.shape == (3, 16, 16)
    assert made.test is not None
    assert len(made.test) == 1
    assert isinstance(made.method, SRGAN)
    first = made.first
    assert isinstance(first, Experiment)
    assert isinstance(first.method, SuperResolution)
    assert first.plan.epochs == 3
    assert first.source is made.source
    assert srgan.experiment(setup, start="run", critic_width=2, critic_dense=4).first == "run"
    other = srresnet.experiment(replace(setup, test=str(folder)))
    assert isinstance(other.test, WholePictures)
    assert len(other.test) == 5


def test_other_pictures_judge_whole_and_none_of_the_data_are_kept_for_it(folder: Path, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for name, count in (("learnt", 10), ("judged", 7)):
        np.savez(tmp_path / f"{name}.npz", x=draws.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))
    learnt, judged = (str(tmp_path / f"{name}.npz") for name in ("learnt", "judged"))
    made = srresnet.experiment(replace(srresnet.SETUP, data=learnt, test=judged, **SMALL))  # type: ignore[arg-type]
    assert (len(made.source), len(made.test or ())) == (10, 7)
    for part, places in (("train", (0, 1)), ("test", (2, 3, 4))):
        (tmp_path / "parts" / part).mkdir(parents=True)
        for place in places:
            (folder / f"{place}.png").rename(tmp_path / "parts" / part / f"{place}.png")
    made = srresnet.experiment(replace(srresnet.SETUP, data=learnt, test=str(tmp_path / "parts"), **SMALL))  # type: ignore[arg-type]
    assert len(made.test or ()) == 3, "of a folder in parts the test part judges"


def test_pictures_smaller_than_a_tile_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match="every picture of photos is smaller than a tile of 96 x 96"):
        srresnet.experiment(replace(srresnet.SETUP, data=str(folder)))


def test_a_tile_that_the_scale_does_not_divide(folder: Path) -> None:
    setup = replace(srresnet.SETUP, data=str(folder), **{**SMALL, "tile": 15})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="scale 2 does not divide pictures of 15 x 15"):
        srresnet.experiment(setup).check()


def test_content_without_its_file_says_what_to_give(folder: Path) -> None:
    setup = replace(srgan.SETUP, data=str(folder), **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"content vgg54 needs VGG19's weights.*--weights vgg19\.pth"):
        srgan.experiment(setup, content="vgg54")
    with pytest.raises(ConfigError, match=r"withstand export wrote: give it by --weights FILE\.safetensors"):
        srgan.experiment(setup, content="features")
    with pytest.raises(ConfigError, match="content mse compares pixels"):
        srgan.experiment(setup, weights="vgg19.pth")
    with pytest.raises(ConfigError, match="did you mean 'vgg54'"):
        srgan.experiment(setup, content="vgg44")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"there is no file nowhere\.pth"):
        srgan.experiment(setup, content="vgg22", weights="nowhere.pth")
