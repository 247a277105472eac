import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from withstand.core.errors import DataError
from withstand.core.part import build, describe, externals
from withstand.data import ArraySource
from withstand.data.shared import digest as digest_module

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), np.uint8)
WANTED = torch.from_numpy(PICTURES.transpose(0, 3, 1, 2).copy())
LABELS = np.arange(12) % 3


def test_batches_hold_the_asked_samples_in_order():
    source = ArraySource(PICTURES, LABELS)
    batch = source[[7, 0, 7]]
    assert torch.equal(batch.x, WANTED[[7, 0, 7]])
    assert batch.x.is_contiguous()
    assert batch.index.tolist() == [7, 0, 7]
    assert batch.y is not None
    assert batch.y.tolist() == [1, 0, 1]
    assert (len(source), source.shape) == (12, (3, 6, 5))
    assert torch.equal(source[torch.tensor([3])].x, source[range(3, 4)].x)


@pytest.mark.parametrize("indices", [[12], [-1], [0, 99]])
def test_an_index_outside_is_refused(indices):
    with pytest.raises(IndexError, match="the source has 12 samples"):
        ArraySource(PICTURES)[indices]


@pytest.mark.parametrize("indices", [torch.ones(12, dtype=torch.bool), [0.5], torch.zeros(2, 2, dtype=torch.int64)])
def test_masks_fractions_and_tables_are_no_indices(indices):
    with pytest.raises(IndexError, match=r"whole numbers|a mask of shape"):
        ArraySource(PICTURES)[indices]


def test_labels_are_optional_and_may_be_names():
    assert ArraySource(PICTURES).labels is None
    assert ArraySource(PICTURES)[[0]].y is None
    named = ArraySource(PICTURES, ["cat", "ant", "bee"] * 4)
    assert named.classes == ("ant", "bee", "cat")
    assert named.labels is not None
    assert named.labels[:3].tolist() == [2, 0, 1]
    given = ArraySource(PICTURES, ["cat", "ant", "bee"] * 4, classes=["cat", "bee", "ant"])
    assert given.labels is not None
    assert given.labels[:3].tolist() == [0, 2, 1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f4", np.int16, np.uint16, np.uint32, np.bool_])
def test_tables_pass_through(dtype):
    table = np.arange(20).reshape(5, 4).astype(dtype)
    x = ArraySource(table)[[4, 1]].x
    assert x.double().tolist() == table[[4, 1]].astype(float).tolist()
    if table.dtype.kind == "f":
        assert x.dtype == torch.float32


def test_tensors_of_every_kind():
    leaf = torch.rand(4, 7, requires_grad=True)
    assert not ArraySource(leaf)[[0]].x.requires_grad
    assert torch.equal(ArraySource(WANTED)[[1]].x, WANTED[[1]])
    assert torch.equal(ArraySource(WANTED.float() / 255)[[1]].x, WANTED[[1]])
    assert ArraySource(np.zeros((4, 6))[::-1, ::-1])[[0]].x.shape == (1, 6)
    with pytest.raises(DataError, match="real numbers"):
        ArraySource(torch.zeros(3, 3, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.array([[1.0, np.nan], [0, 0]]), "NaN or infinity, first in sample 0"),
        (np.array([[1.0, 0], [np.inf, 0]]), "NaN or infinity, first in sample 1"),
        (np.array([[1.0, 0], [0, -1e300]]), "NaN or infinity, first in sample 1"),
        (torch.full((2, 3, 4, 4), float("nan")), "NaN or infinity"),
        (torch.full((2, 3, 4, 4), -0.1), r"from -0.1 to -0.1: they must lie in \[0, 1\]"),
        (torch.full((2, 3, 4, 4), 255.0), "divide by 255"),
        (np.array([[object()], [None]]), "type object: numbers are needed"),
        (np.array([["a"], ["b"]]), "numbers are needed"),
        (np.array([[1j], [2]]), "no objects, text or complex"),
        (np.zeros((3, 4, 4, 3), np.int32), "int32: pictures are uint8"),
        (np.zeros(()), "samples along the first axis"),
        (np.full((2, 2), 2**63, np.uint64), "beyond int64"),
        ([[1, 2]], "x is a list"),
        (None, "x is a NoneType"),
    ],
)
def test_bad_arrays_get_one_clear_line(x, says):
    with pytest.raises(DataError, match=says) as caught:
        ArraySource(x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros(11, int), "11 labels for 12 samples"),
        (np.zeros((12, 2), int), r"argmax\(1\) of one-hot rows"),
        (np.zeros(12), "labels are whole numbers"),
        (np.full(12, -2), "the label -2, but there are 2 class names"),
        (np.full(12, 3), "the label 3, but there are 2 class names"),
        (["a"] * 11 + ["z"], "not among the classes"),
        (["a"] * 11, "11 labels for 12 samples"),
        ([[0], [0, 1]] * 6, r"holds \[0\], a list"),
        ([0, "a"] * 6, "numbers and text"),
        ([0, 1.5] * 6, "holds 1.5, a float"),
    ],
)
def test_bad_labels_get_one_clear_line(y, says):
    with pytest.raises(DataError, match=says) as caught:
        ArraySource(PICTURES, y, classes=("a", "b"))
    assert "\n" not in str(caught.value)


def save(path, **arrays):
    if path.suffix == ".npy":
        np.save(path, arrays["x"])
    elif path.name.startswith("packed"):
        np.savez_compressed(path, **arrays)
    else:
        np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["a.npy", "plain.npz", "packed.npz"])
@pytest.mark.parametrize("x", [PICTURES, PICTURES / np.float32(255), np.asfortranarray(PICTURES), PICTURES[..., 0]])
def test_files_give_what_arrays_give(tmp_path, name, x):
    from_file, from_memory = ArraySource(save(tmp_path / name, x=x)), ArraySource(x)
    assert torch.equal(from_file[range(12)].x, from_memory[range(12)].x)
    assert from_file[[3]].x.is_contiguous()
    assert from_file.shape == from_memory.shape
    assert from_file.fingerprint() == from_memory.fingerprint()


def test_npz_keys(tmp_path):
    both = save(tmp_path / "both.npz", x_train=PICTURES[:8], y_train=LABELS[:8], x_test=PICTURES[8:], y_test=LABELS[8:])
    assert len(ArraySource(both)) == 8
    test = ArraySource(both, split="test")
    assert torch.equal(test[range(4)].x, WANTED[8:])
    assert test.labels is not None
    assert test.labels.tolist() == LABELS[8:].tolist()
    pair = ArraySource(save(tmp_path / "pair.npz", x=PICTURES, y=LABELS, classes=np.array(["a", "b", "c"])))
    assert pair.classes == ("a", "b", "c")
    assert pair.labels is not None
    alone = ArraySource(save(tmp_path / "alone.npz", anything=PICTURES))
    assert alone.labels is None
    with pytest.raises(DataError, match="has no x_test"):
        ArraySource(tmp_path / "pair.npz", split="test")
    with pytest.raises(DataError, match="allowed are x_train"):
        ArraySource(save(tmp_path / "odd.npz", a=PICTURES, b=LABELS))
    with pytest.raises(DataError, match="unknown split"):
        ArraySource(both, split="valid")
    with pytest.raises(DataError, match="has no x_validation: it holds x_train, x_test"):
        ArraySource(both, split="validation")
    with pytest.raises(DataError, match="an array has no splits"):
        ArraySource(PICTURES, split="test")


def test_labels_may_lie_in_their_own_file(tmp_path):
    np.save(tmp_path / "y.npy", LABELS)
    labels = ArraySource(save(tmp_path / "x.npy", x=PICTURES), tmp_path / "y.npy").labels
    assert labels is not None
    assert labels.tolist() == LABELS.tolist()


def test_damaged_and_pickled_files_are_refused(tmp_path):
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps([1, 2]))
    np.save(tmp_path / "objects.npy", np.array([None, "a"], object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([None, "a"], object), allow_pickle=True)
    whole = save(tmp_path / "whole.npy", x=PICTURES).read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-9])
    zipped = save(tmp_path / "whole.npz", x=PICTURES).read_bytes()
    (tmp_path / "short.npz").write_bytes(zipped[:-30])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("pickle.npy", "objects.npy", "objects.npz", "short.npy", "short.npz", "empty.npy"):
        with pytest.raises(DataError) as caught:
            ArraySource(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="neither a "):
        ArraySource(tmp_path / "model.pkl")
    with pytest.raises(DataError, match="there is no file"):
        ArraySource(tmp_path / "missing.npy")


@pytest.mark.thorough
def test_mapped_files_never_lie_in_memory_as_a_whole(tmp_path):
    x = np.zeros((800, 256, 256, 3), np.uint8)  # 157 MB
    x[-1] = 7
    paths = [str(save(tmp_path / name, x=x)) for name in ("big.npy", "big.npz")]
    code = (
        "import resource, sys, torch; from withstand.data import ArraySource\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    source = ArraySource(path)\n"
        "    assert int(source[[0, 799]].x.max()) == 7 and source.shape == (3, 256, 256)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60


def test_the_file_is_never_written(tmp_path):
    path = save(tmp_path / "a.npy", x=PICTURES)
    batch = ArraySource(path)[range(12)]
    batch.x.zero_()
    assert np.array_equal(np.load(path), PICTURES)
    memory = PICTURES.copy()
    ArraySource(memory)[range(12)].x.zero_()
    assert np.array_equal(memory, PICTURES)


def test_the_fingerprint_follows_the_content(monkeypatch):
    def prints(x, y=None):
        return ArraySource(x, y).fingerprint()

    base = prints(PICTURES)
    changed = PICTURES.copy()
    changed[5, 0, 0, 0] ^= 1
    assert base == prints(WANTED) == prints(PICTURES / np.float64(255))
    assert len({base, prints(changed), prints(PICTURES, LABELS), prints(PICTURES[:11]), prints(PICTURES[::-1])}) == 5
    monkeypatch.setattr(digest_module, "_WHOLE", 100)
    monkeypatch.setattr(digest_module, "_SAMPLED", 3)
    sampled = prints(PICTURES)
    assert sampled == prints(changed)  # sample 5 is not looked at
    changed[11] ^= 1
    assert sampled != prints(changed)
    assert sampled != prints(PICTURES[:11])


def test_pickle_describe_and_build(tmp_path):
    path = save(tmp_path / "a.npz", x_train=PICTURES, y_train=LABELS, x_test=PICTURES[:2], y_test=LABELS[:2])
    source = ArraySource(str(path), split="test", classes=("a", "b", "c"))
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    for copy in (pickle.loads(sent), build(describe(source))):
        assert copy.fingerprint() == source.fingerprint()
        assert describe(copy) == describe(source)
    memory = ArraySource(PICTURES, LABELS)
    assert pickle.loads(pickle.dumps(memory)).fingerprint() == memory.fingerprint()
    rebuilt = build(describe(memory), supply=externals(memory))
    assert rebuilt.fingerprint() == memory.fingerprint()
