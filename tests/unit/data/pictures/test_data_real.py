"""The compact real sets, where they are."""

import os
import warnings
import zipfile
from pathlib import Path

import pytest

from withstand.data import ImageFolder, splits

pytestmark = pytest.mark.skipif("WITHSTAND_DATA" not in os.environ, reason="WITHSTAND_DATA is not set")


@pytest.mark.parametrize(
    ("name", "sizes", "shape", "classes"),
    [
        ("cifar10", (5000, 2000), (3, 32, 32), 10),
        ("cifar100", (2000, 500), (3, 32, 32), 100),
        ("mnist", (10000, 2000), (1, 28, 28), 10),
    ],
)
def test_compact_sets(name, sizes, shape, classes):
    train, test = splits(name)
    assert (len(train), len(test)) == sizes
    assert train.shape == test.shape == shape
    assert len(train.classes) == classes
    assert train.labels.bincount().tolist() == [sizes[0] // classes] * classes
    assert train.origin.startswith(f"WITHSTAND_DATA: {name}/")


def test_a_folder_of_real_photos(tmp_path):
    archive = Path(os.environ["WITHSTAND_DATA"]) / "imagenet_samples" / "imagenet_samples_250_s256.zip"
    with zipfile.ZipFile(archive) as photos:
        photos.extractall(tmp_path / "photos")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = ImageFolder(tmp_path / "photos", 64)
    assert (len(source), source.shape, source.labels) == (250, (3, 64, 64), None)
    x = source[range(250)].x.float()
    assert 90 < x.mean() < 140
    assert x.std() > 50
