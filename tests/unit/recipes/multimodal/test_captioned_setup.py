"""What recipes on pictures with captions are given: folders as users have them, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.data.captions.source import CAPTIONS
from withstand.recipes.multimodal.clip_rocket import SETUP, experiment
from withstand.recipes.setups.vision.captioned_pictures import CaptionSetup

THINGS = ("dog", "cat")


def photos(folder: Path, count: int = 10, *, classes: bool = False) -> Path:
    rows = ["image,caption"]
    for place in range(count):
        name = f"{THINGS[place % 2]}/{place}.png" if classes else f"{place}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * place, 9, 9)).save(folder / name)
        rows.append(f"{name},a photo of a {THINGS[place % 2]}")
        rows.append(f"{name},the {THINGS[place % 2]} number {place}")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_words_are_those_of_the_training_captions_alone(tmp_path: Path) -> None:
    setup = CaptionSetup(data=photos(tmp_path / "photos"), size=8, least_words=1)
    train, test = setup.parts()
    assert (len(train), len(test)) == (8, 2)
    held = {str(int(name.removesuffix(".png"))) for name in test.names}
    assert not held & set(setup.words(train).words)
    assert CAPTIONS in test[[0]].extras
    assert setup.told(train)[0] == ()


def test_classes_of_folders_are_told_where_captions_have_their_words(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", classes=True)
    setup = CaptionSetup(data=folder, size=8)
    train, _ = setup.parts()
    classes, templates = setup.told(train)
    assert classes == ("cat", "dog")
    assert set(templates) == {"a photo of a {}", "a {}", "the {}", "{}"}
    (folder / "cat").rename(folder / "lynx")
    table = folder / "captions.csv"
    table.write_text(table.read_text().replace("cat/", "lynx/"))
    train, _ = setup.parts()
    with pytest.warns(UserWarning, match="no caption has the words of the class 'lynx'"):
        assert setup.told(train)[0] == ()


def test_parts_of_a_folder_have_captions_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    photos(folder / "train", 6)
    photos(folder / "test", 4)
    train, test = CaptionSetup(data=folder, size=8).parts()
    assert (len(train), len(test)) == (6, 4)


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    (folder / "captions.csv").unlink()
    with pytest.raises(DataError, match="has neither captions nor classes"):
        experiment(CaptionSetup(data=folder, size=8))
    with pytest.raises(DataError, match="there are no captions at"):
        experiment(CaptionSetup(data=folder, size=8, captions=str(tmp_path / "none.csv")))
    with pytest.raises(ConfigError, match="swalip goes with smoothing 0"):
        experiment(replace(SETUP, data=ToyPictures(64), width=4), partner="swalip")


def test_labelled_pictures_get_captions_that_are_made() -> None:
    made = experiment(replace(SETUP, data=ToyPictures(64), width=4, batch=32), views=0)
    assert made.method.product("classifier") is not None
    assert made.source.classes == ("a", "b", "c", "d")
    batch = made.view(made.source[[0, 1]], made.source[[0, 1]].draws("views"))
    assert len(batch.views) == 1
