import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from withstand.core.errors import DataError
from withstand.data import ArraySource, DatasetSource, ImageFolder, NamedSource, load, splits
from withstand.data.derived.subset import Held
from withstand.data.shared.rows import all_to_learn_from

PICTURES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)


def picture(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(path)


def test_everything_becomes_a_source(tmp_path):
    np.save(tmp_path / "a.npy", PICTURES)
    picture(tmp_path / "folder" / "a.png")
    array = ArraySource(PICTURES)
    assert load(array) is array
    assert load(PICTURES).fingerprint() == load(torch.from_numpy(PICTURES)).fingerprint() == array.fingerprint()
    assert load(tmp_path / "a.npy").fingerprint() == load(str(tmp_path / "a.npy")).fingerprint() == array.fingerprint()
    assert isinstance(load("digits", split="test"), NamedSource)
    assert isinstance(load(TensorDataset(torch.rand(4, 3))), DatasetSource)
    folder = load(tmp_path / "folder")
    assert isinstance(folder, ImageFolder)
    assert folder.shape == (3, 64, 64)
    assert load(str(tmp_path / "folder"), size=24).shape == (3, 24, 24)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("cifar01", "neither a path nor the name of a set: did you mean 'cifar10'"),
        ("./missing/folder", "neither a path nor the name of a set"),
        ([1, 2, 3], "a list is no data"),
        (None, "a NoneType is no data"),
    ],
)
def test_what_is_no_data(data, says):
    with pytest.raises(DataError, match=says):
        load(data)


def test_nothing_is_held_out_of_what_judges_nothing(tmp_path):
    np.savez(tmp_path / "parts.npz", x_train=PICTURES[:15], x_test=PICTURES[15:])
    (tmp_path / "rows.csv").write_text("a,b\n" + "".join(f"{row},{row * row}\n" for row in range(20)))
    held = Held(ArraySource(PICTURES), "train")
    assert len(all_to_learn_from(PICTURES)) == 20
    assert len(all_to_learn_from(tmp_path / "parts.npz")) == 15
    assert len(all_to_learn_from(tmp_path / "rows.csv")) == 20
    assert all_to_learn_from(held) is held


def test_splits_and_sizes_that_are_not_there():
    with pytest.raises(DataError, match=r"no test part: splits\(\)"):
        load(PICTURES, split="test")
    with pytest.raises(DataError, match="unknown split 'val'"):
        load("digits", split="val")
    with pytest.raises(DataError, match="resizes folders of pictures only"):
        load(PICTURES, size=16)
    assert load(PICTURES, size=8).shape == (3, 8, 8)


def test_a_sets_own_split():
    train, test = splits("digits")
    assert (train.split, test.split) == ("train", "test")
    again = splits(NamedSource("digits"))
    assert [part.fingerprint() for part in again] == [train.fingerprint(), test.fingerprint()]


def test_an_npz_with_a_test_part(tmp_path):
    np.savez(tmp_path / "both.npz", x_train=PICTURES[:15], x_test=PICTURES[15:])
    train, test = splits(tmp_path / "both.npz")
    assert (len(train), len(test)) == (15, 5)
    np.savez(tmp_path / "one.npz", x=PICTURES, y=np.arange(20) % 2)
    train, test = splits(tmp_path / "one.npz")
    assert (len(train), len(test)) == (16, 4)
    assert test.labels.bincount().tolist() == [2, 2]


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_folder_with_a_test_part_numbers_classes_as_train_does(tmp_path, name):
    for part in ("train/ants", "train/bees", "train/cats", f"{name}/ants", f"{name}/cats"):
        picture(tmp_path / part / "a.png", len(part))
    train, test = splits(tmp_path, size=8)
    assert train.classes == test.classes == ("ants", "bees", "cats")
    assert train.labels.tolist() == [0, 1, 2]
    assert test.labels.tolist() == [0, 2]
    picture(tmp_path / name / "dogs" / "a.png")
    with pytest.raises(DataError, match="'dogs', which is not among the classes"):
        splits(tmp_path, size=8)


def test_test_comes_before_val_and_neither_is_a_holdout(tmp_path):
    for part in ("train", "test", "val"):
        picture(tmp_path / part / "a.png")
    assert len(load(tmp_path, split="test")) == 1
    assert load(tmp_path, split="test").names == ("a.png",)
    flat = tmp_path / "train"
    for number in range(9):
        picture(flat / f"{number}.png", number)
    train, test = splits(flat, seed=3)
    assert isinstance(train, Held)
    assert (len(train), len(test)) == (8, 2)


def test_the_seed_and_the_fraction_choose_the_holdout():
    first, second, third = (splits(PICTURES, seed=seed)[1] for seed in (0, 1, 0))
    assert first.rows.tolist() == third.rows.tolist() != second.rows.tolist()
    assert len(splits(PICTURES, fraction=0.5)[1]) == 10
