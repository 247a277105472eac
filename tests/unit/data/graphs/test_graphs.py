"""Graphs as they come: what is counted, what is mended, what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graphs import graph, random_edges, random_features
from withstand.core.errors import DataError
from withstand.data.derived.subset import Labelled, holdout
from withstand.data.graphs.clean import clean_edges
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.sparse import Sparse
from withstand.data.graphs.tables import EdgeList


def test_edges_are_counted_and_mended() -> None:
    edges = torch.tensor([[0, 1, 0, 0, 2, 3], [1, 0, 1, 2, 2, 0]])
    pattern, counts = clean_edges(edges, 6)
    assert (counts.duplicates, counts.self_loops, counts.reversed, counts.isolated) == (1, 1, 2, 2)
    assert counts.edges == 6
    assert str(counts) == (
        "6 nodes, 6 directed edges, 1 duplicate edge(s) dropped, 1 self-loop(s) given, 2 edge(s) reversed, "
        "2 isolated node(s)"
    )
    pairs = set(zip(pattern.row.tolist(), pattern.column.tolist(), strict=True))
    own = {(node, node) for node in range(6)}
    assert pairs == own | {(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0)}


def test_a_directed_graph_keeps_its_directions() -> None:
    pattern, counts = clean_edges(torch.tensor([[0, 1], [1, 2]]), 3, directed=True)
    pairs = {(s, t) for t, s in zip(pattern.row.tolist(), pattern.column.tolist(), strict=True) if s != t}
    assert pairs == {(0, 1), (1, 2)}, "rows are targets"
    assert counts.reversed == 0


def test_bad_edges_and_features_are_refused() -> None:
    x = torch.rand(3, 2)
    with pytest.raises(DataError, match=r"1 edge\(s\) point outside the 3 nodes, the first is number 1, 1 to 7"):
        GraphSource([[0, 1], [1, 7]], x)
    with pytest.raises(DataError, match="edges have shape"):
        GraphSource([[0, 1, 2]], x)
    with pytest.raises(DataError, match="two rows of whole numbers"):
        GraphSource([[0.5], [1.0]], x)
    with pytest.raises(DataError, match="needs nodes="):
        GraphSource([[0], [1]])
    with pytest.raises(DataError, match="nodes=4, but there are features of 3 nodes"):
        GraphSource([[0], [1]], x, nodes=4)
    x[1, 0] = torch.nan
    with pytest.raises(DataError, match="NaN or infinite, the first in node 1"):
        GraphSource([[0], [1]], x)
    with pytest.raises(DataError, match="numbers are needed"):
        GraphSource([[0], [1]], np.array([["a"], ["b"]]))
    with pytest.raises(DataError, match="normalize=False takes others"):
        GraphSource([[0], [1]], -torch.ones(3, 2), normalize=True)


def test_labels_may_lack_for_some_nodes_but_not_in_parts() -> None:
    labels = [0, 1, -1, 0]
    source = GraphSource([[0], [1]], torch.rand(4, 2), labels, parts={"train": [0, 1]})
    assert source.labels is not None
    assert source.labels.tolist() == labels
    assert Labelled(source).rows.tolist() == [0, 1, 3]
    with pytest.raises(DataError, match=r"1 node\(s\) of the part 'test' have no label"):
        GraphSource([[0], [1]], torch.rand(4, 2), labels, parts={"test": [2]})
    with pytest.raises(DataError, match="more than one of train, test"):
        GraphSource([[0], [1]], torch.rand(4, 2), labels, parts={"train": [0, 1], "test": [1]})
    with pytest.raises(DataError, match="did you mean 'validation'"):
        GraphSource([[0], [1]], torch.rand(4, 2), labels, parts={"validatoin": [0]})
    assert GraphSource([[0], [1]], torch.rand(4, 2), [0, 1, -2, 0]).classes == ("-2", "0", "1")
    with pytest.raises(DataError, match="labels holds 2 labels for 4 samples"):
        GraphSource([[0], [1]], torch.rand(4, 2), [0, 1])
    with pytest.raises(DataError, match="no part 'val'"):
        source.part("val")
    with pytest.raises(DataError, match="no sample has a label"):
        Labelled(GraphSource([[0], [1]], torch.rand(4, 2)))


def test_a_graph_with_missing_labels_can_be_divided() -> None:
    source = GraphSource([[0], [1]], torch.rand(10, 2), [0, 1, -1, 0, 1, -1, 0, 1, -1, 0])
    train, test = holdout(source, 0.3)
    assert len(train) + len(test) == 10
    assert train.at_once == 10, "messages pass through the whole graph"


def test_without_features_degrees_stand_for_them() -> None:
    source = GraphSource([[0, 0], [1, 2]], nodes=4)
    assert Graphs.of(source[range(4)].x).dense().argmax(1).tolist() == [2, 1, 1, 0]
    assert "degrees stand for them" in source.origin


def test_sparse_and_dense_features_are_the_same_graph() -> None:
    pytest.importorskip("scipy")
    from scipy.sparse import csr_matrix

    x = random_features(20, 100, sparse=True)
    edges = random_edges(20, 40)
    plain, packed = GraphSource(edges, x), GraphSource(edges, csr_matrix(x.numpy()))
    assert isinstance(plain.graph().x, Sparse)
    assert torch.equal(plain.graph().dense(), x)
    assert plain.fingerprint() == packed.fingerprint()
    scaled = GraphSource(edges, x, normalize=True).graph().dense().sum(1)
    torch.testing.assert_close(scaled, (x.sum(1) > 0).float())


def test_fingerprints_follow_what_is_there() -> None:
    marks = {graph().fingerprint(), graph(seed=1).fingerprint(), GraphSource([[0], [1]], torch.eye(3)).fingerprint()}
    marks |= {GraphSource([[0], [2]], torch.eye(3)).fingerprint()}
    marks |= {GraphSource([[0], [1]], torch.eye(3), [0, 1, 1]).fingerprint()}
    assert len(marks) == 5


def test_foreign_graphs() -> None:
    networkx = pytest.importorskip("networkx")
    geometric = pytest.importorskip("torch_geometric.data")
    from scipy.sparse import csr_matrix

    path = networkx.path_graph(4)
    networkx.set_node_attributes(path, {0: "x", 1: "y", 3: "x"}, "kind")
    with pytest.warns(UserWarning, match="not used: the nodes' kind"):
        one = open_graphs(path)
    assert isinstance(one, GraphSource)
    assert one.counts.edges == 6
    from withstand.data.graphs.foreign import from_networkx

    labelled = from_networkx(path, label="kind")
    assert labelled.classes == ("x", "y")
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1, -1, 0]
    with pytest.raises(DataError, match="have no attribute 'weight'"):
        from_networkx(path, features="weight", label="kind")
    other = open_graphs(csr_matrix(networkx.to_numpy_array(path)))
    assert other.fingerprint() == one.fingerprint()
    with pytest.raises(DataError, match="square"):
        open_graphs(csr_matrix(np.ones((2, 3))))
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    data = geometric.Data(x=torch.rand(4, 3), edge_index=edges, y=torch.tensor([0, 1, 0, 1]))
    source = open_graphs(data)
    assert source[[0]].y is not None
    assert source.shape == (3,)
    data.train_mask = torch.ones(4, 10, dtype=torch.bool)
    with pytest.raises(DataError, match="several splits"):
        open_graphs(data)
    with pytest.raises(DataError, match="a int holds no graph"):
        open_graphs(3)
    with pytest.raises(DataError, match="did you mean 'cora'"):
        open_graphs("coar")


def test_datasets_lists_and_batches_of_torch_geometric_are_sets_of_graphs() -> None:
    data = pytest.importorskip("torch_geometric.data")

    class Held(data.InMemoryDataset):  # type: ignore[misc,name-defined]
        def __init__(self, graphs: list[object]) -> None:
            super().__init__(None)
            self.data, self.slices = self.collate(graphs)

    class Read(data.Dataset):  # type: ignore[misc,name-defined]
        def len(self) -> int:
            return len(graphs)

        def get(self, idx: int) -> object:
            return graphs[idx]

    draws = torch.Generator().manual_seed(0)
    graphs = [
        data.Data(
            x=torch.rand(size, 3, generator=draws),
            edge_index=torch.randint(size, (2, 3 * size), generator=draws),
            y=torch.tensor([[size % 2]]),
        )
        for size in (3, 5, 4, 6)
    ]
    sources = [open_graphs(given) for given in (Held(graphs), Read(), graphs, data.Batch.from_data_list(graphs))]
    assert len({source.fingerprint() for source in sources}) == 1
    assert isinstance(sources[0], GraphSet)
    assert sources[0].labels is not None
    assert sources[0].labels.tolist() == [1, 1, 0, 0]
    batch = Graphs.of(sources[0][[2, 0]].x)
    assert torch.equal(batch.dense(), torch.cat([graphs[2].x, graphs[0].x]))
    assert len(open_graphs(Held(graphs)[1:3])) == 2
    nodes = data.Data(x=torch.rand(4, 2), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([0, 1, 0, 1]))
    assert open_graphs(Held([nodes])).fingerprint() == open_graphs(nodes).fingerprint()
    del graphs[1].x
    with pytest.raises(DataError, match="1 of 4 graphs have no x, the first is graph 1"):
        open_graphs(graphs)
    with pytest.raises(DataError, match="several kinds of nodes"):
        open_graphs(data.HeteroData())


FILES = {
    "source;target\na;b\n": None,
    "source,target\na,b,c\n": "line 2, has 3 fields where 2 are expected",
    "source%target\na%b\n": "1 column",
    "source,target\n": "no lines after the first",
}


@pytest.mark.parametrize("text", FILES)
def test_edge_lists(text: str, tmp_path: Path) -> None:
    file, message = tmp_path / "net.csv", FILES[text]
    file.write_text(text)
    if message is None:
        assert EdgeList(str(file)).counts.edges == 2
        return
    with pytest.raises(DataError, match=message):
        EdgeList(str(file))


NODES = {
    "id,one,label\na,1,x\nb,2,\n": None,
    "id,one\na,1\na,2\n": "names the node 'a' twice",
    "id,one\na,1\n": "net.csv names the node 'b'",
}


@pytest.mark.parametrize("text", NODES)
def test_tables_of_nodes(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("source,target\na,b\n")
    (tmp_path / "net.nodes.csv").write_text(text)
    message = NODES[text]
    if message is None:
        source = EdgeList(str(tmp_path / "net.csv"))
        assert source.labels is not None
        assert source.labels.tolist() == [0, -1]
        assert source.graph().dense().tolist() == [[1], [2]]
        with pytest.raises(DataError, match="no column 'kind'"):
            EdgeList(str(tmp_path / "net.csv"), label="kind")
        return
    with pytest.raises(DataError, match=message):
        EdgeList(str(tmp_path / "net.csv"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"edge_index": [[0], [1]]}, "no compact citation graph: it lacks feat_data"),
        ({"edge_index": [[0], [1]], "graph_id": [0, 0]}, "no compact set of graphs: it lacks node_label, y"),
    ],
)
def test_compact_files_that_lack_something(keys: dict[str, list[int]], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **{name: np.array(values) for name, values in keys.items()})
    with pytest.raises(DataError, match=message):
        open_graphs(tmp_path / "net.npz")


def test_sets_of_graphs() -> None:
    source = GraphSet([[0, 3, 4], [1, 4, 5]], [0, 0, 0, 1, 1, 1], torch.eye(6), [0, 1])
    batch = Graphs.of(source[[1, 0, 1]].x)
    assert batch.count == 3
    assert batch.membership.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert batch.dense().argmax(1).tolist() == [3, 4, 5, 0, 1, 2, 3, 4, 5]
    with pytest.raises(DataError, match=r"1 edge\(s\) join nodes of different graphs|2 edge"):
        GraphSet([[0], [4]], [0, 0, 0, 1, 1, 1])
    with pytest.raises(DataError, match="graph 1 has no nodes"):
        GraphSet([[0], [1]], [0, 0, 2])
    with pytest.raises(DataError, match="counting from 0 and ascending"):
        GraphSet([[0], [1]], [1, 0])


def test_what_a_foreign_graph_holds_beside_is_told() -> None:
    networkx = pytest.importorskip("networkx")
    from scipy.sparse import csr_matrix

    from withstand.data.graphs.foreign import from_networkx

    graph = networkx.path_graph(4)
    networkx.set_node_attributes(graph, {node: [1.0, 0.5] for node in graph}, "x")
    networkx.set_node_attributes(graph, {0: "young"}, "age")
    networkx.set_edge_attributes(graph, 2.0, "weight")
    with pytest.warns(UserWarning, match="not used") as told:
        open_graphs(graph)
    assert [str(one.message) for one in told] == [
        "not used: the nodes' age, x; name them as features= or target= (from_networkx: label=)",
        "not used: the edges' weight",
    ]
    with pytest.warns(UserWarning, match="edges' weight") as told:
        from_networkx(graph, features="x", label="age")
    assert len(told) == 1
    with pytest.warns(UserWarning, match="not used: the adjacency matrix's weights; every entry"):
        open_graphs(csr_matrix(networkx.to_numpy_array(graph)))


def test_what_a_data_holds_beside_is_told() -> None:
    data = pytest.importorskip("torch_geometric.data").Data
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    weighted = data(x=torch.rand(3, 2), edge_index=edges, edge_weight=torch.rand(4), pos=torch.rand(3, 2))
    for given in (weighted, [weighted, weighted]):
        with pytest.warns(UserWarning, match="not used: th.* edge_weight, pos"):
            open_graphs(given)
