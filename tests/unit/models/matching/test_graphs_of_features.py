"""Graphs of features: nearest neighbours, message passing, and affinities of edges and of cells."""

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.models.matching.graphs import (
    MessagePassing,
    cell_places,
    cosines,
    edge_affinities,
    local_affinities,
    nearest_edges,
)


def nodes(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_edges_lead_to_the_nearest_and_never_back_to_the_node() -> None:
    line = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]])
    assert nearest_edges(line, 1).tolist() == [[[0, 1], [1, 0], [2, 1], [3, 2]]]
    same = nearest_edges(torch.zeros(1, 4, 2), 3)
    assert bool((same[..., 0] != same[..., 1]).all())
    with pytest.raises(ConfigError, match="between 1 and 3"):
        nearest_edges(line, 4)


def test_without_edges_message_passing_is_a_perceptron() -> None:
    passing = MessagePassing(5).double()
    x = nodes(0, 2, 4, 5)
    first, last = passing.layers
    expected = last(torch.relu(first(x)))
    torch.testing.assert_close(passing(x, torch.zeros(2, 0, 2, dtype=torch.int64)), expected)


def test_message_passing_is_the_papers_formula() -> None:
    passing = MessagePassing(3, layers=1).double()
    x, edges = nodes(0, 1, 4, 3), nearest_edges(nodes(1, 1, 4, 3), 2)
    a = torch.eye(4, dtype=torch.float64)
    for i, j in edges[0].tolist():
        a[i, j] = 1
    d = torch.diag(a.sum(1).rsqrt())
    torch.testing.assert_close(passing(x, edges)[0], d @ a @ d @ x[0] @ passing.layers[0].weight.T)


def test_moving_all_nodes_of_a_view_changes_no_edge() -> None:
    one, other = nodes(0, 2, 5, 4), nodes(1, 2, 5, 4)
    first, second = nearest_edges(one, 2), nearest_edges(other, 2)
    found = edge_affinities(one, other, first, second)
    assert found.shape == (2, 10, 10)
    torch.testing.assert_close(edge_affinities(one + 3, other - nodes(2, 1, 1, 4), first, second), found)
    i, j = first[0, 3].tolist()
    a, b = second[0, 7].tolist()
    expected = torch.cosine_similarity(one[0, i] - one[0, j], other[0, a] - other[0, b], dim=0)
    torch.testing.assert_close(found[0, 3, 7], expected)


def test_equal_nodes_give_affinities_of_0_and_finite_gradients() -> None:
    x = torch.ones(1, 3, 2, requires_grad=True)
    edges = nearest_edges(x, 1)
    found = edge_affinities(x, x, edges, edges)
    found.sum().backward()
    assert not found.any()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert float(cosines(torch.zeros(1, 2), torch.ones(1, 2))) == 0


@pytest.mark.parametrize("best", [None, 3])
def test_local_affinities_are_cell_by_cell_what_a_loop_finds(best: int | None) -> None:
    one, other = nodes(0, 1, 2, 6, 4), nodes(1, 1, 2, 6, 4)
    here, there = nodes(2, 1, 2, 6, 2), nodes(3, 1, 2, 6, 2)
    found = local_affinities(one, other, here, there, best)
    for i in range(2):
        for a in range(2):
            total = 0.0
            for mine, theirs in ((here[0, i], there[0, a]), (one[0, i], other[0, a])):
                pairs = []
                for p in range(6):
                    away = [(float((mine[p] - theirs[q]).norm()), q) for q in range(6)]
                    distance, q = min(away)
                    pairs.append((distance, float(torch.cosine_similarity(one[0, i, p], other[0, a, q], dim=0))))
                kept = sorted(pairs)[: best or 6]
                total += sum(cosine for _, cosine in kept) / len(kept) / 2
            assert float(found[0, i, a]) == pytest.approx(total)
    with pytest.raises(DataError, match="do not fit"):
        local_affinities(one, other, here, there[:, :, :3])


def test_cells_lie_where_their_crop_does() -> None:
    crops = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0], [0.5, 0.25, 0.5, 0.5, 1.0]])
    found = cell_places(crops, 1, 2)
    expected = torch.tensor([[[0.5, 0.25], [0.5, 0.75]], [[0.75, 0.625], [0.75, 0.375]]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
