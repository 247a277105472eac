"""Graph layers against plain dense formulas and torch-geometric's layers, in float64."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from graphs import graph, graph_set
from withstand.core.errors import ConfigError, DataError
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern, Sparse, product, take_rows
from withstand.models.graphs.encoder import GAT, GCN, GIN, GraphEncoder, pool
from withstand.models.graphs.layers import GATLayer, GCNLayer, GINLayer

ENCODERS = {
    "gat": lambda: GAT(6, 8, 2, 2),
    "gat, layer norm, residual": lambda: GAT(6, 8, 2, 2, norm="layer", residual=True),
    "gin": lambda: GIN(6, 8, 2),
    "gcn": lambda: GCN(6, 8, 2),
}


def dense_edges(graphs: Graphs) -> Tensor:
    """Adjacency, rows are targets, each node with an edge to itself."""
    return Sparse(graphs.edges, torch.ones(len(graphs.edges), dtype=torch.float64)).dense()


def whole(*, sparse: bool = False) -> Graphs:
    return graph(sparse=sparse, features=70 if sparse else 6).graph().map(Tensor.double)


def test_sparse_products_and_their_gradients() -> None:
    torch.manual_seed(0)
    dense = torch.rand(5, 7, dtype=torch.float64) * (torch.rand(5, 7) > 0.5)
    sparse = Sparse.of(dense)
    assert torch.equal(sparse.dense(), dense)
    right = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    values = sparse.values.clone().requires_grad_()
    torch.testing.assert_close(product(sparse.pattern, values, right), dense @ right)
    assert torch.autograd.gradcheck(lambda v, r: product(sparse.pattern, v, r), (values, right))
    rows = torch.tensor([3, -1, 0, 0])
    expected = dense[rows.clamp_min(0)]
    expected[1] = 0
    assert torch.equal(sparse.take(rows).dense(), expected)
    assert torch.autograd.gradcheck(lambda r: take_rows(r, torch.tensor([4, 0])), right)


def test_repeated_edges_are_the_same_for_each_head() -> None:
    edges = whole().edges
    one = dense_edges(whole())
    repeated = Sparse(edges.repeated(3), torch.ones(3 * len(edges), dtype=torch.float64)).dense()
    assert torch.equal(repeated, torch.kron(one, torch.eye(3, dtype=torch.float64)))


def test_gat_is_its_formula() -> None:
    torch.manual_seed(0)
    graphs = whole()
    layer = GATLayer(6, 8, 2).double().eval()
    adjacency, x = dense_edges(graphs), graphs.dense()
    h = (x @ layer.weight).view(-1, 2, 4)
    outs = []
    for head in range(2):
        scores = (h[:, head] @ layer.received[head])[:, None] + (h[:, head] @ layer.sent[head])[None]
        scores = torch.nn.functional.leaky_relu(scores, 0.2).masked_fill(adjacency == 0, -torch.inf)
        outs.append(scores.softmax(1) @ h[:, head])
    torch.testing.assert_close(layer(graphs, graphs.edges), torch.cat(outs, 1) + layer.bias)


def test_gat_is_torch_geometrics() -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    graphs = whole()
    layer = GATLayer(6, 8, 2).double().eval()
    other = geometric.GATConv(6, 4, 2, add_self_loops=False).double().eval()
    with torch.no_grad():
        other.lin.weight.copy_(layer.weight.t())
        other.att_src.copy_(layer.sent[None])
        other.att_dst.copy_(layer.received[None])
    edges = torch.stack([graphs.edges.column.long(), graphs.edges.row])
    torch.testing.assert_close(layer(graphs, graphs.edges), other(graphs.dense(), edges))


def test_one_head_for_some_rows_is_the_whole_layer_there() -> None:
    torch.manual_seed(0)
    graphs, rows = whole(), torch.tensor([4, 0, 17])
    layer = GATLayer(6, 9, 1).double().eval()
    late, early = layer(graphs, graphs.edges, rows), layer(graphs, graphs.edges)[rows]
    torch.testing.assert_close(late, early)
    for one, two in zip(
        torch.autograd.grad(late.square().sum(), list(layer.parameters())),
        torch.autograd.grad(early.square().sum(), list(layer.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_gin_counts_a_node_twice_and_is_torch_geometrics() -> None:
    torch.manual_seed(0)
    graphs = whole()
    layer = GINLayer(6, 8, norm=None).double().eval()
    adjacency, x = dense_edges(graphs), graphs.dense()
    summed = x + adjacency @ x
    torch.testing.assert_close(
        layer(graphs, graphs.edges), layer.second(layer.activation(layer.first(summed)))
    )  # fmt: skip
    geometric = pytest.importorskip("torch_geometric.nn")
    inner = torch.nn.Sequential(layer.first, layer.activation, layer.second)
    edges = torch.stack([graphs.edges.column.long(), graphs.edges.row])
    other = geometric.GINConv(inner)  # it draws new weights for `inner`
    torch.testing.assert_close(layer(graphs, graphs.edges), other(x, edges))


def test_gcn_is_its_formula() -> None:
    torch.manual_seed(0)
    graphs = whole()
    layer = GCNLayer(6, 8).double().eval()
    adjacency = dense_edges(graphs)
    scale = adjacency.sum(1).rsqrt().diag()
    expected = scale @ adjacency @ scale @ graphs.dense() @ layer.weight + layer.bias
    torch.testing.assert_close(layer(graphs, graphs.edges), expected, atol=1e-7, rtol=1e-6)


def test_the_normalised_adjacency_is_symmetric_with_largest_eigenvalue_one() -> None:
    from withstand.models.graphs.message import symmetric_weights

    edges = whole().edges
    s = Sparse(edges, symmetric_weights(edges).double()).dense()
    torch.testing.assert_close(s, s.t())
    assert torch.linalg.eigvalsh(s)[-1].item() == pytest.approx(1, abs=1e-6)
    root = edges.lengths.double().sqrt()  # degree and itself
    torch.testing.assert_close(s @ root, root, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_sparse_features_give_what_dense_ones_do(name: str) -> None:
    torch.manual_seed(0)
    graphs = whole(sparse=True)
    assert isinstance(graphs.x, Sparse)
    encoder = {"gat": GAT(70, 8, 2), "gin": GIN(70, 8), "gcn": GCN(70, 8)}[name[:3]].double().eval()
    fill = torch.randn(70, dtype=torch.float64)
    blank = torch.tensor([3, 9])
    rows = torch.arange(graphs.size)
    rows[blank] = -1
    hidden = replace(graphs, x=graphs.x.take(rows), blank=blank, fill=fill)
    dense = replace(hidden, x=hidden.dense(), blank=None, fill=None)
    torch.testing.assert_close(encoder.nodes(hidden), encoder.nodes(dense))
    assert torch.equal(hidden.dense()[blank], fill.expand(2, -1))


@pytest.mark.parametrize("name", ENCODERS)
def test_embeddings_follow_a_permutation_of_the_nodes(name: str) -> None:
    torch.manual_seed(0)
    encoder: GraphEncoder = ENCODERS[name]().double().eval()
    graphs = whole()
    order = torch.randperm(graphs.size)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    edges = Pattern.of(place[graphs.edges.row], place[graphs.edges.column.long()], graphs.size, graphs.size)
    moved = Graphs(graphs.dense()[order], edges)
    torch.testing.assert_close(encoder.nodes(moved), encoder.nodes(graphs)[order])
    for pooling in ("mean", "sum", "max"):
        torch.testing.assert_close(
            pool(moved, encoder.nodes(moved), pooling), pool(graphs, encoder.nodes(graphs), pooling)
        )  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
def test_graphs_side_by_side_are_as_one_by_one(name: str, pooling: str) -> None:
    torch.manual_seed(0)
    encoder: GraphEncoder = ENCODERS[name]().double().eval()
    encoder.pooling = pooling  # type: ignore[assignment]
    source = graph_set(features=6)
    together = encoder(Graphs.of(source[range(8)].x).map(Tensor.double).as_samples())
    alone = [encoder(Graphs.of(source[[place]].x).map(Tensor.double).as_samples()) for place in range(8)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_wrong_input_is_refused_in_one_line() -> None:
    encoder = GAT(6, 8, 2)
    with pytest.raises(DataError, match=r"reads graphs, not a Tensor of shape \(2, 3, 8, 8\)"):
        encoder(torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match="reads nodes of 6 features, not of 4"):
        encoder(graph_set()[[0]].x)
    with pytest.raises(ConfigError, match="width 9 cannot be shared evenly by 2 heads"):
        GAT(6, 9, 2)
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        GIN(6, 8, pooling="meen")  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_gin_leaves_out_only_the_biases_that_its_norm_takes_away(norm: str | None) -> None:
    """A norm over nodes takes off what all nodes share; one over each node's features does not."""
    first, second = (layer for layer in GIN(3, 4, 1, norm=norm).layers[0].modules() if isinstance(layer, nn.Linear))
    assert (first.bias is None) == (second.bias is None) == (norm == "batch")
