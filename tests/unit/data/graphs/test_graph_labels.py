"""Distances, spread labels, contexts and corrected labels against their closed forms."""

import pytest
import torch
from torch import Tensor

from graphs import graph
from withstand.core.errors import DataError
from withstand.data.graphs.clean import clean_edges
from withstand.data.graphs.sparse import Pattern
from withstand.data.graphs.structure.correction import correct_labels
from withstand.data.graphs.structure.hops import FAR, centres, hops_from, nearness, regions
from withstand.data.graphs.structure.propagation import classify_iteratively, context_shares, propagate_labels


def edges_of(pairs: list[tuple[int, int]], nodes: int) -> Pattern:
    return clean_edges(torch.tensor(pairs).t().reshape(2, -1).long(), nodes)[0]


def path(nodes: int) -> Pattern:
    return edges_of([(place, place + 1) for place in range(nodes - 1)], nodes)


def test_hops_on_a_path_and_where_there_is_no_way() -> None:
    edges = edges_of([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7)], 8)
    hops = hops_from(edges, torch.arange(8))
    assert hops[:6, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert hops[6, 0] == FAR
    assert torch.equal(hops, hops.t())
    assert hops_from(edges, torch.tensor([0]), 3)[:, 0].clamp_max(4).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    near = nearness(hops[:, 0])
    torch.testing.assert_close(near, torch.tensor([0, 1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 0, 0]))


def test_regions_cover_the_graph_and_centres_lie_inside() -> None:
    two_stars = [(0, leaf) for leaf in range(1, 6)] + [(6, leaf) for leaf in range(7, 12)] + [(5, 11)]
    edges = edges_of(two_stars, 12)
    region = regions(edges, 2)
    assert region[:6].unique().numel() == region[6:].unique().numel() == 1
    assert sorted(centres(edges, region).tolist()) == [0, 6]


def test_harmonic_labels_are_the_mean_of_the_neighbors() -> None:
    edges = graph(40).graph().edges
    labels = torch.full((40,), -1)
    labels[[0, 5, 9]] = torch.tensor([0, 1, 2])
    shares = propagate_labels(edges, labels, 3).double()
    assert shares[[0, 5, 9]].argmax(1).tolist() == [0, 1, 2]
    torch.testing.assert_close(shares.sum(1), torch.ones(40).double())
    assert shares.min() >= -1e-6
    reached = hops_from(edges, torch.tensor([0, 5, 9])).amin(1) < FAR
    for node in range(40):
        if labels[node] < 0 and reached[node]:
            row = edges.column[edges.start[node] : edges.start[node + 1]].long()
            torch.testing.assert_close(shares[node], shares[row[row != node]].mean(0), atol=1e-5, rtol=1e-4)


def test_two_components_with_one_label_each_are_split() -> None:
    edges = edges_of([(0, 1), (1, 2), (3, 4), (4, 5)], 7)
    labels = torch.tensor([0, -1, -1, 1, -1, -1, -1])
    shares = propagate_labels(edges, labels, 2)
    assert shares.argmax(1)[:6].tolist() == [0, 0, 0, 1, 1, 1]
    assert shares[6].tolist() == [0.5, 0.5], "no label reaches it"
    with pytest.raises(DataError, match="no node has one"):
        propagate_labels(edges, torch.full((7,), -1), 2)


def test_karate_club_from_one_label_a_side() -> None:
    networkx = pytest.importorskip("networkx")
    club = networkx.karate_club_graph()
    edges = edges_of(list(club.edges()), 34)
    sides = torch.tensor([club.nodes[node]["club"] != "Mr. Hi" for node in range(34)]).long()
    labels = torch.full((34,), -1)
    labels[[0, 33]] = torch.tensor([0, 1])
    assert int((propagate_labels(edges, labels, 2).argmax(1) == sides).sum()) >= 30


def test_iterative_classification_uses_features_and_neighbors() -> None:
    sides = torch.arange(40) // 20
    pairs = [(a, b) for a in range(40) for b in range(a) if sides[a] == sides[b]]
    x = torch.eye(2)[sides]
    x[10:20], x[30:] = 0, 0  # these are known by their company alone
    labels = torch.full((40,), -1)
    labels[[0, 1, 12, 20, 21, 32]] = sides[[0, 1, 12, 20, 21, 32]]
    shares = classify_iteratively(edges_of(pairs, 40), x, labels, 2)
    assert torch.equal(shares.argmax(1), sides)
    torch.testing.assert_close(shares.sum(1), torch.ones(40))
    with pytest.raises(DataError, match="at least two classes"):
        classify_iteratively(path(4), torch.rand(4, 2), torch.tensor([0, -1, -1, 0]), 2)


def test_contexts_of_a_star() -> None:
    """A leaf sees the centre, and, two steps away, the other leaves; the centre sees all leaves."""
    edges = edges_of([(0, leaf) for leaf in range(1, 5)], 6)
    labels = torch.tensor([0, 1, 1, 2, 2, 0])
    shares = context_shares(edges, labels, 3)
    torch.testing.assert_close(shares[1], torch.tensor([1.0, 1.0, 2.0]) / 4)
    torch.testing.assert_close(shares[0], torch.tensor([0.0, 0.5, 0.5]))
    assert not shares[5].any(), "an isolated node has zeros, not NaN"


def test_nodes_one_and_two_steps_away_count_twice() -> None:
    triangle = edges_of([(0, 1), (1, 2), (2, 0), (2, 3)], 4)
    shares = context_shares(triangle, torch.tensor([0, 1, 2, 3]), 4)
    torch.testing.assert_close(shares[0], torch.tensor([0.0, 2.0, 2.0, 1.0]) / 5)


def embeddings(noise: float = 0.05) -> tuple[Tensor, Tensor]:
    labels = torch.arange(200) % 4
    draws = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    return torch.eye(12)[labels] + noise * draws, labels


def test_flipped_labels_are_repaired_and_right_ones_stay() -> None:
    z, labels = embeddings(0.2)
    every = torch.arange(200)
    kept = correct_labels(z, labels, every, 4)
    assert kept.changed == 0
    assert torch.equal(kept.labels, labels)
    wrong = labels.clone()
    flipped = torch.randperm(200, generator=torch.Generator().manual_seed(1))[:40]
    wrong[flipped] = (wrong[flipped] + 1) % 4
    mended = correct_labels(z, wrong, every, 4)
    assert (mended.labels[flipped] == labels[flipped]).float().mean() >= 0.95
    assert torch.equal(correct_labels(7 * z, wrong, every, 4).labels, mended.labels)


def test_no_gradient_flows_from_corrected_labels() -> None:
    z, labels = embeddings()
    found = correct_labels(z.requires_grad_(), labels, torch.arange(200), 4)
    assert not found.labels.requires_grad
