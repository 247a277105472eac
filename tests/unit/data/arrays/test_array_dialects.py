"""Arrays and labels of every dialect, beside NumPy's own reading of the same file."""

import io
import tempfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from withstand.core.errors import DataError
from withstand.data import ArraySource, splits
from withstand.data.arrays.npz_keys import find_keys
from withstand.data.load import parts_of
from withstand.data.shared.labels import read_labels

DTYPES = ("|u1", "<f4", ">f4", "<f8", "<f2", "<i2", ">i4", "<i8", "<u2", ">u4", "|b1", "<u8")
ROWS = np.random.default_rng(0).integers(0, 256, (12, 5), np.uint8)


@st.composite
def tables(draw, rows):
    """Return rows of numbers of any type, order and endianness."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = (rows, *draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    elements = {"allow_nan": False, "allow_infinity": False, "min_value": -1e4, "max_value": 1e4}
    if dtype.kind in "iu":
        low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max)
        elements = {"min_value": low, "max_value": min(high, 2**63 - 1)}
    elif dtype.kind == "b":
        elements = {}
    x = draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **elements)))
    return np.asfortranarray(x) if draw(st.booleans()) else x


@st.composite
def label_pools(draw):
    """Return a few values of one kind, as labels of a file are."""
    kind = draw(st.sampled_from(["small", "any", "huge", "text", "bytes"]))
    return {
        "small": lambda: np.arange(draw(st.integers(2, 5))),
        "any": lambda: np.array(draw(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=4, unique=True))),
        "huge": lambda: np.array(
            draw(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=4, unique=True)), np.uint64
        ),
        "text": lambda: np.array(
            draw(st.lists(st.text("aäZ 猫9", min_size=1, max_size=5), min_size=2, max_size=4, unique=True))
        ),
        "bytes": lambda: np.array([b"ant", b"\xe9", b"bee"]),
    }[kind]()


@st.composite
def files(draw):
    """Return what is saved in an .npz file: arrays by key, and which of them are samples and labels."""
    pool = draw(label_pools())
    form = draw(st.sampled_from(["x", "parts", "alone"]))
    arrays, pairs = {}, {}
    for part in ("train", "test") if form == "parts" else ("",):
        rows = draw(st.integers(2 * len(pool), 4 * len(pool)))
        x = draw(tables(rows))
        name = draw(st.text("abz_ 猫", min_size=1, max_size=5)) if form == "alone" else "x"
        key = f"x_{part}" if part else name
        arrays[key] = x
        pairs[part] = (x, None)
        if form != "alone" and draw(st.booleans()):
            chosen = np.array(draw(st.lists(st.integers(0, len(pool) - 1), min_size=rows, max_size=rows)))
            y = pool[chosen]
            arrays[key.replace("x", "y", 1)] = y
            pairs[part] = (x, y)
    unread = {}
    if form != "alone":
        names = st.text("abcwz_", min_size=2, max_size=6).filter(lambda word: word not in ("names", "ids", "classes"))
        unread = dict.fromkeys(draw(st.lists(names, max_size=2, unique=True)), np.arange(3))
    items = list((arrays | unread).items())
    return dict(draw(st.permutations(items))), pairs, set(unread), draw(st.booleans())


def said_of(value):
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(saved=files())
def test_what_numpy_reads_arrives(saved):
    arrays, pairs, unread, packed = saved
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.npz"
        (np.savez_compressed if packed else np.savez)(path, **arrays)
        for part, (x, y) in pairs.items():
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                source = ArraySource(path, split=part or None, layout="rows")
            text = " ".join(str(one.message) for one in said)
            assert all(key in text for key in unread)
            wanted = torch.from_numpy(x.astype(x.dtype.newbyteorder("=")).astype(np.float64))
            if x.dtype.kind in "iu":
                assert source[range(len(x))].x.tolist() == x.tolist()
            else:
                assert torch.equal(source[range(len(x))].x.double(), wanted.float().double())
            assert (source.labels is None) == (y is None or not bool((source.labels >= 0).any()))
            if y is None:
                continue
            for value, label in zip(y.tolist(), source.labels.tolist(), strict=True):
                if source.classes:
                    assert source.classes[label] == said_of(value)
                else:  # numbers as they stand, or -1 for none
                    assert label == value
            if source.classes:
                every = [other for _, labels in pairs.values() if labels is not None for other in labels.tolist()]
                assert list(source.classes) == [said_of(value) for value in sorted(set(every))] or y.dtype.kind == "S"
            assert int(source.labels.max()) < 65536


@given(
    st.lists(st.sampled_from([None, 3, 7, np.int64(7), torch.tensor(3), True]), min_size=2, max_size=12),
)
def test_labels_in_a_list_with_gaps(values):
    found = read_labels(values, len(values))
    for value, label in zip(values, [-1] * len(values) if found.y is None else found.y.tolist(), strict=True):
        assert label == (-1 if value is None else int(value))


@pytest.mark.parametrize(
    ("y", "labels", "classes", "says"),
    [
        (np.array([0, 2_000_000_000] * 6), [0, 1] * 6, ("0", "2000000000"), "not numbered from 0"),
        (np.array([-1, 1] * 6), [0, 1] * 6, ("-1", "1"), "not numbered from 0"),
        (np.array([-1, 0, 1] * 4), [-1, 0, 1] * 4, (), "4 of 12 labels in y are -1: none"),
        (np.array([-5, 3, 3] * 4), [0, 1, 1] * 4, ("-5", "3"), "not numbered from 0"),
        (
            np.array([2**64 - 1, 2**63] * 6, np.uint64),
            [1, 0] * 6,
            ("9223372036854775808", "18446744073709551615"),
            "not",
        ),
        (["ant", None, "bee"] * 4, [0, -1, 1] * 4, ("ant", "bee"), ""),
        ([b"ant", b"bee"] * 6, [0, 1] * 6, ("ant", "bee"), ""),
        (np.array(["ant", "bee", ""] * 4), [0, 1, -1] * 4, ("ant", "bee"), ""),
        (np.arange(12)[:, None] % 2, [0, 1] * 6, (), ""),
        (torch.tensor([1, 0] * 6, dtype=torch.uint8), [1, 0] * 6, (), ""),
        ([True, False] * 6, [1, 0] * 6, (), ""),
        ([0, float("nan"), 1] * 4, [0, -1, 1] * 4, (), ""),
        ([None] * 12, None, (), "holds no label"),
        (np.full(12, -1), None, (), "holds no label"),
    ],
)
def test_labels(y, labels, classes, says):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        source = ArraySource(ROWS, y)
    assert (None if source.labels is None else source.labels.tolist()) == labels
    assert source.classes == classes
    assert len(said) == bool(says)
    assert says in " ".join(str(one.message) for one in said)


@pytest.mark.parametrize(
    "y",
    [
        [f"a picture of thing {number}" for number in range(12)],
        [str(number) for number in range(12)],
        np.arange(12) * 10**9 + 10**10,
    ],
)
def test_captions_and_ids_are_no_classes(y):
    with pytest.warns(UserWarning, match=r"holds 12 different values in 12 rows, such as .*captions or ids"):
        source = ArraySource(ROWS, y)
    assert source.labels is None
    assert source.classes == ()
    if isinstance(y, list):
        assert ArraySource(ROWS, y, classes=y).labels.tolist() == list(range(12))


def test_nearly_all_different_is_no_class_either():
    found = read_labels([f"word {number % 21}" for number in range(40)], 40)
    assert found.y is None
    assert "21 different values in 40 rows" in found.note
    assert len(read_labels([f"word {number % 20}" for number in range(40)], 40).classes) == 20
    assert read_labels([f"word {number % 21}" for number in range(80)], 80).note == ""
    assert "are these ids?" in read_labels(np.arange(40), 40).note


def test_both_parts_number_names_alike(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=ROWS, y_train=["b", "c"] * 6, x_test=ROWS[:4], y_test=["c", "a", "c", "c"])
    train, test = splits(tmp_path / "a.npz")
    assert train.classes == test.classes == ("a", "b", "c")
    assert train.labels[:2].tolist() == [1, 2]
    assert test.labels.tolist() == [2, 0, 2, 2]


def test_only_labelled_test_rows_are_judged(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=ROWS, x_test=ROWS[:4], y_train=[0, 1] * 6, y_test=[1, -1, 0, -1])
    with pytest.warns(UserWarning, match="2 of 4 labels in y are -1"):
        train, test = splits(tmp_path / "a.npz")
    assert (len(train), test.labels.tolist()) == (12, [1, 0])
    np.savez(tmp_path / "b.npz", x=ROWS, y=[-1, -1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    with pytest.warns(UserWarning, match="2 of 12 labels in y are -1"):
        train, test = splits(tmp_path / "b.npz")
    assert (len(train), len(test)) == (10, 2)
    assert int(test.labels.min()) == 0


def test_names_in_the_file_are_the_samples_names(tmp_path):
    np.savez(tmp_path / "a.npz", x=ROWS, ids=np.arange(12) + 100)
    assert ArraySource(tmp_path / "a.npz").names[:2] == ("100", "101")
    assert splits(tmp_path / "a.npz")[1].names == tuple(
        str(100 + row) for row in splits(tmp_path / "a.npz")[1].rows.tolist()
    )
    np.savez(tmp_path / "b.npz", x=ROWS, names=np.arange(3))
    with pytest.raises(DataError, match=r"'names' in .* holds 3 names for 12 samples"):
        ArraySource(tmp_path / "b.npz")


def test_a_key_that_is_not_read_is_named(tmp_path):
    for other in (ROWS, ROWS[:, 0] / 2):
        np.savez(tmp_path / "a.npz", x=ROWS, mask=ROWS, labels=other)
        with pytest.warns(UserWarning, match="mask, labels not read, and no labels; known are x, y, classes"):
            assert ArraySource(tmp_path / "a.npz").labels is None


def lying(shape, *, body=b"1234"):
    """Return the bytes of a .npy file whose header promises more than there is."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + body


@pytest.mark.parametrize("kind", ["npy", "stored", "deflated"])
@pytest.mark.parametrize("shape", [(2**33, 2), (2**40, 2**40), (10**4, 10**4), (1, 2), (0, 2**62), (-3, 2)])
def test_a_header_that_lies_allocates_nothing(tmp_path, kind, shape):
    path = tmp_path / ("a.npy" if kind == "npy" else "a.npz")
    if kind == "npy":
        path.write_bytes(lying(shape))
    else:
        way = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", way) as archive:
            archive.writestr("x.npy", lying(shape))
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        ArraySource(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_mapped_member_is_noticed(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (2000, 100), np.uint8)
    np.savez(tmp_path / "a.npz", x=x)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.find(x[1500].tobytes())] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        ArraySource(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("there", "x", "y", "unread"),
    [
        (["x", "y"], {"": "x"}, {"": "y"}, ()),
        (
            ["y_test", "x_test", "x_train", "y_train"],
            {"train": "x_train", "test": "x_test"},
            {"train": "y_train", "test": "y_test"},
            (),
        ),
        (
            ["train_images", "train_labels", "val_images", "val_labels"],
            {"train": "train_images", "validation": "val_images"},
            {"train": "train_labels", "validation": "val_labels"},
            (),
        ),
        (["X_train", "X_test", "y_train"], {"train": "X_train", "test": "X_test"}, {"train": "y_train"}, ()),
        (["images", "labels", "mask"], {"": "images"}, {"": "labels"}, ("mask",)),
        (["x", "data", "y"], {"": "x"}, {"": "y"}, ("data",)),
        (["x", "split", "part", "2021"], {"": "x"}, {}, ("split", "part", "2021")),
        (["x_train", "x", "x_unlabeled"], {"train": "x_train"}, {}, ("x", "x_unlabeled")),
        (["train", "test"], {"train": "train", "test": "test"}, {}, ()),
        (["anything"], {"": "anything"}, {}, ()),
        (["x", "y_test"], {"": "x"}, {}, ("y_test",)),
    ],
)  # fmt: skip
def test_keys_by_their_names(there, x, y, unread):
    keys = find_keys(there, "file")
    assert (keys.x, keys.y, keys.unread) == (x, y, unread)


@pytest.mark.parametrize("there", [["a", "b"], [], ["y", "z"], ["images", "data", "y"], ["x_test", "y_test"]])
def test_keys_that_say_too_little(there):
    with pytest.raises(DataError, match=r"allowed are x_train|may both be x"):
        find_keys(there, "file")


def test_the_published_form_of_medmnist(tmp_path):
    parts = {}
    for number, part in enumerate(("train", "val", "test")):
        parts |= {
            f"{part}_images": ROWS[number:, :, None].repeat(5, 2),
            f"{part}_labels": np.arange(12 - number)[:, None] % 2,
        }
    np.savez(tmp_path / "a.npz", **parts)
    found = parts_of(tmp_path / "a.npz")
    assert list(found) == ["train", "test", "validation"]
    for number, part in enumerate(("train", "validation", "test")):
        assert found[part].shape == (1, 5, 5)
        assert found[part].labels.tolist() == [row % 2 for row in range(12 - number)]
    train, test = splits(tmp_path / "a.npz")
    assert (len(train), len(test)) == (12, 10)
