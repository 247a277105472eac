"""Second-order matching: against all permutations, against scipy, and what it never gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from matchings import problems
from withstand.core.errors import DataError
from withstand.models.matching.assignment import (
    Affinities,
    as_matrices,
    match,
    match_exactly,
    matched_edges,
    objective,
)
from withstand.models.matching.graphs import cosines, edge_affinities, nearest_edges


@given(st.integers(2, 9), st.integers(0, 99))
def test_without_edges_it_is_the_hungarian_answer(nodes: int, seed: int) -> None:
    given = problems(2, nodes, seed, neighbours=1)
    assert given.edge is not None
    none = Affinities(given.node, given.edge * 0, given.first, given.second)
    for node, plain, without in zip(given.node, match(given.first_order()), match(none), strict=True):
        expected = linear_sum_assignment(node.numpy(), maximize=True)[1]
        assert plain.tolist() == expected.tolist()
        assert float(node[range(nodes), without].sum()) == pytest.approx(float(node[range(nodes), expected].sum()))


def test_it_finds_the_best_of_all_permutations_nearly_always_and_never_more() -> None:
    for nodes in (3, 4, 5, 6):
        given = problems(60, nodes)
        found, best = match(given), match_exactly(given)
        assert found.sort(1).values.tolist() == [list(range(nodes))] * 60
        reached, most = (objective(given, one[:, None])[:, 0] for one in (found, best))
        assert bool((reached <= most + 1e-9).all())
        assert float((reached >= most - 1e-9).double().mean()) >= 0.9


def test_no_exchange_of_two_nodes_would_raise_what_was_found() -> None:
    given = problems(4, 9)
    found = match(given)
    reached = objective(given, found[:, None])[:, 0]
    for i in range(9):
        for j in range(i):
            swapped = found.clone()
            swapped[:, [i, j]] = found[:, [j, i]]
            assert bool((objective(given, swapped[:, None])[:, 0] <= reached + 1e-9).all())


def test_the_objective_is_the_papers_sum() -> None:
    given = problems(1, 4)
    assert given.edge is not None
    assert given.first is not None
    assert given.second is not None
    p = [2, 0, 3, 1]
    expected = sum(float(given.node[0, i, p[i]]) for i in range(4))
    for e, (i, j) in enumerate(given.first[0].tolist()):
        for f, (a, b) in enumerate(given.second[0].tolist()):
            if p[i] == a and p[j] == b:
                expected += float(given.edge[0, e, f])
    assert float(objective(given, torch.tensor([[p]]))) == pytest.approx(expected)
    matrices = as_matrices(torch.tensor([p]), given.node)
    both = matched_edges(matrices, given.first, given.second)
    assert float((given.node * matrices).sum() + (given.edge * both).sum()) == pytest.approx(expected)


def test_near_duplicates_are_told_apart_by_their_neighbours_alone() -> None:
    """Nodes 0 and 1 look alike, the wrong way round by a little; edges lead from 0 to 2 and from 1 to 3."""
    node = torch.eye(4, dtype=torch.float64)[None].clone()
    node[0, :2, :2] = torch.tensor([[0.9, 1.0], [1.0, 0.9]])
    ends = torch.tensor([[[0, 2], [1, 3]]])
    given = Affinities(node, torch.eye(2, dtype=torch.float64)[None], ends, ends)
    assert match(given.first_order()).tolist() == [[1, 0, 2, 3]]
    assert match(given).tolist() == match_exactly(given).tolist() == [[0, 1, 2, 3]]


def test_renaming_the_pictures_renames_the_matching() -> None:
    given = problems(3, 5)
    assert given.first is not None
    assert given.second is not None
    order = torch.tensor([3, 0, 4, 1, 2])
    new = order.argsort()
    renamed = Affinities(given.node[:, order][:, :, order], given.edge, new[given.first], new[given.second])
    assert torch.equal(match_exactly(renamed), new[match_exactly(given)[:, order]])


def test_large_diagonals_give_the_identity() -> None:
    given = problems(5, 8)
    sure = Affinities(given.node + 100 * torch.eye(8), given.edge, given.first, given.second)
    assert bool((match(sure) == torch.arange(8)).all())


def test_what_does_not_fit_is_refused() -> None:
    given = problems(1, 8)
    with pytest.raises(DataError, match="at most 7"):
        match_exactly(given)
    with pytest.raises(DataError, match="node affinities"):
        Affinities(torch.ones(2, 3))
    with pytest.raises(DataError, match="need the ends"):
        Affinities(given.node, given.edge)
    with pytest.raises(DataError, match="edge affinities must be"):
        Affinities(given.node, torch.ones(1, 2, 2), given.first, given.second)


def test_edges_find_again_what_noise_hides_in_the_nodes() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(10, 16, 8, generator=generator)
    other = one + 0.4 * torch.randn(10, 16, 8, generator=generator)
    first, second = nearest_edges(one, 5), nearest_edges(other, 5)
    node = cosines(one, other) + 0.5 * torch.randn(10, 16, 16, generator=generator)
    given = Affinities(node, edge_affinities(one, other, first, second), first, second)
    with_edges, without = ((match(some) == torch.arange(16)).double().mean() for some in (given, given.first_order()))
    assert float(with_edges) > 0.9
    assert float(without) < 0.6
