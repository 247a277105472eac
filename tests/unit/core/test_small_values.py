"""Batch, whole-or-nothing files, and the hints in error messages."""

import errno
import os
from pathlib import Path

import pytest
import torch

from withstand.core.batch import Batch
from withstand.core.errors import MissingExtra, WithstandError, nearest
from withstand.core.files import replacing


def test_batch_moves_every_tensor() -> None:
    batch = Batch(
        torch.zeros(2, 3), torch.arange(2), torch.ones(2), (torch.zeros(2), torch.zeros(2)), {"edges": torch.zeros(5)}
    )
    moved = batch.to("meta")
    tensors = [moved.x, moved.index, moved.y, *moved.views, *moved.extras.values()]
    assert len(tensors) == 6
    assert all(tensor is not None and tensor.device.type == "meta" for tensor in tensors)
    assert batch.x.device.type == "cpu"
    assert Batch(torch.zeros(1), torch.zeros(1)).to("meta").y is None


def test_batch_changes_make_new_batches() -> None:
    batch = Batch(torch.zeros(2, 3), torch.arange(2))
    other = batch.with_x(torch.ones(2)).with_views(torch.ones(2), torch.zeros(2))
    assert len(batch) == len(other) == 2
    assert batch.views == ()
    assert (len(other.views), float(other.x.sum())) == (2, 2.0)
    with pytest.raises(AttributeError):
        batch.x = torch.ones(1)  # type: ignore[misc]


def test_replacing_writes_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in ("one", "two"):
        with replacing(path) as aside:
            assert aside.parent == tmp_path
            aside.write_text(content)
            assert not path.exists() or path.read_text() != content
        assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_replacing_keeps_the_old_file_on_an_error(kind: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as aside:
            aside.write_text("half")
            raise kind(errno.ENOSPC, "No space left on device")

    with pytest.raises(kind):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk may only show when the file is synced: the old one must still be there then."""
    path = tmp_path / "file"
    path.write_text("old")

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"), replacing(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_a_file_that_was_never_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nearest() -> None:
    names = ["simclr", "dcl", "barlow-twins"]
    assert nearest("simcrl", names) == "did you mean 'simclr'?"
    assert nearest("xyz", names) == "allowed: barlow-twins, dcl, simclr"
    assert nearest("@", [f"name-{place}" for place in range(20)]) == "20 names are allowed, none of them close"
    assert nearest("name1", ["name2", "name3"]) == "did you mean 'name3' or 'name2'?"


def test_a_missing_extra_is_both_kinds_of_error() -> None:
    error = MissingExtra("this", "timm", "timm")
    assert isinstance(error, WithstandError)
    assert isinstance(error, ImportError)
    assert str(error) == "this needs timm: pip install 'withstand[timm]'"
