import gzip
import pickle
import threading
import time
from functools import partial
from hashlib import md5, sha256
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib.resources import files

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision import datasets

from withstand.core.errors import DataError
from withstand.core.part import build, describe
from withstand.data import NamedSource
from withstand.data.pictures import named
from withstand.data.pictures.fashion_mnist.small import read_small


def compact(folder, name, *, train=20, test=10, shape=(8, 8, 3), file="small.npz"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(train)
    np.savez(
        folder / name / file,
        x_train=rng.integers(0, 256, (train, *shape), np.uint8),
        y_train=np.arange(train) % 10,
        x_test=rng.integers(0, 256, (test, *shape), np.uint8),
        y_test=np.arange(test) % 10,
        classes=np.array(list("abcdefghij")),
    )
    return folder


def test_the_embedded_pictures_are_balanced_small_and_quick():
    start = time.perf_counter()
    train, test = NamedSource("fashion-mnist-small"), NamedSource("fashion-mnist-small", "test")
    assert time.perf_counter() - start < 3  # well under a second on an idle machine
    assert (len(train), len(test), train.shape) == (10_000, 2_000, (1, 28, 28))
    assert train.labels.bincount().tolist() == [1000] * 10
    assert test.labels.bincount().tolist() == [200] * 10
    assert train.labels[:100].unique().numel() > 5  # not sorted by class
    assert train.classes[9] == "Ankle boot"
    assert "10,000 of the 60,000" in train.origin
    assert "2,000 of the 10,000" in test.origin
    folder = files("withstand.data.pictures.fashion_mnist")
    assert sum(len(path.read_bytes()) for path in folder.iterdir() if "fashion_mnist_small" in path.name) < 6e6
    assert "Zalando" in folder.joinpath("fashion_mnist_small.LICENSE").read_text()


def test_the_embedded_pictures_are_these():
    # Pins what was compared with the official files when the subset was made.
    wanted = {
        "train": "2d244fadcee067b37319be2b0aed9ffd37e0be24237c3354427b558657a8261e",
        "test": "3eb5ed0056c25880ad83f3cbd6d761e2b008be825de36c6ad763ba5a6af1a134",
    }
    for split, digest in wanted.items():
        pictures, labels = read_small(split)
        assert sha256(pictures.tobytes() + labels.tobytes()).hexdigest() == digest


def test_the_embedded_pictures_make_sense():
    # Class means tell classes apart far above the 10 % of chance: pictures and labels belong together.
    train, test = NamedSource("fashion-mnist-small"), NamedSource("fashion-mnist-small", "test")
    x, y = train[range(len(train))].x.flatten(1).float(), train.labels
    means = torch.stack([x[y == label].mean(0) for label in range(10)])
    guess = torch.cdist(test[range(len(test))].x.flatten(1).float(), means).argmin(1)
    assert (guess == test.labels).float().mean() > 0.6


def test_digits_are_scikit_learns():
    train, test = NamedSource("digits"), NamedSource("digits", "test")
    assert (len(train), len(test), train.shape) == (1438, 359, (1, 8, 8))
    pictures, labels = load_digits(return_X_y=True)
    rows = test._inner.rows.numpy()
    assert np.array_equal(test.labels.numpy(), labels[rows])
    assert np.array_equal(test[range(359)].x.flatten(1).numpy(), np.rint(pictures[rows] * 255 / 16))
    assert not set(rows) & set(train._inner.rows.tolist())


def test_compact_files_come_first_and_the_origin_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WITHSTAND_DATA", str(compact(tmp_path, "cifar10")))
    train, test = NamedSource("cifar10"), NamedSource("cifar10", "test")
    assert (len(train), len(test), train.shape, train.classes[0]) == (20, 10, (3, 8, 8), "a")
    assert train.origin == "WITHSTAND_DATA: cifar10/small.npz, 20 of the 50,000 train pictures"
    before = train.fingerprint()
    compact(tmp_path, "cifar10", train=40, file="larger.npz")
    assert len(NamedSource("cifar10")) == 40
    train.origin = "elsewhere"
    assert train.fingerprint() != before


def unreachable(*_, **__):
    raise OSError("no route to host")


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.usefixtures("no_compact")
def test_torchvisions_files_in_the_cache_folder_are_used(cache_home):
    raw = cache_home / "withstand" / "datasets" / "FashionMNIST" / "raw"
    pictures = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
    for prefix, count in (("train", 12), ("t10k", 5)):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", pictures[:count])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)
    train, test = NamedSource("fashion-mnist"), NamedSource("fashion-mnist", "test")
    assert torch.equal(train[range(12)].x[:, 0], torch.from_numpy(pictures))
    assert test.labels.tolist() == [0, 1, 2, 3, 4]
    assert train.classes[9] == "Ankle boot"
    assert train.origin.startswith("official")


@pytest.mark.usefixtures("no_compact")
@pytest.mark.parametrize("content", [b"", b"12345678", bytes([0, 0, 8, 3]) + bytes(12) + b"more"])
def test_a_damaged_copy_is_said_to_be_so(cache_home, monkeypatch, content):
    monkeypatch.setattr(named, "urlopen", unreachable)
    raw = cache_home / "withstand" / "datasets" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(content)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged .*: delete it") as caught:
        NamedSource("mnist")
    assert "\n" not in str(caught.value)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args): ...


@pytest.mark.usefixtures("no_compact")
def test_the_official_files_are_downloaded_once(tmp_path, cache_home, monkeypatch):
    pictures = np.random.default_rng(1).integers(0, 256, (9, 28, 28), np.uint8)
    site, resources = tmp_path / "site", []
    for prefix, count in (("train", 9), ("t10k", 4)):
        for kind, array in (("images-idx3", pictures[:count]), ("labels-idx1", np.arange(count))):
            name = f"{prefix}-{kind}-ubyte"
            write_idx(site / name, array)
            packed = gzip.compress((site / name).read_bytes())
            (site / f"{name}.gz").write_bytes(packed)
            resources.append((f"{name}.gz", md5(packed).hexdigest()))
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setitem(named._OFFICIAL, "mnist", named._Official("MNIST", (9, 4), address + "missing"))
    try:
        test = NamedSource("mnist", "test")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert torch.equal(test[range(4)].x[:, 0], torch.from_numpy(pictures[:4]))
    assert len(NamedSource("mnist")) == 9  # the server is gone
    assert test.origin == "official: all 4 test pictures"


@pytest.mark.usefixtures("no_compact")
@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10", "cifar100"])
def test_without_files_and_network_both_remedies_are_named(name, monkeypatch):
    monkeypatch.setattr(named, "urlopen", unreachable)
    with pytest.raises(DataError, match=f"{name} is not on this machine.*no route.*WITHSTAND_DATA.*network") as caught:
        NamedSource(name)
    assert "\n" not in str(caught.value)
    assert ("fashion-mnist-small" in str(caught.value)) == (name == "fashion-mnist")


def test_bad_names_splits_and_folders(monkeypatch, tmp_path):
    with pytest.raises(DataError, match="did you mean 'cifar10'"):
        NamedSource("cifar-10")
    with pytest.raises(DataError, match="'train' or 'test'"):
        NamedSource("digits", "valid")
    monkeypatch.setenv("WITHSTAND_DATA", str(tmp_path / "missing"))
    with pytest.raises(DataError, match="is not a folder: correct or unset it"):
        NamedSource("cifar10")


def test_pickle_describe_and_build():
    source = NamedSource("fashion-mnist-small", "test")
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    for copy in (pickle.loads(sent), build(describe(source))):
        assert copy.fingerprint() == source.fingerprint()
        assert describe(copy) == describe(source)
