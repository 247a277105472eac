"""Imbalanced splits have the official code's counts, and nothing else moves."""

import pytest
import torch

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.imbalanced import Imbalanced, imbalanced_counts


def test_counts() -> None:
    assert imbalanced_counts(10, 5000, "exp", 0.01) == (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    assert imbalanced_counts(10, 5000, "step", 0.01) == (5000,) * 5 + (50,) * 5
    assert imbalanced_counts(4, 7, "exp", 1.0) == (7,) * 4


def test_classes_are_cut_and_samples_kept_as_they_are() -> None:
    whole = ToyPictures(64)
    cut = Imbalanced(whole, "step", ratio=0.25, largest=12)
    assert cut.labels is not None
    assert cut.labels.bincount().tolist() == [12, 12, 3, 3]
    assert torch.equal(cut[[0, 5]].x, whole[cut.rows[[0, 5]]].x)
    assert cut.rows.tolist() == sorted(set(cut.rows.tolist()))
    assert Imbalanced(whole, ratio=0.25).labels.bincount().tolist() == [16, 16, 4, 4]  # type: ignore[union-attr]


def test_labels_with_gaps_are_cut_by_the_classes_that_are_there() -> None:
    whole = ArraySource(torch.rand(24, 4), torch.tensor([1, 3, 7]).repeat(8))
    cut = Imbalanced(whole, "exp", ratio=0.25, largest=8)
    assert cut.labels is not None
    assert cut.labels.bincount().tolist() == [0, 8, 0, 4, 0, 0, 0, 2]
    with pytest.raises(DataError, match="class 1 would have 9 of its 8 samples"):
        Imbalanced(whole, largest=9)


def test_the_seed_decides() -> None:
    whole = ToyPictures(64)
    first, again, other = (Imbalanced(whole, ratio=0.5, largest=8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.rows, again.rows)
    assert not torch.equal(first.rows, other.rows)


def test_what_is_refused() -> None:
    whole = ToyPictures(64)
    with pytest.raises(DataError, match="no labels"):
        Imbalanced(ArraySource(torch.rand(10, 4)))
    with pytest.raises(DataError, match="only one"):
        Imbalanced(ArraySource(torch.rand(10, 4), torch.zeros(10, dtype=torch.int64)))
    with pytest.raises(DataError, match="class 0 would have 17 of its 16"):
        Imbalanced(whole, largest=17)
    with pytest.raises(DataError, match="class 2 would have 0"):
        Imbalanced(whole, ratio=0.01)
    with pytest.raises(ConfigError, match="did you mean 'step'"):
        Imbalanced(whole, "stop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ratio"):
        Imbalanced(whole, ratio=0)
