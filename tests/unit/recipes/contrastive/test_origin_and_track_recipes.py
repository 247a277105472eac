"""Recipes on real and synthetic pictures, and on tracks: what they say of bad data, and what they make of good ones."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.data.derived.recompressed import Recompressed
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.transitive_invariance import TransitiveInvariance
from withstand.methods.supervised_contrast.selfcon import SelfCon
from withstand.recipes.contrastive import imaginet, transitive_invariance


def folder(path: Path, real: str, synthetic: str) -> str:
    rng = np.random.default_rng(0)
    for place in range(30):
        of = ("real", "gan")[place % 2]
        target = path / of / f"{place}.{real if of == 'real' else synthetic}"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(target)
    return str(path)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_formats_that_give_pictures_away_are_warned_of_until_equalised(tmp_path: Path) -> None:
    setup = replace(imaginet.SETUP, data=folder(tmp_path / "apart", "jpg", "png"), size=16)
    with pytest.warns(UserWarning, match=r"tells real pictures \(JPEG 12\) from synthetic ones \(PNG 12\).*--equalise"):
        setup.parts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = replace(setup, equalise=True).parts()
        assert isinstance(train, Recompressed)
        assert isinstance(test, Recompressed)
        replace(setup, data=folder(tmp_path / "alike", "png", "png")).parts()


def test_pictures_that_are_resampled_are_warned_of(tmp_path: Path) -> None:
    setup = replace(imaginet.SETUP, data=folder(tmp_path / "alike", "png", "png"), size=8)
    with pytest.warns(UserWarning, match="resampled to 8 pixels"):
        setup.parts()


def test_data_that_do_not_say_what_is_real_are_refused() -> None:
    setup = replace(imaginet.SETUP, data=ToyPictures(60), width=2)
    with pytest.raises(DataError, match=r"--real.*--generate"):
        setup.parts()
    with pytest.raises(ConfigError, match="leave_out"):
        replace(setup, leave_out="sketch").parts()
    with pytest.raises(ConfigError, match="track"):
        imaginet.experiment(replace(setup, generate=True), track="origins")  # type: ignore[arg-type]


def test_both_tracks_learn_on_the_same_encoder() -> None:
    setup = replace(imaginet.SETUP, data=ToyPictures(60), width=2, generate=True, batch=10)
    origin, generator = imaginet.experiment(setup), imaginet.experiment(setup, track="generator")
    for made, classes in ((origin, 2), (generator, 3)):
        assert isinstance(made.first, Experiment)
        assert isinstance(made.first.method, SelfCon)
        assert len(made.source.classes) == classes
        made.check()
    assert len(generator.source) == int((origin.source.labels == 1).sum())  # type: ignore[union-attr]


def test_tracks_are_named_or_simulated() -> None:
    setup = replace(transitive_invariance.SETUP, width=2, batch=10)
    with pytest.raises(DataError, match=r"fashion-mnist-small holds no tracks.*--simulate"):
        setup.parts()
    made = transitive_invariance.experiment(
        replace(setup, data=ToyPictures(60), simulate=True), clusters=10, parents=4, kinds="inter, transitive"
    )
    assert isinstance(made.method, TransitiveInvariance)
    assert made.method.kinds == ("inter", "transitive")
    assert isinstance(made.first, Experiment)
    assert made.first.name == "relative-position"
    made.check()
    with pytest.raises(ConfigError, match="looks"):
        transitive_invariance.experiment(replace(setup, data=ToyPictures(60), simulate=True), looks="pixel")  # type: ignore[arg-type]
