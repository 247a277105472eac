"""Batches by groups of samples: all of one group (MCL, 2024), or each of another one (G-SimCLR, 2020).

sizes: N samples, K groups, B samples a batch, S batches of a pass
Everything is a function of a random order of the samples, so that a resumed run meets the same batches.
"""

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import Sampler

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import derive, permutation

Small = Literal["merge", "skip"]
Distinct = Literal["even", "balanced", "official"]


def same_group_batches(order: Tensor, groups: Tensor, batch: int, *, small: Small = "merge") -> Tensor:
    """Return batches that hold samples of one group each, in random order, int64 `(S, B)`.

    Within a group samples follow `order`; what is left of it when its whole batches are made waits for another pass,
    so S is the sum over groups of their sizes // B. The official code takes groups by turns, which leaves the large
    ones' batches for the end; here batches are shuffled.

    Args:
        order: a random order of all samples, int64 `(N,)`.
        groups: each sample's group, int64 `(N,)`.
        batch: B.
        small: what becomes of groups smaller than a batch: "merge" joins neighbours, see `merged`, "skip" leaves them
            out, as the official code does.

    Raises:
        DataError: no group has a batch's worth of samples.
    """
    if small == "merge":
        groups = merged(groups, batch)
    mine = groups[order]
    rows = order[mine.argsort(stable=True)]
    counts = torch.unique(mine, return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    firsts = torch.cat(
        [start + batch * torch.arange(count // batch) for start, count in zip(starts, counts, strict=True)]
    )
    if not len(firsts):
        raise DataError(
            f"batch {batch} is larger than every group of samples, the largest of which has {int(counts.max())}: use a "
            "smaller batch or fewer clusters"
        )
    shuffled = firsts[torch.randperm(len(firsts), generator=_generator(order))]
    return rows[shuffled[:, None] + torch.arange(batch)]


def distinct_group_batches(order: Tensor, groups: Tensor, batch: int, *, mode: Distinct = "even") -> Tensor:
    """Return N // B batches that hold samples of as many groups as can be, int64 `(N // B, B)`.

    Args:
        order: a random order of all samples, int64 `(N,)`.
        groups: each sample's group, int64 `(N,)`.
        batch: B.
        mode: "even" spreads each group over all batches, so that pairs of one group are fewest. "balanced" takes a
            sample of each of the B groups that have most left, and a second one of a group only where fewer than B
            have any: most batches have none twice, and what large groups have left meets in the last ones. "official"
            sorts samples by their place in their group, in which they stand by index: the same batches in each epoch.
            The first two come in random order.

    Raises:
        ConfigError: an unknown mode.
    """
    if mode not in get_args(Distinct):
        raise ConfigError(f"mode {mode!r} is unknown: {nearest(str(mode), get_args(Distinct))}")
    generator, whole = _generator(order), len(order) // batch
    if mode == "even":
        rows, starts, counts = _by_group(order, groups)
        own = torch.arange(len(counts)).repeat_interleave(counts)
        places = torch.arange(len(rows)) - starts[own]
        offset = torch.rand(len(counts), generator=generator, dtype=torch.float64)
        spread = rows[((places + offset[own]) / counts[own]).argsort(stable=True)]
        return spread[: whole * batch].view(whole, batch)[torch.randperm(whole, generator=generator)]
    if mode == "official":
        order = torch.arange(len(groups))
        chosen = _places(groups).argsort(stable=True)
        return chosen[: len(order) // batch * batch].view(-1, batch)
    rows, starts, counts = _by_group(order, groups)
    left = counts.clone()
    batches = []
    for _ in range(whole):
        taken: list[Tensor] = []
        wanted = batch
        while wanted:
            keys = left + torch.rand(len(left), generator=generator, dtype=torch.float64)
            fullest = keys.argsort(descending=True)[: min(wanted, int((left > 0).sum()))]
            left[fullest] -= 1
            taken.append(rows[starts[fullest] + left[fullest]])
            wanted -= len(fullest)
        batches.append(torch.cat(taken))
    shuffled = torch.randperm(len(batches), generator=generator)
    return torch.stack(batches)[shuffled] if batches else order.new_empty(0, batch)


def merged(groups: Tensor, batch: int) -> Tensor:
    """Return groups of which none is smaller than a batch: small ones join the next by number, until all fit.

    Where groups were split again and again (`MCL`), neighbours' numbers mostly begin alike: they were parted last. What
    is left at the end joins the last group.
    """
    names, own, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    joined = torch.empty_like(names)
    number, size = 0, 0
    for place, count in enumerate(counts.tolist()):
        joined[place] = number
        size += count
        if size >= batch:
            number, size = number + 1, 0
    if size and number:
        joined[joined == number] = number - 1
    return joined[own]


def coverage(groups: Tensor, batch: int) -> float:
    """Return the share of samples whose group has a batch's worth of them."""
    counts = torch.unique(groups, return_counts=True)[1]
    return float(counts[counts >= batch].sum() / len(groups))


def same_label_share(labels: Tensor, batches: Tensor) -> float:
    """Return the share of pairs in batches `(S, B)` that have one label: false negatives of contrastive learning."""
    mine = labels[batches]
    alike = (mine[:, :, None] == mine[:, None, :]).double().sum((1, 2)) - mine.shape[1]
    return float(alike.mean() / (mine.shape[1] * (mine.shape[1] - 1)))


class _GroupSampler(Sampler[list[int]]):
    """A `batch_sampler` for a torch DataLoader; `set_epoch` gives each epoch an order of its own."""

    def __init__(self, groups: Tensor, batch: int, seed: int) -> None:
        self.groups, self.batch, self.seed, self.epoch = torch.as_tensor(groups), batch, seed, 0
        if not 0 < batch <= len(self.groups):
            raise ConfigError(f"batch must lie in [1, {len(self.groups)}], the number of samples, not {batch!r}")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next pass gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches().tolist())

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> Tensor:
        raise NotImplementedError

    def _order(self) -> Tensor:
        return permutation(len(self.groups), self.seed, "order", self.epoch)


class SameClusterBatchSampler(_GroupSampler):
    """Batches of one group each, for a loop of one's own; arguments as in `same_group_batches`."""

    def __init__(self, groups: Tensor, batch: int, *, small: Small = "merge", seed: int = 0) -> None:
        super().__init__(groups, batch, seed)
        self.small: Small = small

    def _batches(self) -> Tensor:
        return same_group_batches(self._order(), self.groups, self.batch, small=self.small)


class DistinctClusterBatchSampler(_GroupSampler):
    """Batches of as many groups as can be, for a loop of one's own; arguments as in `distinct_group_batches`."""

    def __init__(self, groups: Tensor, batch: int, *, mode: Distinct = "even", seed: int = 0) -> None:
        super().__init__(groups, batch, seed)
        self.mode: Distinct = mode

    def _batches(self) -> Tensor:
        return distinct_group_batches(self._order(), self.groups, self.batch, mode=self.mode)


def _by_group(order: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return samples group by group, in each by `order`, where each group begins, and how many it has."""
    _, own, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    return order[own[order].argsort(stable=True)], counts.cumsum(0) - counts, counts


def _places(groups: Tensor) -> Tensor:
    """Return each sample's place in its group, by index."""
    by_group = groups.argsort(stable=True)
    counts = torch.unique(groups, return_counts=True)[1]
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    places = torch.empty_like(by_group)
    places[by_group] = torch.arange(len(groups)) - starts
    return places


def _generator(order: Tensor) -> torch.Generator:
    """Return a generator whose state hangs on a random order alone."""
    return torch.Generator().manual_seed(derive("batches", *order[:4].tolist()))
