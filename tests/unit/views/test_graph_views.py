"""What graph views hide, drop and keep."""

from dataclasses import replace

import pytest
import torch

from graphs import graph, graph_set, masked
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern
from withstand.views.graph import DropEdges, GraphViews, MaskNodes, SampleNeighbors


def whole(*, sparse: bool = False) -> Batch:
    return graph(50, 80 if sparse else 6, sparse=sparse)[torch.arange(50)]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("rate", "share"), [(0.5, 0.2), (0.33, 0.0), (0.9, 1.0), (0.1, 0.1)])
def test_exactly_the_share_is_hidden_and_the_rest_is_as_it_was(rate: float, share: float, sparse: bool) -> None:
    batch = whole(sparse=sparse)
    before = Graphs.of(batch.x).dense().clone()
    view = Graphs.of(masked(batch, rate, share).views[0])
    after = view.dense()
    assert view.masked is not None
    assert view.blank is not None
    count, replaced = int(rate * 50), int(share * int(rate * 50))
    assert len(view.masked) == count
    assert len(view.blank) == count - replaced  # no node is neither
    assert len(view.masked.unique()) == count
    assert set(view.blank.tolist()) <= set(view.masked.tolist())
    assert torch.equal(Graphs.of(batch.x).dense(), before), "the clean graph is not altered"
    shown = torch.ones(50, dtype=torch.bool)
    shown[view.masked] = False
    assert torch.equal(after[shown], before[shown])
    assert not after[view.blank].any()
    filled = [node for node in view.masked.tolist() if node not in set(view.blank.tolist())]
    for node in filled:
        assert (before == after[node]).all(1).any(), "a replaced node has some node's features"
    clean = view.clean if isinstance(view.clean, torch.Tensor) else view.clean.dense()  # type: ignore[union-attr]
    assert torch.equal(clean, before[view.masked])


def test_what_is_hidden_hangs_on_seed_epoch_and_node_not_on_the_order() -> None:
    source = graph(50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    first, second = (Graphs.of(masked(source[rows]).views[0]) for rows in (torch.arange(50), order))
    assert first.masked is not None
    assert second.masked is not None
    assert torch.equal(first.masked, second.masked)
    assert torch.equal(first.dense(), second.dense())
    other = Graphs.of(masked(source[torch.arange(50)], seed=1).views[0])
    assert other.masked is not None
    assert not torch.equal(first.masked, other.masked)


def test_only_the_samples_nodes_are_hidden() -> None:
    view = Graphs.of(masked(graph(50)[torch.arange(10, 20)]).views[0])
    assert view.masked is not None
    assert len(view.masked) == 5
    assert int(view.masked.min()) >= 10
    assert int(view.masked.max()) < 20


def test_nodes_of_sets_are_hidden_over_the_whole_batch() -> None:
    view = Graphs.of(masked(graph_set()[range(8)], 0.5).views[0])
    assert view.masked is not None
    assert len(view.masked) == 20


def test_dropped_edges_keep_each_nodes_own() -> None:
    batch = whole()
    edges = Graphs.of(batch.x).edges
    view = DropEdges(0.6).change(Graphs.of(batch.x), Draws(0, batch.index))
    keys = {tuple(pair) for pair in torch.stack([edges.row, edges.column.long()], 1).tolist()}
    kept = torch.stack([view.edges.row, view.edges.column.long()], 1).tolist()
    assert {tuple(pair) for pair in kept} < keys
    assert sum(row == column for row, column in kept) == 50
    assert view.whole is edges
    assert 0.2 < (len(kept) - 50) / (len(edges) - 50) < 0.6


def test_a_neighborhood_holds_all_when_it_may() -> None:
    """With room for every neighbor, two layers see of the targets' surroundings what they see in the whole graph."""
    from withstand.models.graphs.encoder import GAT

    torch.manual_seed(0)
    encoder = GAT(6, 8, 2, 2).double().eval()
    batch = graph(50)[torch.tensor([7, 3, 40])]
    clean = Graphs.of(batch.x).map(torch.Tensor.double)
    near = SampleNeighbors((50, 50, 50)).change(clean, Draws(0, batch.index))
    assert near.nodes is not None
    assert near.nodes[:3].tolist() == [7, 3, 40]
    torch.testing.assert_close(encoder(near.as_samples()), encoder(clean.as_samples()))


def test_sampled_neighbors_are_neighbors_and_few() -> None:
    hub = torch.stack([torch.zeros(40, dtype=torch.int64), torch.arange(1, 41)])
    edges = Pattern.of(
        torch.cat([hub[0], hub[1], torch.arange(41)]), torch.cat([hub[1], hub[0], torch.arange(41)]), 41, 41
    )  # fmt: skip
    graphs = Graphs(torch.eye(41), edges, targets=torch.tensor([0]))
    near = SampleNeighbors((5,)).change(graphs, Draws(0, torch.tensor([0])))
    assert 2 <= near.size <= 6
    again = SampleNeighbors((5,)).change(graphs, Draws(0, torch.tensor([0])))
    other = SampleNeighbors((5,)).change(graphs, Draws(1, torch.tensor([0])))
    assert near.nodes is not None
    assert again.nodes is not None
    assert other.nodes is not None
    assert torch.equal(near.nodes, again.nodes)
    assert near.nodes.tolist() != other.nodes.tolist()


def test_views_in_turn_and_wrong_settings() -> None:
    batch = whole()
    chain = GraphViews((SampleNeighbors((3, 3)), DropEdges(0.5), MaskNodes(0.5)))
    view = Graphs.of(chain(replace(batch), Draws(0, batch.index)).views[0])
    assert view.masked is not None
    assert view.whole is not None
    for wrong in (lambda: MaskNodes(1.5), lambda: DropEdges(1.0), lambda: SampleNeighbors(())):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ConfigError, match="whole graphs"):
        SampleNeighbors().change(Graphs.of(graph_set()[range(3)].x), Draws(0, torch.arange(3)))
