"""Draws: the right laws, independent streams, and numbers that hang on (seed, epoch, index) alone."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from withstand.core.random import Draws, as_draws, derive, isolated, permutation

KINDS: dict[str, Callable[[Draws], Tensor]] = {
    "bits": lambda draws: draws.bits(3),
    "uniform": lambda draws: draws.uniform(2, 2, low=-1.0, high=3.0),
    "normal": lambda draws: draws.normal(3),
    "integers": lambda draws: draws.integers(-2, 9, 4),
    "chance": lambda draws: draws.chance(0.3, 5),
    "permutations": lambda draws: draws.permutations(5),
}


def draws(count: int = 1000, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws(seed, torch.arange(count), epoch=epoch)


# Laws. The draws are fixed, so that a p-value above 1e-3 today is one for ever.


@pytest.mark.parametrize("shape", [(100_000, ()), (1, (100_000,)), (300, (333,))], ids=str)
def test_uniform_is_uniform(shape: tuple[int, tuple[int, ...]]) -> None:
    found = draws(shape[0]).uniform(*shape[1]).flatten()
    assert found.dtype == torch.float32
    assert 0 <= float(found.min()) < 1e-3
    assert 0.999 < float(found.max()) < 1
    assert stats.kstest(found.numpy(), "uniform").pvalue > 1e-3
    scaled = draws(shape[0]).uniform(*shape[1], low=-2.0, high=5.0).flatten()
    torch.testing.assert_close(scaled, found * 7 - 2)


@pytest.mark.parametrize("shape", [(100_000, ()), (1, (100_000,)), (300, (333,))], ids=str)
def test_normal_is_normal(shape: tuple[int, tuple[int, ...]]) -> None:
    found = draws(shape[0]).normal(*shape[1]).flatten()
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())
    assert stats.kstest(found.numpy(), "norm").pvalue > 1e-3
    assert stats.kurtosis(found.numpy()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-3, 4), (10, 110), (0, 1)])
def test_integers_are_uniform(low: int, high: int) -> None:
    found = draws(20_000).integers(low, high, 3).flatten()
    assert found.dtype == torch.int64
    counts = torch.bincount(found - low, minlength=high - low)
    assert len(counts) == high - low
    assert high - low == 1 or stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_integers_reach_both_ends_of_a_wide_range() -> None:
    high = 2**31 - 1
    found = draws(50_000).integers(0, high).double() / high
    assert 0 <= found.min() < 1e-3
    assert 0.999 < found.max() < 1
    assert stats.kstest(found.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.9, 1.0])
def test_chance_has_its_probability(probability: float) -> None:
    found = draws(50_000).chance(probability)
    assert found.dtype == torch.bool
    assert float(found.double().mean()) == pytest.approx(probability, abs=4 * math.sqrt(0.25 / 50_000))
    assert probability not in (0.0, 1.0) or bool((found == bool(probability)).all())


def test_permutations_are_uniform() -> None:
    found = draws(24_000).permutations(4)
    assert bool((found.sort(1).values == torch.arange(4)).all())
    codes = (found * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == math.factorial(4)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


# Independence.


def correlation(one: Tensor, two: Tensor) -> float:
    return abs(float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]))


def assert_unrelated(one: Tensor, two: Tensor) -> None:
    """No linear, quadratic or neighbouring relation beyond 4.5 standard errors."""
    bound = 4.5 / math.sqrt(one.numel())
    assert correlation(one, two) < bound
    assert correlation((one - 0.5).square(), (two - 0.5).square()) < bound
    assert correlation(one.flatten()[1:], two.flatten()[:-1]) < bound
    assert not torch.equal(one, two)


def test_streams_are_unrelated() -> None:
    base = draws(20_000)
    first, second = base.uniform(), base.uniform()  # calls
    others = {
        "call": second,
        "seed": draws(20_000, seed=1).uniform(),
        "epoch": draws(20_000, epoch=1).uniform(),
        "child": draws(20_000).child("a").uniform(),
        "grandchild": draws(20_000).child("a").child("a").uniform(),
        "number": draws(20_000).child(0).uniform(),
    }
    everything = [first, *others.values(), draws(20_000).child("b").uniform(), draws(20_000).child(1).uniform()]
    for place, one in enumerate(everything):
        for two in everything[place + 1 :]:
            assert_unrelated(one, two)


def test_samples_are_unrelated() -> None:
    found = draws(200).uniform(2000)
    between = torch.corrcoef(found) - torch.eye(200)
    assert float(between.abs().max()) < 5.5 / math.sqrt(2000)
    within = torch.corrcoef(found.T[:200]) - torch.eye(200)
    assert float(within.abs().max()) < 5.5 / math.sqrt(200)
    # Indices far apart, and in regular steps, are no worse than neighbours.
    for step in (2, 256, 2**32):
        far = Draws(0, torch.arange(20_000) * step).uniform()
        assert_unrelated(far[::2], far[1::2])
        assert stats.kstest(far.numpy(), "uniform").pvalue > 1e-3


def test_every_bit_is_fair_and_they_are_unrelated() -> None:
    bits = draws(20_000).bits()
    table = torch.stack([(bits >> place) & 1 for place in range(64)]).double()
    assert float((table.mean(1) - 0.5).abs().max()) < 5 * 0.5 / math.sqrt(20_000)
    assert float((torch.corrcoef(table) - torch.eye(64)).abs().max()) < 5.5 / math.sqrt(20_000)


def test_no_two_of_a_million_bits_are_equal() -> None:
    assert len(draws(1000).bits(1000).unique()) == 1_000_000


# What draws hang on.


@pytest.mark.parametrize("kind", KINDS)
def test_a_samples_draws_do_not_hang_on_its_batch(kind: str) -> None:
    whole = draws(50)
    rows = torch.tensor([7, 3, 49, 3])
    part, alone = Draws(0, rows), Draws(0, torch.tensor([3]))
    for _ in range(3):
        expected = KINDS[kind](whole)
        assert torch.equal(KINDS[kind](part), expected[rows])
        assert torch.equal(KINDS[kind](alone), expected[3:4])


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20))
def test_rows_are_fresh_draws_of_the_same_streams(rows: list[int]) -> None:
    whole = draws(100)
    first = draws(100).normal(2)
    whole.uniform(9)
    chosen = whole[torch.tensor(rows)]
    assert len(chosen) == len(rows)
    assert torch.equal(chosen.normal(2), first[rows])
    assert torch.equal(draws(100)[10:20].normal(2), first[10:20])
    assert torch.equal(
        draws(100).child("x")[torch.tensor(rows)].bits(), draws(100)[torch.tensor(rows)].child("x").bits()
    )


def test_children_do_not_hang_on_what_was_drawn() -> None:
    one, two = draws(), draws()
    one.uniform(5)
    assert torch.equal(one.child("a").uniform(), two.child("a").uniform())
    before = draws().uniform(3)
    two.child("b").uniform()
    assert torch.equal(two.uniform(3), before)


GOLDEN = {
    "bits": [657594862949095082, 7519507683621261015, -5362270845115779849],
    "uniform": [0.6792277097702026, 0.3190203309059143, 0.6762365102767944],
    "integers": [165, 943, 175],
    "normal": [0.822041, 0.191095, 0.972729],
    "permutations": [[4, 0, 3, 2, 1], [1, 2, 4, 0, 3], [1, 0, 4, 3, 2]],
    "child": [-6312673046408179712, -5805181353523525618, 1912433177916792353],
    "derive": 2002067703672271585,
    "permutation": [3, 2, 6, 8, 0, 1, 9, 4, 5, 7],
}


def test_golden_values() -> None:
    """If one of these changes, every stored run changes with it: that needs a new major version."""
    some = Draws(7, torch.tensor([0, 1, 123_456]), epoch=2)
    assert some.bits().tolist() == GOLDEN["bits"]
    assert some.uniform().tolist() == GOLDEN["uniform"]
    assert some.integers(0, 1000).tolist() == GOLDEN["integers"]
    torch.testing.assert_close(some.normal(), torch.tensor(GOLDEN["normal"]))
    assert some.permutations(5).tolist() == GOLDEN["permutations"]
    assert some.child("views").child(1).bits().tolist() == GOLDEN["child"]
    assert derive(0, "order", 1) == GOLDEN["derive"]
    assert permutation(10, 0, "order", 0).tolist() == GOLDEN["permutation"]


def test_device_and_types() -> None:
    some = Draws(0, torch.arange(3, dtype=torch.int32))
    assert some.device == torch.device("cpu")
    assert torch.equal(some.bits(), draws(3).bits())
    assert some.uniform().shape == (3,)
    assert some.uniform(2, 5).shape == (3, 2, 5)
    assert some.bits(0).shape == (3, 0)
    assert draws(0).uniform(2).shape == (0, 2)
    assert len(draws(0)) == 0


def test_the_index_is_not_altered_and_no_global_state_is_used() -> None:
    index = torch.arange(10)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    some = Draws(0, index)
    for kind in KINDS.values():
        kind(some.child("x"))
    assert torch.equal(index, torch.arange(10))
    assert torch.equal(torch.get_rng_state(), state)


def test_as_draws_takes_whatever_a_caller_holds() -> None:
    cpu = torch.device("cpu")
    some = draws(4)
    assert as_draws(some, 4, cpu) is some
    assert torch.equal(as_draws(None, 4, cpu).bits(), Draws(0, torch.arange(4)).bits())
    assert torch.equal(as_draws(5, 4, cpu).bits(), Draws(5, torch.arange(4)).bits())
    made = [as_draws(torch.Generator().manual_seed(1), 4, cpu).bits() for _ in range(2)]
    assert torch.equal(*made)
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(as_draws(generator, 4, cpu).bits(), as_draws(generator, 4, cpu).bits())


# Seeds and orders.


@given(st.lists(st.integers() | st.text(), max_size=4), st.lists(st.integers() | st.text(), max_size=4))
def test_derive_tells_words_apart(one: list[int | str], two: list[int | str]) -> None:
    assert 0 <= derive(*one) < 2**63
    assert (derive(*one) == derive(*two)) == (one == two)


def test_permutation_is_one_and_hangs_on_its_words() -> None:
    orders = [permutation(50, 0, "order", epoch) for epoch in range(3)]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[1], permutation(50, 0, "order", 1))


def test_isolated_restores_the_global_state_also_on_an_error() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with isolated(3, "step"):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)

    def fail() -> None:
        with isolated(3, "step"):
            assert torch.equal(torch.rand(3), inside)
            raise RuntimeError("inner")

    with pytest.raises(RuntimeError, match="inner"):
        fail()
    assert torch.equal(torch.get_rng_state(), state)
    with isolated():
        expected = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)  # without words the state is kept
