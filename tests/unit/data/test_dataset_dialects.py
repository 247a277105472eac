"""Torch datasets that return samples in every form, beside what they hold; and those that change caught each time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from withstand.core.errors import DataError
from withstand.data import DatasetSource

PICTURES = np.random.default_rng(0).integers(0, 256, (48, 6, 5, 3), np.uint8)


class Items(Dataset):
    """Gives what a function makes of each place."""

    def __init__(self, make, count=48):
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        return self.make(place)


class Shared(Dataset):
    """Gives the same memory again and again, with each sample in turn in it."""

    def __init__(self, kind):
        self.memory = torch.zeros(3, 6, 5, dtype=torch.uint8) if kind == "tensor" else np.zeros((6, 5, 3), np.uint8)

    def __len__(self):
        return 48

    def __getitem__(self, place):
        picture = PICTURES[place]
        self.memory[:] = torch.from_numpy(picture.transpose(2, 0, 1)) if torch.is_tensor(self.memory) else picture
        return self.memory, place % 2


X_FORMS = {
    "picture": Image.fromarray,
    "palette": lambda x: Image.fromarray(x).convert("RGBA"),
    "HWC": lambda x: x,
    "reversed": lambda x: x[::-1, ::-1][::-1, ::-1],
    "CHW": lambda x: x.transpose(2, 0, 1),
    "tensor": lambda x: torch.from_numpy(x.transpose(2, 0, 1).copy()),
    "floats": lambda x: torch.from_numpy(x.transpose(2, 0, 1) / 255),
    "halves": lambda x: (x.transpose(2, 0, 1) / 255).astype(">f4"),
}
ITEM_FORMS = {
    "x": lambda x, y: x,
    "(x,)": lambda x, y: (x,),
    "[x, y]": lambda x, y: [x, y],
    "(x, y)": lambda x, y: (x, y),
    "(x, None)": lambda x, y: (x, None),
}
Y_FORMS = {
    "int": (int, lambda label: label),
    "numpy": (np.int16, lambda label: label),
    "tensor": (torch.tensor, lambda label: label),
    "one in an array": (lambda label: np.array([label]), lambda label: label),
    "bool": (bool, bool),
    "name": (lambda label: f"class {label}", lambda label: f"class {label}"),
    "bytes": (lambda label: b"class %d" % label, lambda label: f"class {label}"),
    "huge": (lambda label: 2_000_000_000 + label, lambda label: str(2_000_000_000 + label)),
    "negative": (lambda label: -5 * label - 2, lambda label: str(-5 * label - 2)),
    "some": (lambda label: None if label == 1 else label, lambda label: -1 if label == 1 else label),
    "some names": (
        lambda label: None if label == 0 else f"class {label}",
        lambda label: None if label == 0 else f"class {label}",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(X_FORMS)),
    st.sampled_from(list(ITEM_FORMS)),
    st.sampled_from(list(Y_FORMS)),
    st.lists(st.integers(0, 3), min_size=48, max_size=48),
    st.lists(st.integers(0, 47), min_size=1, max_size=6),
)
def test_what_a_dataset_holds_arrives(x_form, item_form, y_form, labels, chosen):
    given_as, meant = Y_FORMS[y_form]
    labels[:4] = [0, 1, 2, 3]
    source = DatasetSource(
        Items(lambda place: ITEM_FORMS[item_form](X_FORMS[x_form](PICTURES[place]), given_as(labels[place])))
    )
    batch = source[chosen]
    assert batch.x.numpy().transpose(0, 2, 3, 1).tolist() == PICTURES[chosen].tolist()
    if "y" not in item_form:
        assert source.labels is None
        assert batch.y is None
        return
    told = [value for value in map(meant, labels) if value not in (None, -1)]
    if source.labels is None:  # names that are all different are captions or ids, and no classes
        assert len(set(told)) == len(told)
        assert batch.y is None
        return
    assert batch.y.tolist() == source.labels[chosen].tolist()
    for label, found in zip(labels, source.labels.tolist(), strict=True):
        value = meant(label)
        if found < 0:
            assert value in (None, -1)
        else:
            assert (source.classes[found] if source.classes else found) == value


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_memory_that_is_used_again_is_copied(kind):
    source = DatasetSource(Shared(kind))
    assert source[range(48)].x.numpy().transpose(0, 2, 3, 1).tolist() == PICTURES.tolist()


TRANSFORMS = {
    "flip": transforms.RandomHorizontalFlip(),
    "erase": transforms.Compose([transforms.ToTensor(), transforms.RandomErasing(p=0.3)]),
    "crop": transforms.RandomCrop((6, 5), padding=1),
    "jitter": transforms.ColorJitter(0.3),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("seed", range(25))
def test_random_transforms_are_caught_every_time(name, seed):
    torch.manual_seed(seed)
    dataset = Items(lambda place: (TRANSFORMS[name](Image.fromarray(PICTURES[place])), 0))
    with pytest.raises(DataError, match=r"gives another sample .* leave random transforms to views"):
        DatasetSource(dataset)


@pytest.mark.parametrize("which", ["x", "y"])
def test_a_change_that_comes_late_is_caught_too(which):
    read = [0] * 100

    def item(place):
        read[place] += 1
        late = place == 56 and read[place] > 2
        x = torch.full((4,), float(place) + (late and which == "x"))
        return x, place % 2 + (late and which == "y")

    source = DatasetSource(Items(item, 100))
    assert source[[56]].x.tolist() == [[56.0] * 4]
    source[range(56)]
    with pytest.raises(DataError, match="another sample 56"):
        source[[56]]


def test_what_stays_the_same_is_left_alone():
    seeded = Items(lambda place: torch.rand(3, generator=torch.Generator().manual_seed(place)))
    source = DatasetSource(seeded)
    assert torch.equal(source[range(48)].x, source[range(48)].x)


def test_samples_of_another_type_are_named():
    mixed = Items(lambda place: torch.zeros(3, dtype=torch.float64 if place == 3 else torch.float32), 5)
    with pytest.raises(DataError, match=r"sample 3 is of torch.float64, sample 0 of torch.float32"):
        DatasetSource(mixed)[range(5)]
