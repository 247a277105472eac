"""Folders of domains: which domain and class a picture is of, and one domain left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.data.pictures.domains import DOMAIN, DomainPart
from withstand.data.pictures.folder import ImageFolder
from withstand.data.shared.rows import rows_like
from withstand.recipes.contrastive import bss, simclr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three domains, two classes, four pictures each: their brightness says which they are."""
    root = tmp_path_factory.mktemp("domains") / "set" / "pictures"  # passed through, as an unpacked archive's
    for d, domain in enumerate(("art", "photo", "sketch")):
        for c, name in enumerate(("cat", "dog")):
            for k in range(4):
                path = root / domain / name / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), 60 * d + 30 * c + k, np.uint8)).save(path)
    return root.parent


def whole(folder: Path, tmp_path: Path) -> ImageFolder:
    return ImageFolder(folder, 8, cache=tmp_path / "cache", domains=True)


def test_the_first_folders_are_domains_and_those_in_them_classes(folder: Path, tmp_path: Path) -> None:
    source = whole(folder, tmp_path)
    assert source.group_names == {DOMAIN: ("art", "photo", "sketch")}
    assert source.classes == ("cat", "dog")
    assert source.labels is not None
    shade = source[range(24)].x[:, 0, 0, 0].long()
    assert source.attributes[DOMAIN].tolist() == (shade // 60).tolist()
    assert source.labels.tolist() == (shade % 60 // 30).tolist()
    assert source.fingerprint() != ImageFolder(folder, 8, cache=tmp_path / "cache").fingerprint()


def test_one_domain_is_left_out_whole(folder: Path, tmp_path: Path) -> None:
    source = whole(folder, tmp_path)
    train, test = (DomainPart(source, "photo", part) for part in ("train", "test"))
    assert set(test.attributes[DOMAIN].tolist()) == {1}
    assert set(train.attributes[DOMAIN].tolist()) == {0, 2}
    assert len(train) + len(test) == len(source)
    again: DomainPart = build(describe(test))
    assert again.fingerprint() == test.fingerprint()
    other = test.like(folder)
    assert other is not None
    assert len(other) == 24
    assert other.group_names == source.group_names


def test_pictures_of_no_domain_are_read_as_any_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = whole(folder, tmp_path)
    art = folder / "pictures" / "art"
    assert source.like(art) is None, "a folder of classes"
    assert source.like(art / "cat") is None, "a folder of pictures"
    assert source.like(art / "cat" / "0.png") is None, "one picture's file"
    assert source.like(source[range(4)].x) is None, "an array"
    (rows,) = rows_like(source, art)
    assert rows.source.classes == ("cat", "dog")
    for domain in ("blue", "red"):
        shutil.copytree(art / "cat", tmp_path / "other" / domain / "cow")
        shutil.copytree(art / "dog", tmp_path / "other" / domain / "dog")
    other = source.like(tmp_path / "other")
    assert other is not None
    assert (other.classes, other.group_names) == (("cow", "dog"), {DOMAIN: ("blue", "red")})


def test_what_cannot_be_left_out_is_told(folder: Path, tmp_path: Path) -> None:
    source = whole(folder, tmp_path)
    with pytest.raises(ConfigError, match="no domain 'foto': did you mean 'photo'"):
        DomainPart(source, "foto", "train")
    with pytest.raises(DataError, match="knows no domains"):
        DomainPart(ImageFolder(folder, 8, cache=tmp_path / "cache"), "photo", "train")
    with pytest.raises(DataError, match="one domain alone"):
        DomainPart(DomainPart(source, "photo", "test"), "photo", "train")
    with pytest.raises(DataError, match=r"4 pictures of .* lie in no domain's folder"):
        ImageFolder(folder / "pictures" / "art" / "cat", 8, cache=tmp_path / "cache", domains=True)
    stray = tmp_path / "stray"
    shutil.copytree(folder / "pictures", stray)
    shutil.copy(stray / "art" / "cat" / "0.png", stray / "0.png")
    with pytest.raises(DataError, match=r"1 pictures of .* lie in no domain's folder, as 0.png"):
        ImageFolder(stray, 8, cache=tmp_path / "cache", domains=True)


def test_a_recipe_leaves_a_domain_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for recipe in (bss, simclr):
        setup = type(recipe.SETUP)(data=str(folder), leave_out="sketch", size=8, batch=8, width=2)
        made = recipe.experiment(setup)
        assert made.test is not None
        assert set(made.source.attributes[DOMAIN].tolist()) == {0, 1}
        assert set(made.test.attributes[DOMAIN].tolist()) == {2}
        assert [type(judge).__name__ for judge in made.judges] == ["DomainProbe"]
        with pytest.raises(ConfigError, match="domains are left out of a folder"):
            recipe.experiment(type(recipe.SETUP)(leave_out="sketch"))
