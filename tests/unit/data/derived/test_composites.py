"""Pictures pasted on pictures, classes in groups."""

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.grouped import Grouped
from withstand.data.derived.shrunk import Shrunk
from withstand.data.derived.synthetic.pasted import Pasted
from withstand.data.pictures.named import NamedSource


def ground(count: int = 20, channels: int = 3) -> ArraySource:
    x = np.random.default_rng(0).integers(0, 256, (count, channels, 20, 20), dtype=np.uint8)
    return ArraySource(x, np.arange(count) % 2, layout="NCHW")


def stamps(count: int = 6) -> ArraySource:
    x = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 3), np.uint8)
    return ArraySource(x, np.arange(count) % 3, layout="NCHW", classes=("a", "b", "c"))


def test_a_stamp_stands_in_its_place_and_gives_the_label() -> None:
    source = Pasted(ground(), stamps(), top=2, left=5, scale=2)
    assert source.box == (2, 5, 8, 6)
    assert source.classes == ("a", "b", "c")
    whole, bare = source[range(20)], ground()[range(20)]
    inside = whole.x[:, :, 2:10, 5:11]
    which = inside[:, 0, 0, 0]
    assert torch.equal(inside, which[:, None, None, None].expand_as(inside))
    assert torch.equal(whole.y, which.long() % 3)
    assert torch.equal(whole.y, source.labels)
    around = torch.ones(20, 20, dtype=torch.bool)
    around[2:10, 5:11] = False
    assert torch.equal(whole.x[..., around], bare.x[..., around])
    assert which.bincount().tolist() == [4, 4, 3, 3, 3, 3] or sorted(which.bincount().tolist()) == [3, 3, 3, 3, 4, 4]


def test_pairs_hang_on_the_seed_and_labels_may_be_the_grounds() -> None:
    marks = {Pasted(ground(), stamps(), seed=seed).fingerprint() for seed in (0, 1)}
    marks |= {Pasted(ground(), stamps(), top=1).fingerprint(), Pasted(ground(), stamps(), of_ground=True).fingerprint()}
    assert len(marks) == 4
    source = Pasted(ground(), stamps(), of_ground=True)
    assert torch.equal(source.labels, ground().labels)
    assert torch.equal(source[[3, 1]].y, ground().labels[[3, 1]])
    unlabelled = ArraySource(stamps()[range(6)].x, layout="NCHW")
    assert Pasted(ground(), unlabelled)[[0]].y is None


def test_what_cannot_be_pasted() -> None:
    with pytest.raises(DataError, match=r"stamps of 4 x 3 pixels, enlarged 1 times, at \(17, 0\) do not fit"):
        Pasted(ground(), stamps(), top=17)
    with pytest.raises(DataError, match="stamps of 3 channels do not fit pictures of 1"):
        Pasted(ground(channels=1), ground())
    with pytest.raises(DataError, match="ground must be pictures"):
        Pasted(ArraySource(np.zeros((5, 3), np.float32), layout="rows"), stamps())


def test_groups_are_labels_and_names() -> None:
    source = Grouped(stamps(), (1, 0, 1))
    assert source.labels.tolist() == [1, 0, 1, 1, 0, 1]
    assert source[[4, 2]].y.tolist() == [0, 1]
    assert source.classes == ("b", "a/c")
    assert torch.equal(source[[1]].x, stamps()[[1]].x)
    assert source.fingerprint() != Grouped(stamps(), (0, 1, 1)).fingerprint()


def test_what_cannot_be_grouped() -> None:
    with pytest.raises(DataError, match="no labels"):
        Grouped(ArraySource(np.zeros((5, 3), np.float32), layout="rows"), (0,))
    with pytest.raises(DataError, match="groups name 2 classes, and the source has label 9"):
        Grouped(NamedSource("digits"), (0, 1))
    with pytest.raises(DataError, match=r"without gaps, not \[0, 2\]"):
        Grouped(stamps(), (0, 2, 0))


def test_shrunk_pictures_are_means_of_squares() -> None:
    source, whole = Shrunk(ground(), 4), ground()[range(20)]
    assert source.shape == (3, 5, 5)
    x = source[[3, 1]].x
    assert x.dtype == torch.uint8
    expected = whole.x[[3, 1]].double().view(2, 3, 5, 4, 5, 4).mean((3, 5))
    assert (x - expected).abs().max() <= 0.5 + 1e-9
    assert torch.equal(source.labels, ground().labels)
    assert source.fingerprint() != Shrunk(ground(), 2).fingerprint()
    with pytest.raises(DataError, match="a factor of 3 does not divide pictures of 20 x 20"):
        Shrunk(ground(), 3)
    with pytest.raises(DataError, match="only pictures"):
        Shrunk(ArraySource(np.zeros((5, 3), np.float32), layout="rows"))
    with pytest.raises(ConfigError, match="factor must be at least 2, not 1"):
        Shrunk(ground(), 1)
