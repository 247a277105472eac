"""A run's classifier on other data: labels mean the run's own classes, by their names."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.api.runs import Run
from withstand.api.settings import Inputs
from withstand.api.subjects import front, surrogate_of
from withstand.core.errors import DataError
from withstand.engine.launch import train
from withstand.recipes.robust.rss import SETUP, experiment


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three classes, each of its own color."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    draws = np.random.default_rng(0)
    for place, name in enumerate(("cat", "dog", "horse")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = draws.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            pixels[..., place] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(photos.parent / "cache"))
        made = experiment(replace(SETUP, data=str(photos), size=8, labels=4, epochs=40))
        train(made, photos.parent / "run", quiet=True)
    return Run(photos.parent / "run")


@pytest.fixture(autouse=True)
def _cache(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos.parent / "cache"))


def test_a_folder_of_some_classes_is_judged_by_their_names(run: Run, photos: Path, tmp_path: Path) -> None:
    for name in ("dog", "horse"):
        shutil.copytree(photos / name, tmp_path / "some" / name)
    victim, test = run.victim(tmp_path / "some")
    assert test.labels is not None
    assert sorted(set(test.labels.tolist())) == [1, 2]
    answers = victim(victim.ready(test[range(len(test))].x))
    assert (answers.argmax(1) == test.labels).float().mean() > 0.9  # type: ignore[union-attr]


def test_another_class_is_refused_for_the_classifier_and_not_for_probes(run: Run, photos: Path, tmp_path: Path) -> None:
    for name, own in (("dog", "dog"), ("cow", "horse")):
        shutil.copytree(photos / own, tmp_path / "farm" / name)
    with pytest.raises(DataError, match="samples of class 'cow', which the classifier does not know"):
        run.victim(tmp_path / "farm")
    assert run.sources(tmp_path / "farm")[1].classes == ("cow", "dog")


def test_predictions_are_named_though_what_is_learnt_from_has_no_labels(run: Run) -> None:
    found = run.apply()["prediction"]
    assert found.words == ("cat", "dog", "horse")


@pytest.fixture(scope="module")
def exported(run: Run, photos: Path) -> str:
    return str(run.export(photos.parent / "classifier.safetensors", part="classifier"))


def test_an_exported_classifier_is_judged_by_the_names_of_its_classes(
    run: Run, exported: str, photos: Path, tmp_path: Path
) -> None:
    for name in ("dog", "horse"):
        shutil.copytree(photos / name, tmp_path / "some" / name)
    _, _, test = front(exported, tmp_path / "some", inputs=Inputs(size=8))
    assert test.labels is not None
    assert sorted(set(test.labels.tolist())) == [1, 2]
    shutil.copytree(photos / "cat", tmp_path / "some" / "cow")
    with pytest.raises(DataError, match="samples of class 'cow', which the classifier does not know"):
        front(exported, tmp_path / "some", inputs=Inputs(size=8))


def test_a_surrogate_is_matched_by_the_names_of_its_classes(run: Run, exported: str) -> None:
    source = run.sources()[1]
    plain = surrogate_of(exported, source, run.classes)
    turned = surrogate_of(exported, source, ("horse", "cat"))
    x = plain.ready(source[range(4)].x)
    with torch.no_grad():
        assert torch.equal(turned(x), plain(x)[:, [2, 0]])  # type: ignore[index,arg-type]
    with pytest.raises(DataError, match=r"does not know the class 'hors'.*did you mean 'horse'"):
        surrogate_of(exported, source, ("hors", "cat"))
    assert len(surrogate_of(exported, source, ())(x)[0]) == 3  # type: ignore[index]
