"""Pairs of a graph by hand, and neighbours within groups."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.data.clips.pair_graph import nearest_within, transitive_pairs

A, B, A2, B2 = range(4)


def edges(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).view(-1, 2)


def test_the_square() -> None:
    found = transitive_pairs(edges((A, B)), edges((A, A2), (B, B2)))
    assert found.tolist() == [[A, B2], [B, A2], [A2, B2]]


def test_both_kinds_of_edges_are_needed() -> None:
    assert transitive_pairs(edges((A, B)), edges()).shape == (0, 2)
    assert transitive_pairs(edges(), edges((A, A2))).shape == (0, 2)


def test_directions_and_repeats_change_nothing_and_edges_are_no_pairs() -> None:
    plain = transitive_pairs(edges((A, B)), edges((A, A2), (B, B2)))
    assert torch.equal(transitive_pairs(edges((B, A), (A, B)), edges((A2, A), (B2, B))), plain)
    known = transitive_pairs(edges((A, B), (A2, B2)), edges((A, A2), (B, B2)))
    assert known.tolist() == [[A, B2], [B, A2]]


def test_other_names_of_nodes_give_other_names_of_pairs() -> None:
    name = torch.tensor([7, 2, 5, 0])
    plain = transitive_pairs(edges((A, B)), edges((A, A2), (B, B2)))
    found = transitive_pairs(name[edges((A, B))], name[edges((A, A2), (B, B2))])
    assert sorted(map(sorted, name[plain].tolist())) == sorted(found.tolist())


def test_two_edges_by_looks_are_never_chained() -> None:
    found = transitive_pairs(edges((0, 1), (1, 2)), edges((0, 3)))
    assert found.tolist() == [[1, 3]]


def test_bad_edges() -> None:
    with pytest.raises(DataError, match="inter edges"):
        transitive_pairs(torch.zeros(3, dtype=torch.int64), edges())


def test_neighbours_are_the_nearest_of_their_own_group() -> None:
    x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 0.05], [0.1, 1.0]])
    found = nearest_within(x, torch.tensor([0, 0, 1, 0, 1]), 2)
    assert found.tolist() == [[3, 1], [3, 0], [4, -1], [0, 1], [2, -1]]
    assert nearest_within(x, torch.arange(5), 1).tolist() == [[-1]] * 5
