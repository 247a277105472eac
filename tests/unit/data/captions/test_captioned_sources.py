"""Captions: words as numbers, tables, folders of pictures with them, and captions that are made."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.made import looks_of
from withstand.data.captions.source import CAPTIONS, CaptionedClasses, CaptionedFolder
from withstand.data.captions.table import read_captions
from withstand.data.captions.words import UNKNOWN, Vocabulary
from withstand.data.load import splits_like
from withstand.recipes.setups.vision.captioned_pictures import CaptionedSetup


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, color in enumerate(((255, 0, 0), (0, 0, 255), (9, 9, 9))):
        Image.new("RGB", (8, 8), color).save(folder / f"{place}.png")
    (folder / "captions.csv").write_text(
        'image,caption\n0.png,A red square\n0.png,"red, all of it"\n1.png,a blue square\n9.png,gone\n1.png,\n'
    )
    return folder


def test_words_are_numbered_by_how_often_they_stand_there() -> None:
    vocabulary = Vocabulary.learnt(["a dog", "A cat, a dog", "zebra"], context=3)
    assert vocabulary.words == ("a", "dog")
    assert vocabulary.ids(["a dog", "a zebra ran far", ""]).tolist() == [
        [2, 3, 0],
        [2, UNKNOWN, UNKNOWN],
        [UNKNOWN, 0, 0],
    ]
    assert not vocabulary.known("a cat")
    with pytest.raises(ConfigError, match=r"'dogs', which no caption has: .*'dog'"):
        vocabulary.require("a dogs", "class")
    assert Vocabulary.learnt(["one", "two"]).words == ("one", "two")
    with pytest.raises(ConfigError, match=r"each once"):
        Vocabulary(("a", "a"))


def test_pictures_without_captions_are_left_out_and_counted(photos: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 pictures have no caption .2.png.*1 captioned files.*9.png.*1 rows"):
        source = CaptionedFolder(photos, 8, cache=tmp_path / "cache")
    assert source.names == ("0.png", "1.png")
    assert source.captions == (("A red square", "red, all of it"), ("a blue square",))
    assert ("2.png", "no caption") in source.skipped
    batch = source[[1, 0]]
    ids = source.vocabulary.ids(["a blue square", "A red square", "red, all of it"])
    assert torch.equal(batch.extras[CAPTIONS][0, 0], ids[0])
    assert not batch.extras[CAPTIONS][0, 1].any()
    assert torch.equal(batch.extras[CAPTIONS][1], ids[1:])
    assert batch.x[0, :, 0, 0].tolist() == [0, 0, 255]


@pytest.mark.filterwarnings("ignore:.*left out")
def test_other_vocabularies_and_captions_are_other_data(photos: Path, tmp_path: Path) -> None:
    source = CaptionedFolder(photos, 8, cache=tmp_path / "cache")
    other = source.reading(Vocabulary(("red",)))
    (photos / "captions.csv").write_text("image,caption\n0.png,A red square\n1.png,a green square\n")
    changed = CaptionedFolder(photos, 8, cache=tmp_path / "cache")
    assert len({one.fingerprint() for one in (source, other, changed)}) == 3
    assert other[[0]].extras[CAPTIONS].tolist() == [[[1, 2, 1, 0, 0], [2, 1, 1, 1, 1]]]


def test_tables_that_cannot_be_read_are_refused_with_their_line(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    for text, words in {
        "image,caption\na.png,one, two\n": "line 2 .* has 3 fields",
        "picture_id,words\n": "must be called image",
        "image,caption\n": "holds no captions",
        f"image,caption{'x' * 200_000}\n": "line 1 .* is no row of a table",
        "": "must be called image",
        "image,caption,text\na,b,c\n": "must be called caption",
    }.items():
        table.write_text(text)
        with pytest.raises(DataError, match=words):
            read_captions(table)
    with pytest.raises(DataError, match=r"there are no captions at"):
        read_captions(tmp_path / "none.csv")
    table.write_text("file\tcomment\na.png\ta dog, running\n")
    assert read_captions(table) == ({"a.png": ["a dog, running"]}, 0, ())


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_what_csv_wrote(tmp_path: Path, sign: str, end: str) -> None:
    said = ["a dog, or; a\tcat | ?", 'he said "hi"', "one\u2028two\x0cthree\x85four\x1cfive", "two\nlines", "é"]
    table = tmp_path / "captions.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file, delimiter=sign, lineterminator=end)
        rows.writerow(["Number", "Image", "split", "caption"])
        rows.writerows([place, f"{place}.png", "test", text] for place, text in enumerate(said))
    expected = {f"{place}.png": [text] for place, text in enumerate(said)}
    assert read_captions(table) == (expected, 0, ("Number", "split"))


def test_what_is_not_read_of_captions_is_told(photos: Path, tmp_path: Path) -> None:
    (photos / "captions.csv").write_text(
        f"image,caption,split\n0.png,a {'very ' * 80}red square,test\n1.png,a,train\n2.png,a,train\n"
    )
    source = CaptionedFolder(photos, 8, cache=tmp_path / "cache")
    assert source.origin.endswith(
        "columns of captions.csv that are not read: 'split'; 1 captions are cut after 75 words"
    )


def test_a_folder_of_other_pictures_is_refused(photos: Path, tmp_path: Path) -> None:
    (photos / "captions.csv").write_text("image,caption\nelsewhere.png,something\n")
    with pytest.raises(DataError, match=r"none of the 3 pictures .* has a caption"):
        CaptionedFolder(photos, 8, cache=tmp_path / "cache")


def test_made_captions_tell_class_color_and_brightness() -> None:
    colors = torch.tensor([[250, 0, 0], [0, 0, 90], [128, 128, 128], [255, 250, 0], [240, 255, 250]], dtype=torch.uint8)
    x = colors[:, :, None, None].expand(-1, -1, 4, 4).contiguous()
    assert looks_of(x) == (["red", "blue", "grey", "yellow", "grey"], ["dark", "dark", "dim", "bright", "bright"])
    source = CaptionedClasses(
        ArraySource(x, torch.tensor([0, 1, 0, 1, 0]), classes=("ant", "old_bee")), templates=("{look} {name}", "{name}")
    )
    assert source.captions[:2] == (("red ant", "ant"), ("blue old bee", "old bee"))
    with pytest.raises(DataError, match=r"captions are made of classes"):
        CaptionedClasses(ArraySource(x))
    with pytest.raises(ConfigError, match=r"must say"):
        CaptionedClasses(source.source, templates=("nothing",))


def test_other_pictures_are_read_as_they_stand(photos: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left out"):
        source = CaptionedFolder(photos, 8, cache=tmp_path / "cache", classes=("square", "disc"))
    assert source.classes == ("square", "disc")
    assert source.labels is None
    other = ArraySource(np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 2, 3], classes=("dog", "cat", "bee", "ant"))
    assert source.like(other) is None
    assert source.like(photos / "0.png") is None, "one picture's file is read as any is"
    assert source.like(photos) is None, "all of a folder, with captions or without, is pictures"
    with pytest.warns(UserWarning, match="left out"):
        captioned = source.like(photos, "train")
    assert isinstance(captioned, CaptionedFolder)
    assert captioned.vocabulary == source.vocabulary
    assert source.like(photos, "test") is None


def test_a_test_part_with_captions_numbers_its_classes_as_the_training_part(tmp_path: Path) -> None:
    for part, names in (("train", ("ant", "bee", "cat")), ("test", ("bee", "cat"))):
        rows = ["image,caption"]
        for name in names:
            for place in range(2):
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (place, 9, 9)).save(tmp_path / part / name / f"{place}.png")
                rows.append(f"{name}/{place}.png,one {name}")
        (tmp_path / part / "captions.csv").write_text("\n".join(rows))
    train, test = splits_like(CaptionedFolder(tmp_path / "train", 8), tmp_path)
    _, kept = CaptionedSetup(data=tmp_path, size=8).parts()
    assert train.classes == test.classes == kept.classes == ("ant", "bee", "cat")
    assert test.labels is not None
    assert kept.labels is not None
    assert test.labels.tolist() == kept.labels.tolist() == [1, 1, 2, 2]
    assert CAPTIONS in test[[0]].extras
