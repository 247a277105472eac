"""Every source and view of graphs, held to its role by existing; the table holds what reads files."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from graphs import graph, graph_set, random_edges
from walk import of_role
from withstand.core.batch import Batch, tensors_of
from withstand.core.part import class_path
from withstand.core.random import Draws
from withstand.core.roles import Source, View
from withstand.data.derived.subset import Labelled
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.folder import GraphFolder
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.named import CompactGraph, NamedGraph
from withstand.data.graphs.network_file import GraphFile
from withstand.data.graphs.sets import CompactGraphSet, GraphSet, NamedGraphSet
from withstand.data.graphs.source import GraphPart, GraphSource, SeenLabels
from withstand.data.graphs.tables import EdgeList
from withstand.views.graph import GraphView, GraphViews


def citations(path: Path, patch: pytest.MonkeyPatch) -> NamedGraph:
    """A file in the compact form of the citation graphs, small."""
    folder = path / "planetoid"
    folder.mkdir(exist_ok=True)
    rows = np.arange(12)
    np.savez(
        folder / "cora.npz", feat_indptr=np.arange(13), feat_indices=rows % 5, feat_data=np.ones(12, np.float32),
        feat_shape=np.array([12, 5]), edge_index=random_edges(12, 30).numpy(), y=rows % 3, train_mask=rows < 4,
        val_mask=(rows >= 4) & (rows < 8), test_mask=rows >= 8,
    )  # fmt: skip
    patch.setenv("WITHSTAND_DATA", str(path))
    return NamedGraph("cora")


def molecules(path: Path, patch: pytest.MonkeyPatch) -> NamedGraphSet:
    folder = path / "tu"
    folder.mkdir(exist_ok=True)
    member = np.repeat(np.arange(12), 3)
    inside = np.stack([np.arange(36), np.arange(36) // 3 * 3])
    np.savez(
        folder / "MUTAG.npz", graph_id=member + 1, node_label=np.arange(36) % 4, edge_index=inside,
        y=np.where(np.arange(12) % 2, 1, -1),
    )  # fmt: skip
    patch.setenv("WITHSTAND_DATA", str(path))
    return NamedGraphSet("mutag")


def edge_list(path: Path, patch: pytest.MonkeyPatch) -> EdgeList:
    nodes = [f"n{place},{place % 3},{place / 2},{'ab'[place % 2]}" for place in range(12)]
    (path / "net.nodes.csv").write_text("id,one,two,label\n" + "\n".join(nodes) + "\n")
    edges = [f"n{place},n{(place * 5 + 1) % 12}" for place in range(12)]
    (path / "net.csv").write_text("source,target\n" + "\n".join(edges) + "\n")
    return EdgeList(str(path / "net.csv"))


def network_file(path: Path, patch: pytest.MonkeyPatch) -> GraphFile:
    networkx = pytest.importorskip("networkx")
    net = networkx.cycle_graph(12)
    for node, own in net.nodes(data=True):
        own |= {"size": node / 2, "kind": "ab"[node % 2], "label": "xyz"[node % 3]}
    networkx.write_graphml(net, path / "net.graphml")
    return GraphFile(str(path / "net.graphml"))


def folder(path: Path, patch: pytest.MonkeyPatch) -> GraphFolder:
    networkx = pytest.importorskip("networkx")
    for place in range(12):
        where = path / "nets" / "xy"[place % 2]
        where.mkdir(parents=True, exist_ok=True)
        net = networkx.cycle_graph(3 + place % 4)
        networkx.set_node_attributes(net, {node: "ab"[node % 2] for node in net}, "kind")
        networkx.write_graphml(net, where / f"{place:02}.graphml")
    return GraphFolder(str(path / "nets"))


def by_path(make: Callable[[Path, pytest.MonkeyPatch], Source], name: str) -> "Maker":
    """The same file, named by its path."""

    def opened(path: Path, patch: pytest.MonkeyPatch) -> Source:
        make(path, patch)
        return open_graphs(path / name)

    return opened


Maker = Callable[[Path, pytest.MonkeyPatch], Source]
SOURCES: dict[str, tuple[type[Source], Maker]] = {
    "graph": (GraphSource, lambda path, patch: graph()),
    "sparse graph": (GraphSource, lambda path, patch: graph(features=80, sparse=True)),
    "part": (GraphPart, lambda path, patch: graph().part("test")),
    "labelled": (Labelled, lambda path, patch: Labelled(graph())),
    "named": (NamedGraph, citations),
    "seen labels": (SeenLabels, lambda path, patch: SeenLabels(graph())),
    "set": (GraphSet, lambda path, patch: graph_set(12)),
    "named set": (NamedGraphSet, molecules),
    "edge list": (EdgeList, edge_list),
    "network file": (GraphFile, network_file),
    "folder": (GraphFolder, folder),
    "compact": (CompactGraph, by_path(citations, "planetoid/cora.npz")),
    "compact set": (CompactGraphSet, by_path(molecules, "tu/MUTAG.npz")),
}
SOURCES |= {
    class_path(kind): (kind, lambda path, patch, kind=kind: kind.example())
    for kind in of_role(Source)
    if kind.__module__.startswith("withstand.data.graphs.") and kind not in {kind for kind, _ in SOURCES.values()}
}
VIEWS = {kind.__name__: kind.example for kind in of_role(View) if issubclass(kind, GraphView | GraphViews)}


def test_sources_and_views_are_found() -> None:
    assert class_path(GraphSource) in SOURCES or "graph" in SOURCES
    assert {"MaskNodes", "DropEdges", "SampleNeighbors", "GraphViews"} <= set(VIEWS)


@pytest.mark.parametrize("name", SOURCES)
def test_sources(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, make = SOURCES[name]
    source = make(tmp_path, monkeypatch)
    assert type(source) is kind
    assert source.kind in ("node", "graph")
    count = len(source)
    for chosen in (torch.tensor([2, 0, 2]), [2, 0, 2], range(1, 3), [count - 1], range(count)):
        batch, rows = source[chosen], torch.as_tensor(chosen, dtype=torch.int64)
        assert batch.index.tolist() == rows.tolist()
        graphs = Graphs.of(batch.x)
        assert len(graphs) == len(rows)
        assert (graphs.features,) == source.shape
        assert batch.y is not None
        assert source.labels is not None
        assert torch.equal(batch.y, source.labels[rows])
        assert bool((graphs.edges.row == graphs.edges.column).sum() == graphs.size), "one edge to itself a node"
    for wrong in ([count], [-1]):
        with pytest.raises(IndexError):
            source[wrong]
    mark = source.fingerprint()
    assert 0 < len(mark) <= 64
    assert make(tmp_path, monkeypatch).fingerprint() == mark
    copied = pickle.loads(pickle.dumps(source))
    assert type(copied) is kind
    assert copied.fingerprint() == mark
    first, second = (tensors_of(one[[1, 0]].x, "x") for one in (source, copied))
    assert all(torch.equal(second[part], value) for part, value in first.items())


@pytest.mark.parametrize("name", VIEWS)
def test_views(name: str) -> None:
    view, batch = VIEWS[name](), graph()[torch.arange(10, 20)]
    kept = {part: value.clone() for part, value in tensors_of(batch.x, "x").items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()

    def seen(seed: int = 0, epoch: int = 0) -> dict[str, torch.Tensor]:
        made: Batch = view(batch, Draws(seed, batch.index, epoch=epoch))
        assert torch.equal(made.index, batch.index)
        assert made.y is not None
        outcome = made.views[0] if made.views else made.x
        assert len(outcome) == 10
        return tensors_of(outcome, "view")

    first = seen()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, kept[part]) for part, value in tensors_of(batch.x, "x").items())
    same = seen()
    assert first.keys() == same.keys()
    assert all(torch.equal(same[part], value) for part, value in first.items())
    for other in (seen(seed=1), seen(epoch=1)):
        assert any(
            part not in other or other[part].shape != value.shape or not torch.equal(other[part], value)
            for part, value in first.items()
        )
