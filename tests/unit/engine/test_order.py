"""An epoch's order: every sample once, alike lengths together, and chance in all that lengths leave open."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.random import permutation
from withstand.core.roles import Indices, Source
from withstand.data.derived.subset import Subset
from withstand.engine.order import WINDOW, epoch_order


class Sized(Source):
    """Nothing but lengths."""

    def __init__(self, sizes: Tensor) -> None:
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, indices: Indices) -> Batch:
        raise AssertionError("an order reads no samples")

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def sizes(self) -> Tensor:
        return self._sizes

    def fingerprint(self) -> str:
        return ""


def lengths(count: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 100, (count,), generator=torch.Generator().manual_seed(seed))


def padding(order: Tensor, sizes: Tensor, batch: int) -> int:
    return sum(int(one.max() * len(one) - one.sum()) for one in sizes[order].split(batch) if len(one))


@given(count=st.integers(1, 700), batch=st.integers(1, 20), seed=st.integers(0, 50), epoch=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_sample_comes_once_and_the_rest_is_chances(count: int, batch: int, seed: int, epoch: int) -> None:
    sizes = lengths(count, seed)
    order, plain = epoch_order(Sized(sizes), batch, seed, epoch), permutation(count, seed, "order", epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, epoch_order(Sized(sizes), batch, seed, epoch))
    whole = count // batch * batch
    assert torch.equal(order[whole:], plain[whole:]), "no length is dropped rather than another"
    assert padding(order[:whole], sizes, batch) <= padding(plain[:whole], sizes, batch)


def test_much_less_padding_than_at_random_and_still_chance() -> None:
    sizes, batch = lengths(4000), 16
    source = Sized(sizes)
    first, second = epoch_order(source, batch, 0, 0), epoch_order(source, batch, 0, 1)
    assert padding(first, sizes, batch) < 0.1 * padding(permutation(4000, 0, "order", 0), sizes, batch)
    longest = sizes[first].view(-1, batch).amax(1)
    assert (longest[1:] < longest[:-1]).float().mean() > 0.3, "batches come in no order of length"
    rises = (sizes[first].view(-1, batch).diff(dim=1) >= 0).float().mean()
    assert 0.3 < float(rises) < 0.8, "nor do samples inside one"
    together = {frozenset(one) for one in first.view(-1, batch).tolist()}
    assert not together & {frozenset(one) for one in second.view(-1, batch).tolist()}
    # Companions are sought in a window, not among all: those of one batch were near one another in the plain order.
    place = permutation(4000, 0, "order", 0).argsort()
    windows = place[first].view(-1, batch) // (WINDOW * batch)
    assert torch.equal(windows.amin(1), windows.amax(1))


def test_without_lengths_the_order_is_plain() -> None:
    assert torch.equal(epoch_order(ToyPictures(40), 8, 3, 2), permutation(40, 3, "order", 2))


def test_lengths_follow_chosen_samples_and_have_to_be_one_each() -> None:
    sizes = lengths(30)
    rows = torch.tensor([4, 20, 7, 9])
    part = Subset(Sized(sizes), rows)
    assert part.sizes is not None
    assert torch.equal(part.sizes, sizes[rows])
    for wrong in (sizes[:, None], sizes.float()):
        with pytest.raises(DataError, match=r"sizes must be int64 \(30,\)"):
            epoch_order(Sized(wrong), 4, 0, 0)
