"""Edges' weights add up as NetworkX adds them, and count in layers as that many edges of torch-geometric's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.reading.settings import GraphReading
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.sparse import Sparse
from withstand.models.graphs.layers import GATLayer, GCNLayer, GINLayer, GraphLayer
from withstand.views.graph import DropEdges, GraphViews, SampleNeighbors

networkx = pytest.importorskip("networkx")

COUNT = 6
LISTED = st.lists(
    st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1), st.integers(1, 5)), min_size=1, max_size=15
)


def dense(source: GraphSource) -> Tensor:
    """Return the weighted adjacency, rows are targets."""
    edges = source.graph().edges
    assert edges.weight is not None
    return Sparse(edges, edges.weight).dense()


def of(listed: list[tuple[int, int, int]], *, directed: bool = False) -> GraphSource:
    edges = np.array(listed).T
    return GraphSource(edges[:2], torch.eye(COUNT), weights=edges[2], directed=directed)


@settings(max_examples=100, deadline=None)
@given(LISTED, st.booleans())
def test_weights_add_up_as_networkx_adds_them(listed: list[tuple[int, int, int]], directed: bool) -> None:
    ways = networkx.DiGraph()
    ways.add_nodes_from(range(COUNT))
    for one, other, weight in listed:
        before = ways.get_edge_data(one, other, {"weight": 0})["weight"]
        ways.add_edge(one, other, weight=before + weight)
    expected = networkx.to_numpy_array(ways, nodelist=range(COUNT)).T  # rows are targets
    np.fill_diagonal(expected, 0)
    if not directed and not np.array_equal(expected, expected.T):
        expected = expected + expected.T
    np.fill_diagonal(expected, 1)
    source = of(listed, directed=directed)
    assert dense(source).tolist() == expected.tolist()
    unweighted = GraphSource(np.array(listed).T[:2], torch.eye(COUNT), directed=directed)
    assert torch.equal(unweighted.graph().edges.column, source.graph().edges.column)
    assert unweighted.graph().edges.weight is None


LAYERS = {
    "gat": lambda: GATLayer(COUNT, 6, 2),
    "gcn": lambda: GCNLayer(COUNT, 6),
    "gin": lambda: GINLayer(COUNT, 6, norm=None),
}


@settings(max_examples=30, deadline=None)
@given(LISTED, st.sampled_from(sorted(LAYERS)))
def test_an_edge_of_weight_w_counts_as_w_edges_of_torch_geometric(
    listed: list[tuple[int, int, int]], name: str
) -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    graphs = of(listed).graph().map(Tensor.double)
    layer: GraphLayer = LAYERS[name]().double().eval()
    edges = graphs.edges
    assert edges.weight is not None
    ends = torch.stack([edges.column.long(), edges.row]).repeat_interleave(edges.weight.long(), 1)
    x = graphs.dense()
    with torch.no_grad():
        if isinstance(layer, GATLayer):
            other = geometric.GATConv(COUNT, 3, 2, add_self_loops=False).double().eval()
            other.lin.weight.copy_(layer.weight.t())
            other.att_src.copy_(layer.sent[None])
            other.att_dst.copy_(layer.received[None])
        elif isinstance(layer, GCNLayer):
            other = geometric.GCNConv(COUNT, 6, add_self_loops=False).double()
            other.lin.weight.copy_(layer.weight.t())
        else:
            assert isinstance(layer, GINLayer)
            other = geometric.GINConv(torch.nn.Identity())
            summed = layer.first(other(x, ends))
            torch.testing.assert_close(layer(graphs, edges), layer.second(layer.activation(summed)))
            return
        torch.testing.assert_close(layer(graphs, edges), other(x, ends), atol=1e-6, rtol=1e-5)


def test_weights_go_with_their_edges_into_samples_and_flips() -> None:
    from withstand.attacks.inputs.edge_flips import flip

    draws = np.random.default_rng(0)
    edges, weights = draws.integers(0, 40, (2, 120)), draws.integers(2, 9, 120)
    source = GraphSource(edges, torch.rand(40, 3), weights=weights)
    whole = Sparse(source.graph().edges, source.graph().edges.counts()).dense()
    batch = source[torch.tensor([3, 7, 11])]
    for view in (SampleNeighbors((4, 4)), DropEdges(0.5)):
        seen = Graphs.of(GraphViews((view,))(batch, Draws(0, batch.index)).views[0])
        nodes = torch.arange(40) if seen.nodes is None else seen.nodes
        found = Sparse(seen.edges, seen.edges.counts()).dense()
        assert found.count_nonzero() > len(nodes)
        assert torch.equal(found, torch.where(found > 0, whole[nodes][:, nodes], 0))
    apart = next((one, other) for one in range(40) for other in range(one) if not whole[one, other])
    joined = flip(source.graph().edges, apart)
    assert Sparse(joined, joined.counts()).dense()[apart] == 1
    parted = flip(joined, apart)
    assert torch.equal(Sparse(parted, parted.counts()).dense(), whole)


def test_weights_of_files_and_of_other_libraries(tmp_path: Path) -> None:
    from scipy.sparse import csr_matrix

    data = pytest.importorskip("torch_geometric.data").Data
    graph = networkx.Graph()
    graph.add_weighted_edges_from([("a", "b", 2.0), ("b", "c", 5.0), ("c", "a", 0.5)])
    matrix = networkx.to_numpy_array(graph)
    ends = torch.tensor(np.array(matrix.nonzero()))
    held = data(edge_index=ends, edge_attr=torch.tensor(matrix)[tuple(ends)][:, None], num_nodes=3)
    (tmp_path / "net.csv").write_text("strength;to;from\n2,0;b;a\n5,0;c;b\n0,5;a;c\n")
    sources = [
        open_graphs(graph, GraphReading(edge_weight="weight")),
        open_graphs(csr_matrix(matrix), GraphReading(edge_weight="data")),
        open_graphs(held, GraphReading(edge_weight="edge_attr")),
        open_graphs(tmp_path / "net.csv", GraphReading(edge_weight="strength")),
    ]
    expected = matrix + np.eye(3)
    for source in sources:
        assert isinstance(source, GraphSource)
        assert dense(source).tolist() == expected.tolist()
    with pytest.raises(DataError, match="no column 'colour'"):
        open_graphs(tmp_path / "net.csv", GraphReading(edge_weight="colour"))
    with pytest.raises(DataError, match="no 'strength'"):
        open_graphs(graph, GraphReading(edge_weight="strength"))
    with pytest.raises(ConfigError, match="its own are called data"):
        open_graphs(csr_matrix(matrix), GraphReading(edge_weight="weight"))


@pytest.mark.parametrize(
    ("text", "weights", "message"),
    [
        ("source,target,w\na,b,1\nb,c,0\n", "w", "1 edge.* not above 0, the first is number 2 with 0"),
        ("source,target,w\na,b,\nb,c,1\n", "w", "missing or not above 0, the first is number 1 with nan"),
        ("source,target,w\na,b,-1\nb,c,1\n", "w", "not above 0"),
        ("source,target,w\na,b,much\nb,c,1\n", "w", "words as weights in 'w'"),
        ("source,target,w\na,b,1\nb,c,1\n", "target", "an edge's end, and no weight"),
    ],
)
def test_weights_that_mean_nothing_are_refused(text: str, weights: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        open_graphs(tmp_path / "net.csv", GraphReading(edge_weight=weights))
    assert "\n" not in str(raised.value)


def test_weights_without_a_header_are_a_place(tmp_path: Path) -> None:
    (tmp_path / "net.txt").write_text("1 2 3.5\n2 3 1\n3 1 2\n")
    for name in ("3", "column 3"):
        source = open_graphs(tmp_path / "net.txt", GraphReading(edge_weight=name))
        assert isinstance(source, GraphSource)
        assert dense(source)[0, 1] == 3.5
