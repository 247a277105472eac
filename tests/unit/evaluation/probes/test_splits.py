import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.core.errors import DataError
from withstand.evaluation.features import Features
from withstand.evaluation.probes.splits import hold_out, per_class, ranks_within_class


def features(labels: list[int]) -> Features:
    y = torch.tensor(labels)
    return Features(torch.randn(len(y), 3), y, torch.arange(len(y)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=6, max_size=60), st.integers(0, 99))
def test_ranks_count_each_class_from_0_and_ignore_order(labels: list[int], seed: int) -> None:
    given_ = features(labels)
    ranks = ranks_within_class(given_, seed)
    for label in set(labels):
        assert sorted(ranks[given_.labels == label].tolist()) == list(range(labels.count(label)))
    order = torch.randperm(len(labels))
    assert torch.equal(ranks_within_class(given_[order], seed), ranks[order])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=6, max_size=60), st.sampled_from([0.1, 0.2, 0.5]))
def test_hold_out_is_stratified_and_a_partition(labels: list[int], share: float) -> None:
    given_ = features(labels)
    kept, held = hold_out(given_, share, 0)
    assert sorted(kept.index.tolist() + held.index.tolist()) == list(range(len(labels)))
    for label in set(labels):
        count, out = labels.count(label), int((held.labels == label).sum())
        assert out == min(max(1, round(count * share)), count - 1)


def test_a_single_sample_a_class_cannot_be_split() -> None:
    with pytest.raises(DataError, match="label more"):
        hold_out(features([0, 1, 2]), 0.2)


def test_per_class_is_balanced_and_nested_draws_differ() -> None:
    given_ = features([0] * 20 + [1] * 30 + [3] * 25)
    drawn = per_class(given_, 5, 0)
    assert torch.bincount(drawn.labels).tolist() == [5, 5, 0, 5]
    assert per_class(given_, 5, 1).index.tolist() != drawn.index.tolist()
    with pytest.raises(DataError, match="only 20"):
        per_class(given_, 21)
