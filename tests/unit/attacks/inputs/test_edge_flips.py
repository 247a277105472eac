"""Edge flips on small graphs where the best flip is known."""

import pytest
import torch
from torch import Tensor

from graphs import graph
from withstand.attacks.inputs.edge_flips import EdgeFlips, flip
from withstand.core.errors import ConfigError
from withstand.data.graphs.clean import clean_edges
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.sparse import Pattern, Sparse
from withstand.models.graphs.message import sum_neighbors


def pairs(edges: Pattern) -> set[tuple[int, int]]:
    return set(zip(edges.row.tolist(), edges.column.tolist(), strict=True))


def votes(x: Tensor) -> Tensor:
    """Each node's class is what most of its neighbors, itself among them, hold."""
    graphs = Graphs.of(x)
    assert graphs.targets is not None
    return sum_neighbors(graphs.edges, graphs.dense())[graphs.targets]


def two_sides() -> Graphs:
    """Nodes 0 to 3 are of class 0 and all joined; 4 to 7 of class 1; 3 and 4 are joined too."""
    inside = [(a, b) for side in (0, 4) for a in range(side, side + 4) for b in range(side, a)]
    edges, _ = clean_edges(torch.tensor([*inside, (3, 4)]).t(), 8)
    return Graphs(torch.eye(2)[torch.arange(8) // 4], edges)


def test_flipping_twice_is_nothing() -> None:
    edges = graph().graph().edges
    for pair in ((0, 1), (3, 17)):
        once = flip(edges, pair)
        assert pairs(once) ^ pairs(edges) == {pair, pair[::-1]}
        assert pairs(flip(once, pair)) == pairs(edges)


def test_each_greedy_flip_lowers_the_margin_by_what_it_can() -> None:
    """A vote of four against none falls by one with each flip: an own vote lost, or another's won."""
    found = EdgeFlips(budget=3, hops=1)(votes, two_sides(), torch.tensor([0]), torch.tensor([0]))
    assert found.margins[0].tolist() == [4, 3, 2, 1]
    assert len(set(found.flips[0])) == 3
    assert found.holds(3).tolist() == [True]
    found = EdgeFlips(budget=4, hops=1)(votes, two_sides(), torch.tensor([3]), torch.tensor([0]))
    assert found.margins[0].tolist() == [3, 2, 1, 0, -1]
    assert [bool(found.holds(count)) for count in range(5)] == [True, True, True, False, False]


def test_chosen_flips_are_no_weaker_than_drawn_ones_and_seeded() -> None:
    nodes, y = torch.arange(8), torch.arange(8) // 4
    chosen = EdgeFlips(budget=2, hops=1)(votes, two_sides(), nodes, y, generator=0)
    drawn = EdgeFlips(budget=2, hops=1, greedy=False)(votes, two_sides(), nodes, y, generator=0)
    assert bool((chosen.margins <= drawn.margins).all())
    again = EdgeFlips(budget=2, hops=1, greedy=False)(votes, two_sides(), nodes, y, generator=0)
    assert again.flips == drawn.flips
    alone = EdgeFlips(budget=2, hops=1)(votes, two_sides(), nodes[:3], y[:3], generator=0)
    assert torch.equal(alone.margins, chosen.margins[:3])


def test_of_directed_edges_one_that_reaches_the_node_is_flipped() -> None:
    ends = torch.tensor([[1, 2, 0, 4], [0, 0, 3, 5]])
    edges, _ = clean_edges(ends, 6, directed=True)
    once = flip(edges, (0, 3), directed=True)
    assert pairs(once) ^ pairs(edges) == {(0, 3)}, "3 reaches 0 now; that 0 reaches 3 is as it was"
    assert pairs(flip(once, (0, 3), directed=True)) == pairs(edges)
    graphs = Graphs(torch.eye(2)[torch.arange(6) // 3], edges)
    found = EdgeFlips(budget=2, hops=1, directed=True)(votes, graphs, torch.tensor([0]), torch.tensor([0]))
    assert found.margins[0].tolist() == [3, 2, 1]
    for target, source in found.flips[0]:
        assert target == 0
        assert source in (1, 2, 3, 4, 5)


def test_features_that_are_degrees_follow_the_edges_of_a_node() -> None:
    source = GraphSource(torch.tensor([[0, 0, 0, 1], [1, 2, 3, 4]]), nodes=6)
    assert source.of_degrees
    assert not graph().of_degrees

    def degree(x: Tensor) -> Tensor:
        graphs = Graphs.of(x)
        assert graphs.targets is not None
        held = (graphs.dense() * torch.arange(graphs.features)).sum(1)[graphs.targets]
        return torch.stack([held, torch.zeros_like(held)], 1)

    node, label = torch.tensor([1]), torch.tensor([0])
    follow = EdgeFlips(budget=1, hops=1, degrees=True)(degree, source.graph(), node, label)
    stay = EdgeFlips(budget=1, hops=1)(degree, source.graph(), node, label)
    assert follow.margins[0].tolist() == [2, 1], "an edge less is a degree less"
    assert stay.margins[0].tolist() == [2, 2]


def test_the_last_edge_is_kept() -> None:
    edges, _ = clean_edges(torch.tensor([[0], [1]]), 3)
    graphs = Graphs(torch.eye(2)[torch.tensor([0, 0, 1])], edges)
    found = EdgeFlips(budget=1, additions=1, hops=1)(votes, graphs, torch.tensor([0]), torch.tensor([0]))
    assert found.flips[0] == ((0, 2),), "the other class is joined, the neighbor is not parted"


def test_the_part_of_the_graph_that_is_tried_is_enough() -> None:
    """Margins of flips on neighborhoods are those on the whole graph, degrees and all."""
    from withstand.models.graphs.encoder import GCN

    torch.manual_seed(0)
    encoder = GCN(6, 3, 2).eval()
    whole = graph(40).graph()
    found = EdgeFlips(budget=2, hops=3)(encoder, whole, torch.tensor([5]), torch.tensor([1]))
    edges = whole.edges
    for step, pair in enumerate(found.flips[0], 1):
        edges = flip(edges, pair)
        logits = encoder(Graphs(whole.x, edges, targets=torch.tensor([5])).as_samples())[0]
        margin = logits[1] - torch.cat([logits[:1], logits[2:]]).max()
        assert found.margins[0, step].item() == pytest.approx(margin.item(), abs=1e-5)
    assert not isinstance(whole.x, Sparse)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(ConfigError, match="budget must be at least 1"):
        EdgeFlips(budget=0)
