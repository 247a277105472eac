"""A run on captions, asked about pictures of other classes, which have no captions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import withstand as ws
from withstand.api.runs import Run
from withstand.core.errors import DataError

THINGS = ("dog", "cat")


def _photo(place: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 60, (8, 8, 3), dtype=np.uint8)
    pixels[..., place] += 150
    return Image.fromarray(pixels)


def _folders(folder: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            _photo(place, number).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on photos in one folder, that was told the classes dog and cat."""
    folder = tmp_path_factory.mktemp("said")
    rows = ["image,caption"]
    for place in range(16):
        _photo(place % 2, place).save(folder / f"{place}.png")
        rows.append(f"{place}.png,a photo of a {THINGS[place % 2]}")
    (folder / "captions.csv").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        asked = {"classes": list(THINGS), "views": 0, "size": 8, "width": 4, "batch": 12}
        options = asked | {"text_width": 8, "text_layers": 1, "text_heads": 2}
        return ws.train("clip-rocket", str(folder), out=folder / "run", epochs=1, options=options, quiet=True)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_pictures_of_other_classes_are_embedded_and_probed_and_not_judged_by_number(run: Run, tmp_path: Path) -> None:
    farm = _folders(tmp_path / "farm", "cow", "dog", "pig")
    found = run.embed(farm)
    assert len(found.x) == 18
    assert found.classes == ("cow", "dog", "pig")
    assert set(run.apply(farm)["prediction"].words) == set(THINGS)
    assert run.sources(farm)[1].classes == ("cow", "dog", "pig")
    with pytest.raises(DataError, match="samples of class 'cow', which the classifier does not know"):
        run.judged(farm)


def test_all_parts_and_pictures_without_captions_are_embedded(run: Run, tmp_path: Path) -> None:
    for part in ("train", "test"):
        _folders(tmp_path / "pets" / part, "cat", "dog")
        (tmp_path / "pets" / part / "captions.csv").write_text("image,caption\ncat/0.png,a cat\n")
    assert len(run.embed(tmp_path / "pets").x) == 24


def test_classes_that_were_told_number_those_of_folders(run: Run, tmp_path: Path) -> None:
    pets = _folders(tmp_path / "pets", "cat", "dog")
    assert run.sources(pets)[1].classes == ("cat", "dog")
    _, test = run.judged(pets)
    assert test.classes == THINGS
    assert test.labels is not None
    names = [THINGS[label] for label in test.labels.tolist()]
    assert names == [test.source.names[row].partition("/")[0] for row in range(len(test))]  # type: ignore[attr-defined]
