"""Batches of one group, batches of as many groups as can be: what each holds, how many there are, what repeats."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import permutation
from withstand.data.derived.group_batches import (
    DistinctClusterBatchSampler,
    SameClusterBatchSampler,
    coverage,
    distinct_group_batches,
    merged,
    same_group_batches,
    same_label_share,
)

MODES = ("even", "balanced", "official")


def dealt(count: int, groups: int, seed: int = 0) -> Tensor:
    """Groups of unequal sizes."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, generator=generator).square() * groups).long()


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 120), st.integers(1, 7), st.integers(1, 8), st.integers(0, 99))
def test_every_batch_is_of_one_group_and_no_sample_comes_twice(count: int, groups: int, batch: int, seed: int) -> None:
    labels, order = dealt(count, groups, seed), permutation(count, seed)
    sizes = labels.bincount()
    if sizes.max() < batch:
        with pytest.raises(DataError, match="larger than every group"):
            same_group_batches(order, labels, batch, small="skip")
        return
    found = same_group_batches(order, labels, batch, small="skip")
    assert len(found) == int((sizes // batch).sum())
    assert (labels[found] == labels[found][:, :1]).all()
    assert len(found.flatten().unique()) == found.numel()
    assert set(labels[found].flatten().tolist()) == {g for g, size in enumerate(sizes.tolist()) if size >= batch}
    joined = merged(labels, batch)
    assert joined.bincount().min() >= batch
    assert all(len(joined[labels == label].unique()) == 1 for label in labels.unique()), "groups stay whole"
    both = same_group_batches(order, labels, batch)
    assert (joined[both] == joined[both][:, :1]).all()
    assert len(both) == int((joined.bincount() // batch).sum())


def test_one_group_is_ordinary_shuffling() -> None:
    order = permutation(50, 3)
    found = same_group_batches(order, torch.zeros(50, dtype=torch.int64), 8)
    assert found.shape == (6, 8)
    assert sorted(found.flatten().tolist()) == sorted(order[:48].tolist())


def test_small_groups_join_the_next() -> None:
    labels = torch.tensor([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, 8])
    assert merged(labels, 3).tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert merged(labels, 4).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2], "the rest joins the last"
    assert merged(torch.tensor([0, 1]), 5).tolist() == [0, 0], "what is too few in all is one group"


def test_large_groups_do_not_wait_for_the_end() -> None:
    labels = torch.cat([torch.zeros(400), torch.ones(40)]).long()
    places = [
        (labels[same_group_batches(permutation(440, seed), labels, 8)[:, 0]] == 1).nonzero().double().mean()
        for seed in range(40)
    ]
    assert torch.stack(places).mean() == pytest.approx(27, abs=4), "a small group's batches lie anywhere"


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 120), st.integers(1, 9), st.integers(1, 8), st.integers(0, 99))
def test_batches_hold_as_many_groups_as_can_be(count: int, groups: int, batch: int, seed: int) -> None:
    labels, order = dealt(count, groups, seed), permutation(count, seed)
    found = distinct_group_batches(order, labels, batch, mode="balanced")
    official = distinct_group_batches(order, labels, batch, mode="official")
    for batches in (found, official):
        assert batches.shape == (count // batch, batch)
        assert len(batches.flatten().unique()) == batches.numel(), "each sample once"

    def apart(batches: Tensor) -> int:
        return sum(len(labels[rows].unique()) == batch for rows in batches)

    assert apart(found) >= apart(official)
    # While B groups have samples left, a batch takes from B of them: at most the smallest of the B largest says how
    # often that goes at the least.
    sizes = labels.bincount().sort(descending=True).values
    if len(sizes) >= batch:
        assert apart(found) >= min(int(sizes[batch - 1]), count // batch)


@pytest.mark.parametrize("seed", range(3))
def test_even_batches_have_fewest_pairs_of_one_group(seed: int) -> None:
    labels, order = dealt(640, 16, seed), permutation(640, seed)
    shares = {mode: same_label_share(labels, distinct_group_batches(order, labels, 16, mode=mode)) for mode in MODES}
    random = same_label_share(labels, order.view(-1, 16))
    assert shares["even"] < min(random, shares["balanced"], shares["official"])
    found = distinct_group_batches(order, labels, 16)
    assert sorted(found.flatten().tolist()) == list(range(640))
    # Each group's share of a batch is its share of the whole, to about a sample.
    counts = torch.stack([labels[rows].bincount(minlength=16) for rows in found]).double()
    assert (counts - counts.mean(0)).abs().max() < 2


@pytest.mark.parametrize("mode", MODES)
def test_equal_clusters_give_one_of_each(mode: str) -> None:
    labels = torch.arange(60) % 6
    found = distinct_group_batches(permutation(60, 0), labels, 6, mode=mode)
    assert (labels[found].sort(1).values == torch.arange(6)).all()
    assert sorted(found.flatten().tolist()) == list(range(60))
    assert same_label_share(labels, found) == 0


def test_official_batches_go_by_rank_and_never_change() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    found = distinct_group_batches(permutation(6, 1), labels, 2, mode="official")
    assert torch.equal(found, distinct_group_batches(permutation(6, 2), labels, 2, mode="official"))
    ranks = torch.tensor([0, 1, 2, 0, 1, 0])
    assert ranks[found.flatten()].tolist() == sorted(ranks.tolist())


def test_every_sample_its_own_cluster_is_ordinary_shuffling() -> None:
    found = distinct_group_batches(permutation(40, 0), torch.arange(40), 8)
    assert sorted(found.flatten().tolist()) == list(range(40))


def test_share_of_false_negatives() -> None:
    labels = torch.arange(1000) % 10
    random = permutation(1000, 0).view(-1, 10)
    assert same_label_share(labels, random) == pytest.approx(99 / 999, abs=0.02)
    guided = distinct_group_batches(permutation(1000, 0), labels, 10)
    assert same_label_share(labels, guided) == 0
    assert same_label_share(labels, torch.tensor([[0, 10, 1]])) == pytest.approx(1 / 3)


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'balanced'"):
        distinct_group_batches(permutation(4, 0), torch.zeros(4), 2, mode="balance")  # type: ignore[arg-type]


def test_coverage() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    assert coverage(labels, 2) == pytest.approx(5 / 6)
    assert coverage(labels, 1) == 1


@pytest.mark.parametrize("kind", [SameClusterBatchSampler, DistinctClusterBatchSampler])
def test_samplers_feed_a_loader(kind: type[SameClusterBatchSampler]) -> None:
    labels = dealt(60, 4)
    sampler = kind(labels, 8, seed=5)
    loader = DataLoader(TensorDataset(torch.arange(60)), batch_sampler=sampler)
    first = [rows.tolist() for (rows,) in loader]
    assert first == [rows.tolist() for (rows,) in loader], "the same epoch again"
    assert len(first) == len(loader) == len(sampler)
    sampler.set_epoch(1)
    assert first != [rows.tolist() for (rows,) in loader]
    other = kind(labels, 8, seed=5)
    other.set_epoch(1)
    assert list(sampler) == list(other)
    with pytest.raises(ConfigError, match=r"batch must lie in \[1, 60\]"):
        kind(labels, 61)
