import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from withstand.core.errors import DataError
from withstand.data import ArraySource, DatasetSource, load

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
WANTED = torch.from_numpy(PICTURES.transpose(0, 3, 1, 2).copy())


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        item = self.items[place]
        return item() if callable(item) else item


@pytest.mark.parametrize(
    "items",
    [
        list(PICTURES),
        list(WANTED),
        list(WANTED.float() / 255),
        [(x,) for x in WANTED],
        [Image.fromarray(x) for x in PICTURES],
        [Image.fromarray(x).convert("RGBA") for x in PICTURES],
    ],
)
def test_unlabelled_items_of_every_kind(items):
    source = DatasetSource(Items(items))
    batch = source[[4, 0]]
    assert torch.equal(batch.x, WANTED[[4, 0]])
    assert batch.y is None
    assert source.labels is None
    assert source.shape == (3, 5, 4)
    assert source.fingerprint() == ArraySource(PICTURES).fingerprint()


@pytest.mark.parametrize("label", [int, np.int64, torch.tensor, lambda value: np.array([value])])
def test_labelled_items(label):
    source = DatasetSource(Items([(x, label(place % 2)) for place, x in enumerate(WANTED)]), classes=("a", "b"))
    assert source[[3, 2]].y.tolist() == [1, 0]
    assert source.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert source.classes == ("a", "b")


def test_grey_pictures_and_tables():
    grey = DatasetSource(Items([Image.fromarray(x[..., 0]) for x in PICTURES]))
    assert torch.equal(grey[[1]].x, WANTED[[1], :1])
    table = load(TensorDataset(torch.rand(8, 3, dtype=torch.float64), torch.arange(8)))
    assert table.shape == (3,)
    assert table[[2]].x.dtype == torch.float32
    assert table.labels.tolist() == list(range(8))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(WANTED)


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (Stream(), "no length"),
        (Items([]), "is empty"),
        (Items(["text"]), "sample 0 is a str"),
        (Items([{"x": 1}]), "sample 0 is a dict with 'x'"),
        (Items([(WANTED[0], 0, 1)]), "sample 0 is a tuple"),
        (
            Items([Image.fromarray(np.full((3, 3), 70000, np.int32))]),
            "'I' that cannot be read: .*70000 .* an array",
        ),
        (Items([(WANTED[0], WANTED[1])]), "labels are whole numbers"),
        (Items([lambda: torch.rand(3, 8, 8)]), "leave random transforms to views"),
        (Items([torch.zeros(3, 8, 8, dtype=torch.int64)]), "pictures are uint8"),
    ],
)
def test_bad_datasets(dataset, says):
    with pytest.raises(DataError, match=says) as caught:
        DatasetSource(dataset)
    assert "\n" not in str(caught.value)


def test_bad_items_are_named():
    with pytest.raises(DataError, match=r"sample 1 has shape \(3, 9, 8\), sample 0 has \(3, 8, 8\)"):
        DatasetSource(Items([torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)]))[[0, 1]]
    with pytest.raises(DataError, match="first in sample 1"):
        DatasetSource(Items([torch.zeros(4), torch.full((4,), torch.nan)]))[[0, 1]]
    with pytest.raises(DataError, match="normalization"):
        DatasetSource(Items([torch.full((3, 8, 8), -2.0)]))
    with pytest.raises(DataError, match="first in sample 0"):
        DatasetSource(Items([torch.full((4,), torch.nan)]))
