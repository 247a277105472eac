"""Picture folders of every dialect that people ship, beside what was written into them, read without this library."""

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.data import ImageFolder, load, splits
from withstand.data.derived.subset import Held
from withstand.data.load import parts_of
from withstand.data.pictures.folder_parts import find_parts, role_of

SIDE = 6
TRAIN = ("train", "Train", "TRAINING", "training_set", "train-set", "Train Data", "trainset", "train_images")
JUDGED = {
    "test": ("test", "Testing", "test_set", "TEST-SET", "testset", "Test Images", "tst"),
    "validation": ("valid", "validation", "Val", "eval", "dev", "VALIDATION_SET", "valset", "dev images"),
}
# Orientations of EXIF: what is done to rows and columns of what is stored to see it upright.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}
KINDS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "JPEG": ("L", "RGB"),
    "webp": ("RGB", "RGBA"),
    "gif": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "": ("L", "RGB"),  # no suffix at all
}


def over_white(color, alpha):
    return np.rint(color * (alpha / 255.0) + 255.0 * (1 - alpha / 255.0))


def drawn(mode, rng):
    """Return a picture of a mode, and what it looks like, `(S, S, 3)`, by arithmetic on what was drawn."""
    grey, color = rng.integers(0, 256, (SIDE, SIDE)), rng.integers(0, 256, (SIDE, SIDE, 3))
    alpha = rng.integers(0, 256, (SIDE, SIDE, 1))
    grey8, color8, alpha8 = grey.astype(np.uint8), color.astype(np.uint8), alpha.astype(np.uint8)
    thrice = np.repeat(grey[:, :, None], 3, 2)
    if mode == "1":
        return Image.fromarray(grey8 > 127), 255 * (thrice > 127)
    if mode == "L":
        return Image.fromarray(grey8), thrice
    if mode == "LA":
        return Image.fromarray(np.dstack([grey8, alpha8]), "LA"), over_white(thrice, alpha)
    if mode == "P":
        picture, palette = Image.fromarray(grey8 % 16, "P"), rng.integers(0, 256, (16, 3))
        picture.putpalette(palette.astype(np.uint8).flatten().tolist())
        return picture, palette[grey % 16]
    if mode == "RGBA":
        return Image.fromarray(np.dstack([color8, alpha8])), over_white(color, alpha)
    if mode == "I;16":
        deep = rng.integers(0, 65536, (SIDE, SIDE))
        return Image.fromarray(deep.astype(np.uint16)), np.repeat(np.rint(deep / 257)[:, :, None], 3, 2)
    if mode == "CMYK":
        return Image.fromarray(np.dstack([color8, grey8]), "CMYK"), None
    return Image.fromarray(color8), color


def write(path, suffix, mode, orientation, rng):
    """Write a picture, and return what is to be seen, `(3, S, S)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, seen = drawn(mode, rng)
    kind = {"jpg": "JPEG", "": "PNG"}.get(suffix, suffix.upper())
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if kind in ("JPEG", "PNG", "WEBP") and orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    else:
        orientation = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture.save(path, kind, **options)
    if kind == "JPEG" or seen is None:
        with Image.open(path) as stored:
            seen = np.asarray(stored.convert("RGB"))  # lossy: the stored pixels are Pillow's word
    return UPRIGHT[orientation](np.asarray(seen)).transpose(2, 0, 1)


@dataclass
class Written:
    """What a folder holds: for each part, for each file what is seen, its class, and whether blending rounds it."""

    root: Path
    parts: dict[str, dict[str, tuple[np.ndarray, str | None, bool]]]


LETTERS = "abcxyzÄéß猫 0_-.'"
words = st.one_of(
    st.text(LETTERS, min_size=1, max_size=8).map(str.encode),
    st.binary(min_size=1, max_size=5).map(lambda raw: bytes(value for value in raw if value not in b"/\0.\n")),
).map(os.fsdecode)
class_names = words.filter(lambda word: word.strip(". ") and not word.startswith(".") and role_of(word)[0] is None)


@st.composite
def folders(draw):
    """Return the plan of a folder: (part names, wrapper, classes, their files)."""
    judged = draw(st.sampled_from([(), ("test",), ("validation",), ("test", "validation")]))
    parts = {"train": draw(st.sampled_from(TRAIN))} if judged else {"train": ""}
    parts |= {part: draw(st.sampled_from(JUDGED[part])) for part in judged}
    classes = draw(st.lists(class_names, min_size=2, max_size=4, unique_by=printable))
    labelled = draw(st.booleans())
    wrapper = draw(st.sampled_from(["", "archive", "archive/data"]))
    inner = draw(st.sampled_from(["", "", "images"]))  # training_set/images/cats
    files = {
        part: [
            (name, draw(st.sampled_from(["", "deep/"])), *draw(st.sampled_from(PLANS)), draw(st.integers(1, 8)))
            for name in classes
            for _ in range(draw(st.integers(1, 2)))
        ]
        for part in parts
    }
    return parts, labelled, wrapper, inner, files, draw(st.integers(0, 2**32))


PLANS = [(suffix, mode) for suffix, modes in KINDS.items() for mode in modes]


def write_all(root, plan):
    parts, labelled, wrapper, inner, files, seed = plan
    rng = np.random.default_rng(seed)
    base = root / wrapper
    written = {}
    for part, folder in parts.items():
        written[part] = {}
        for number, (name, deep, suffix, mode, orientation) in enumerate(files[part]):
            file = f"{number}" + (f".{suffix}" if suffix else "")
            inside = f"{name}/{deep}{file}" if labelled else file
            path = base / folder / inner / inside
            seen = write(path, suffix, mode, orientation, rng)
            written[part][inside] = seen, name if labelled else None, mode in ("LA", "RGBA")
    (base / "README").write_text("no picture, and no suffix that says so")
    (base / "labels.csv").write_text("a,b")
    return Written(root, written)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(plan=folders())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_was_written_arrives(plan, tmp_path_factory):
    with tempfile.TemporaryDirectory() as name:
        written = write_all(Path(name) / "root", plan)
        parts = parts_of(written.root, size=SIDE)
        assert set(parts) == set(written.parts)
        numbered = sorted({printable(kind) for _, kind, _ in written.parts["train"].values() if kind is not None})
        for part, source in parts.items():
            expected = written.parts[part]
            assert len(source) == len(expected)
            assert source.names == tuple(sorted(source.names))
            batch = source[range(len(source))]
            for place, name in enumerate(source.names):
                ours = next(key for key in expected if name.endswith(key))
                seen, kind, blended = expected[ours]
                apart = np.abs(batch.x[place].numpy().astype(int) - seen)
                assert apart.max() <= (1 if blended else 0), (name, ours)
                if kind is not None:
                    assert source.classes[source.labels[place]] == printable(kind)
                    assert source.labels[place] == numbered.index(printable(kind))
                    assert batch.y[place] == source.labels[place]
            assert (source.labels is None) == (not plan[1])
        train, test = splits(written.root, size=SIDE)
        if "test" in parts or "validation" in parts:
            other = parts["test" if "test" in parts else "validation"]
            assert (
                test.fingerprint() == load(written.root, split="test", size=SIDE).fingerprint() == other.fingerprint()
            )
            assert train.fingerprint() == parts["train"].fingerprint()
        else:
            assert isinstance(test, Held)
            assert len(train) + len(test) == len(parts["train"])


@given(
    st.sampled_from(TRAIN), st.sampled_from(sum(JUDGED.values(), ())), st.lists(class_names, max_size=3, unique=True)
)
def test_parts_are_never_classes(train, judged, others):
    parts = find_parts([train, judged, *others])
    assert parts is not None
    assert set(parts.items().values()) == {train, judged}
    assert set(parts.aside) == set(others)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["seg_train", "seg_test", "seg_pred"], {"train": "seg_train", "test": "seg_test"}),
        (["train2017", "val2017", "test2017"], {"train": "train2017", "test": "test2017", "validation": "val2017"}),
        (["train", "test1"], {"train": "train", "test": "test1"}),
        (["train", "dev", "eval"], {"train": "train", "test": "eval", "validation": "dev"}),
        (["train", "unlabeled"], {"train": "train"}),
        (["bus", "car", "train"], None),
        (["steam train", "model train", "tram"], None),
        (["contest", "latest", "devil", "values"], None),
        (["testers", "trainers"], None),
    ],
)
def test_names_of_parts(folders, expected):
    found = find_parts(folders)
    assert expected == (None if found is None else found.items())


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["train", "Training", "test"], "both the train part"),
        (["valid", "test"], "without a training part"),
        (["trainA", "testA", "trainB", "testB"], "parts of 2 sets"),
    ],
)
def test_parts_that_cannot_be_told(folders, says):
    with pytest.raises(DataError, match=says):
        find_parts(folders)


def picture(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)).save(path)


def test_a_flat_test_part_is_unlabelled_data(tmp_path):
    for name in ("cat", "dog"):
        for number in range(10):
            picture(tmp_path / "train" / name / f"{number}.png", number)
    for number in range(4):
        picture(tmp_path / "test" / f"{number}.png", number)
    with pytest.warns(UserWarning, match="its 4 pictures lie in no class folder, and have no labels"):
        test = load(tmp_path, split="test", size=SIDE)
    assert (len(test), test.labels) == (4, None)
    with pytest.warns(UserWarning, match="20% of these pictures are held out to judge by") as said:
        train, test = splits(tmp_path, size=SIDE)
    assert len(said) == 2  # it, and why the test part has no labels
    assert (len(train), len(test)) == (16, 4)
    assert test.labels.bincount().tolist() == [2, 2]
    picture(tmp_path / "val" / "dog" / "0.png")
    with pytest.warns(UserWarning, match="no class folder") as said:
        train, test = splits(tmp_path, size=SIDE)
    assert len(said) == 1
    assert (len(train), test.labels.tolist(), test.classes) == (20, [1], ("cat", "dog"))


def test_kaggles_unknown_folder_is_unlabelled_data(tmp_path):
    for name in ("train/cat", "train/dog", "test/unknown"):
        picture(tmp_path / name / "0.png")
    with pytest.warns(UserWarning, match="have no labels"):
        assert load(tmp_path, split="test", size=SIDE).labels is None


def test_what_belongs_to_no_part_is_named(tmp_path):
    for name in ("train/cat", "train/dog", "valid/cat", "thumbs"):
        picture(tmp_path / name / "0.png")
    picture(tmp_path / "preview.png")
    with pytest.warns(UserWarning, match="left aside: the folder 'thumbs', preview.png"):
        train = load(tmp_path, size=SIDE)
    assert train.classes == ("cat", "dog")
    assert train.name == tmp_path.name


def test_parts_opened_as_one_folder_are_refused(tmp_path):
    for name in ("Training/cat", "valid/cat"):
        picture(tmp_path / name / "0.png")
    with pytest.raises(DataError, match="holds the parts of a set, Training, valid: open one of these"):
        ImageFolder(tmp_path, SIDE)
    assert len(ImageFolder(tmp_path, SIDE, classes=())) == 2


def test_a_train_among_vehicles_is_a_class_and_said(tmp_path):
    for name in ("bus", "train"):
        picture(tmp_path / name / "0.png")
    with pytest.warns(UserWarning, match="'train' is read as a class"):
        assert ImageFolder(tmp_path, SIDE).classes == ("bus", "train")


def test_names_that_are_no_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b"phot\xe9s")
    for name in (b"caf\xe9", b"d\xf6g"):
        picture(folder / os.fsdecode(name) / os.fsdecode(b"\xff.png"))
    (folder / os.fsdecode(b"caf\xe9") / os.fsdecode(b"br\xe9ken.png")).write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"br\\xe9ken.png: cannot identify image file br\\xe9ken.png"):
        source = ImageFolder(folder, SIDE)
    assert source.classes == (r"caf\xe9", r"d\xf6g")
    assert source.labels.tolist() == [0, 1]
    assert all((folder / name).is_file() for name in source.names)
    for word in (source.name, source.origin, *source.classes, *source.skipped[0]):
        word.encode()
    assert torch.equal(source[[0]].x, ImageFolder(folder, SIDE, classes=source.classes)[[0]].x)
