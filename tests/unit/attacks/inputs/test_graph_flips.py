"""Edge flips in whole graphs: the best single flip is found, degrees follow, drawn flips are no stronger."""

import pytest
import torch
from torch import Tensor, nn

from graphs import graph, graph_set
from withstand.attacks.inputs.graph_flips import GraphFlips
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sets import GraphSet
from withstand.models.graphs.encoder import GIN


def classifier(features: int = 4) -> nn.Module:
    with isolated(1):
        return nn.Sequential(GIN(features, 8, 2), nn.Linear(8, 3)).eval()


def margin(logits: Tensor, label: int) -> float:
    rest = torch.cat([logits[:label], logits[label + 1 :]])
    return float(logits[label] - rest.max())


def with_flip(source: GraphSet, place: int, pair: tuple[int, int]) -> GraphSet:
    """Return one graph as a set of its own, with a pair flipped, made anew from its edges."""
    alone = Graphs.of(source[[place]].x)
    ends = {(int(u), int(v)) for u, v in zip(alone.edges.row, alone.edges.column, strict=True) if u < v}
    ends ^= {pair}
    edges = torch.tensor(sorted(ends)).reshape(-1, 2).t()
    features = None if source.of_degrees else alone.dense()
    return GraphSet(edges, torch.zeros(alone.size, dtype=torch.int64), features)


def test_the_best_single_flip_of_all_is_found() -> None:
    source, network = graph_set(4, nodes=6), classifier()
    y = torch.tensor([0, 1, 2, 0])
    found = GraphFlips(budget=1, tried=99)(network, Graphs.of(source[range(4)].x), y, generator=0)
    pairs = [(u, v) for u in range(6) for v in range(u + 1, 6)]
    with torch.no_grad():
        for place in range(4):
            label = int(y[place])
            clean = margin(network(source[[place]].x)[0], label)
            torch.testing.assert_close(found.margins[place, 0].item(), clean, atol=1e-5, rtol=0)
            tried = {pair: margin(network(with_flip(source, place, pair)[[0]].x)[0], label) for pair in pairs}
            torch.testing.assert_close(found.margins[place, 1].item(), min(tried.values()), atol=1e-5, rtol=0)
            (chosen,) = found.flips[place]
            assert tried[chosen] == pytest.approx(min(tried.values()), abs=1e-5)


def test_of_directed_edges_the_best_single_direction_is_found() -> None:
    nodes, network, member = 5, classifier(), torch.zeros(5, dtype=torch.int64)
    ends = {(0, 1), (1, 2), (2, 1), (3, 0), (4, 2)}
    x = torch.rand(nodes, 4, generator=torch.Generator().manual_seed(0))

    def of(edges: set[tuple[int, int]]) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(GraphSet(torch.tensor(sorted(edges)).t(), member, x, directed=True)[[0]].x)
        return logits[0]

    graphs = Graphs.of(GraphSet(torch.tensor(sorted(ends)).t(), member, x, directed=True)[[0]].x)
    label = int(of(ends).argmax())
    found = GraphFlips(budget=1, tried=99, directed=True)(network, graphs, torch.tensor([label]), generator=0)
    tried = {
        (v, u): margin(of(ends ^ {(u, v)}), label) for u in range(nodes) for v in range(nodes) if u != v
    }  # from u to v
    assert len(tried) == 20
    ((chosen,),) = found.flips
    assert found.margins[0].tolist() == pytest.approx([margin(of(ends), label), min(tried.values())], abs=1e-5)
    assert tried[chosen] == pytest.approx(min(tried.values()), abs=1e-5)


def test_features_that_are_degrees_follow_the_edges() -> None:
    given = graph_set(3, nodes=5)
    whole = Graphs.of(given[range(3)].x)
    source = GraphSet(torch.stack([whole.edges.row, whole.edges.column.long()]), whole.membership)
    assert source.of_degrees
    assert not given.of_degrees

    class Sees(nn.Module):
        """Reads features alone, and no edges."""

        def forward(self, x: Tensor) -> Tensor:
            graphs = Graphs.of(x)
            degree = (graphs.dense() * torch.arange(graphs.features)).sum(1)
            total = torch.zeros(graphs.count).index_add_(0, graphs.membership, degree)
            return torch.stack([total, torch.zeros_like(total)], 1)

    y, x = torch.zeros(3, dtype=torch.int64), Graphs.of(source[range(3)].x)
    follow = GraphFlips(budget=2, tried=99, degrees=True)(Sees(), x, y, generator=0)
    stay = GraphFlips(budget=2, tried=99)(Sees(), x, y, generator=0)
    assert torch.equal(follow.margins.diff(dim=1), torch.full((3, 2), -2.0))  # an edge less is two degrees less
    assert torch.equal(stay.margins.diff(dim=1), torch.zeros(3, 2))


def test_chosen_flips_are_at_least_as_strong_and_hang_on_their_draws_alone() -> None:
    source, network = graph_set(6, nodes=8), classifier()
    x, y = Graphs.of(source[range(6)].x), torch.arange(6) % 3
    chosen = GraphFlips(budget=2, tried=99)(network, x, y, generator=3)
    drawn = GraphFlips(budget=2, tried=99, greedy=False)(network, x, y, generator=3)
    assert bool((chosen.margins[:, 1] <= drawn.margins[:, 1] + 1e-6).all())
    few = GraphFlips(budget=2, tried=3)
    again = [few(network, x, y, generator=5) for _ in range(2)]
    assert torch.equal(again[0].margins, again[1].margins)
    assert again[0].flips == again[1].flips
    assert all(len({*made}) == 2 for made in again[0].flips), "a pair is flipped once"


def test_what_cannot_be_flipped_is_refused() -> None:
    with pytest.raises(DataError, match="nodes of one graph"):
        GraphFlips()(classifier(), Graphs.of(graph()[[0]].x), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ConfigError, match="tried must be at least 1"):
        GraphFlips(tried=0)
    directed = GraphSet([[0], [1]], [0, 0], torch.rand(2, 4), directed=True)
    with pytest.raises(DataError, match="go one way alone: directed=True"):
        GraphFlips()(classifier(), Graphs.of(directed[[0]].x), torch.zeros(1, dtype=torch.int64))


def test_a_graph_of_one_node_has_nothing_to_flip() -> None:
    alone = GraphSet(torch.zeros(2, 0, dtype=torch.int64), [0], torch.rand(1, 4))
    found = GraphFlips()(classifier(), Graphs.of(alone[[0]].x), torch.zeros(1, dtype=torch.int64), generator=0)
    assert found.flips == ((),)
    assert torch.equal(found.margins, found.margins[:, :1].expand(1, 3))
