"""Folders and lists of random graphs: what arrives is what NetworkX and pandas hold."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.folder import GraphFolder
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.network_file import GraphFile
from withstand.data.graphs.reading.settings import GraphReading
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.sparse import Sparse
from withstand.data.shared.rows import rows_like

networkx = pytest.importorskip("networkx")
pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def tables(graph: Any, path: Path) -> None:
    """Write a graph as an edge list and a table of nodes."""
    nodes = pandas.DataFrame([{"id": node, **own} for node, own in graph.nodes(data=True)])
    nodes.to_csv(path.with_suffix(".nodes.csv"), index=False)
    pandas.DataFrame(list(graph.edges()), columns=["source", "target"]).to_csv(path, index=False)


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "graphml": networkx.write_graphml,
    "gml": networkx.write_gml,
    "gexf": networkx.write_gexf,
    "json": lambda graph, path: path.write_text(json.dumps(networkx.node_link_data(graph, edges="links"))),
    "csv": tables,
}


@st.composite
def sets(draw: st.DrawFn) -> list[Any]:
    """Return graphs whose nodes have an age and an atom; every graph has an edge, nodes are named after it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    found = []
    for place in range(draw(st.integers(6, 8))):
        count = int(rng.integers(2, 7))
        graph = networkx.gnm_random_graph(count, int(rng.integers(1, 8)), seed=int(rng.integers(2**31)))
        graph = networkx.relabel_nodes(graph, {node: f"g{place}n{node}" for node in graph})
        for node, own in graph.nodes(data=True):
            own["age"] = int(rng.integers(0, 50)) if place or not node.endswith("n0") else 99
            own["atom"] = str(rng.choice(["C", "N", "O"])) if place or not node.endswith("n1") else "Xe"
        found.append(graph)
    return found


def check(source: GraphSet, graphs: list[Any], *, scaled: bool) -> None:
    """Hold a set against the graphs that it was read from, whatever the order of their nodes."""
    every = pandas.DataFrame([own for graph in graphs for _, own in graph.nodes(data=True)])
    low, high = every["age"].min(), every["age"].max()
    atoms = sorted(every["atom"].unique())
    assert source.shape == (1 + len(atoms),)
    for place, graph in enumerate(graphs):
        found = Graphs.of(source[[place]].x)
        order = np.lexsort(found.dense().numpy().T)
        facts = [own for _, own in graph.nodes(data=True)]
        ages = [(own["age"] - low) / (high - low) if scaled else own["age"] for own in facts]
        rows = [[age, *(own["atom"] == atom for atom in atoms)] for age, own in zip(ages, facts, strict=True)]
        expected = np.array(rows, dtype=np.float32)
        np.testing.assert_allclose(found.dense().numpy()[order], expected[np.lexsort(expected.T)], atol=1e-6)
        joined = Sparse(found.edges, torch.ones(len(found.edges))).dense().numpy() - np.eye(found.size)
        assert networkx.is_isomorphic(networkx.from_numpy_array(joined), networkx.Graph(graph))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sets(), st.sampled_from(sorted(WRITERS)), st.sampled_from(["folders", "table", "none"]))
def test_a_folder_of_graphs_is_what_networkx_wrote(graphs: list[Any], form: str, classes: str) -> None:
    names = [f"{'ab'[place % 2]}/g{place}" if classes == "folders" else f"g{place}" for place in range(len(graphs))]
    with TemporaryDirectory() as place:
        folder = Path(place)
        for name, graph in zip(names, graphs, strict=True):
            (folder / name).parent.mkdir(exist_ok=True)
            WRITERS[form](graph, folder / f"{name}.{form}")
        if classes == "table":
            lines = [f"{name}.{form},{'ab'[row % 2]}" for row, name in enumerate(names)]
            (folder / "labels.csv").write_text("\n".join(["graph,kind", *reversed(lines)]) + "\n")
        source = open_graphs(folder)
        again = build(describe(source))
    assert isinstance(source, GraphFolder)
    assert again.fingerprint() == source.fingerprint()  # type: ignore[attr-defined]
    order = np.argsort([f"{name}.{form}" for name in names])
    assert list(source.names) == [f"{names[row]}.{form}" for row in order]
    check(source, [graphs[row] for row in order], scaled=True)
    if classes == "none":
        assert source.labels is None
    else:
        assert source.labels is not None
        assert [source.classes[label] for label in source.labels] == ["ab"[row % 2] for row in order]


@settings(max_examples=15, deadline=None)
@given(sets())
def test_a_list_of_networkx_graphs(graphs: list[Any]) -> None:
    for place, graph in enumerate(graphs):
        graph.graph["label"] = place % 2
    source = open_graphs(graphs, GraphReading(features=("age", "atom")))
    assert isinstance(source, GraphSet)
    check(source, graphs, scaled=True)
    assert source.labels is not None
    assert source.labels.tolist() == [place % 2 for place in range(len(graphs))]


def collection(folder: Path, graphs: list[Any]) -> None:
    """Write graphs as the TU collection does, by what its pages say: all counts from 1."""
    nodes = [(row, node) for row, graph in enumerate(graphs) for node in graph]
    place = {node: number + 1 for number, node in enumerate(nodes)}
    atoms = {"C": 0, "N": 5, "O": 7, "Xe": 9}
    edges = [f"{place[row, one]}, {place[row, other]}" for row, graph in enumerate(graphs)
             for pair in graph.edges() for one, other in (pair, pair[::-1])]  # fmt: skip
    lines = {
        "A": edges,
        "graph_indicator": [str(row + 1) for row, _ in nodes],
        "graph_labels": [str(2 * (row % 2) - 1) for row in range(len(graphs))],
        "node_labels": [str(atoms[graphs[row].nodes[node]["atom"]]) for row, node in nodes],
        "node_attributes": [str(graphs[row].nodes[node]["age"]) for row, node in nodes],
    }
    for name, held in lines.items():
        (folder / f"TOY_{name}.txt").write_text("\n".join(held) + "\n")


@settings(max_examples=15, deadline=None)
@given(sets())
def test_files_of_the_tu_collection(graphs: list[Any]) -> None:
    with TemporaryDirectory() as place:
        collection(Path(place), graphs)
        source = open_graphs(place)
        datasets = pytest.importorskip("torch_geometric.io")
        data, slices = datasets.read_tu_data(place, "TOY")[:2]
    assert isinstance(source, GraphFolder)
    check(source, graphs, scaled=True)
    assert source.labels is not None
    assert source.classes == ("-1", "1") or len(graphs) < 2
    assert len(slices["x"]) - 1 == len(source)
    whole = torch.cat([Graphs.of(source[[row]].x).dense() for row in range(len(source))])
    assert torch.equal(whole[:, 1:], data.x[:, 1:][:, data.x[:, 1:].sum(0) > 0])


def ring(count: int, atom: str, **facts: object) -> Any:
    graph = networkx.cycle_graph(count, create_using=None)
    networkx.set_node_attributes(graph, {node: {"atom": atom, "charge": node} for node in graph})
    graph.graph.update(facts)
    return graph


def test_another_folder_is_read_by_what_was_learnt(tmp_path: Path) -> None:
    for name, sizes, atoms in (("own", (3, 4, 5), "CNO"), ("other", (4, 3), "OX")):
        (tmp_path / name).mkdir()
        for size, atom in zip(sizes, atoms, strict=True):
            networkx.write_graphml(ring(size, atom), tmp_path / name / f"{atom}{size}.graphml")
    source = open_graphs(tmp_path / "own")
    (rows,) = rows_like(source, str(tmp_path / "other"))
    first, second = (Graphs.of(rows.source[[row]].x).dense() for row in range(2))
    assert first[:, 1:].tolist() == [[0, 0, 1]] * 4, "oxygen is the third, as it was learnt"
    assert second[:, 1:].tolist() == [[0, 0, 0]] * 3, "X was not learnt"
    assert first[:, 0].tolist() == pytest.approx([0, 0.25, 0.5, 0.75]), "charges lay from 0 to 4"
    for file in (tmp_path / "other").iterdir():
        networkx.write_graphml(networkx.path_graph(3), file)
    with pytest.raises(DataError, match="'charge', which was learnt from, is lacking"):
        rows_like(source, str(tmp_path / "other"))


def test_the_class_of_a_graph_may_be_a_fact_of_its_own(tmp_path: Path) -> None:
    for place, kind in enumerate(["toxic", "safe", "toxic"]):
        networkx.write_graphml(ring(3 + place, "C", kind=kind, label="x"), tmp_path / f"{place}.graphml")
    source = open_graphs(tmp_path, GraphReading(target="kind"))
    assert source.labels is not None
    assert [source.classes[label] for label in source.labels] == ["toxic", "safe", "toxic"]
    with pytest.raises(DataError, match="no graph has 'kynd' as a fact of its own: did you mean 'kind'"):
        open_graphs(tmp_path, GraphReading(target="kynd"))


REFUSED: dict[str, Callable[[Path], object]] = {
    "holds no graphs": lambda path: (path / "notes.doc").write_text("x"),
    "cannot be read": lambda path: (path / "a.graphml").write_text("<graph"),
    "unknown encoding": lambda path: (path / "a.graphml").write_text(
        "<?xml version='1.0' encoding='utf-88'?><graphml/>"
    ),
    "node-link JSON holds nodes": lambda path: (path / "a.json").write_text("[1, 2]"),
    "without nodes": lambda path: networkx.write_graphml(networkx.Graph(), path / "a.graphml"),
    "1 of 2 graphs have no attributes of nodes": lambda path: [
        networkx.write_graphml(ring(3, "C"), path / "a.graphml"),
        networkx.write_graphml(networkx.path_graph(3), path / "b.graphml"),
    ],
    "names none of the graphs, such as 'a.graphml'": lambda path: [
        networkx.write_graphml(ring(3, "C"), path / "a.graphml"),
        (path / "labels.csv").write_text("graph,kind\nz.graphml,1\ny.graphml,2\n"),
    ],
}


@pytest.mark.parametrize("message", REFUSED)
def test_folders_that_nobody_can_be_sure_of(message: str, tmp_path: Path) -> None:
    REFUSED[message](tmp_path)
    with pytest.raises(DataError, match=message) as raised:
        open_graphs(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["graphml", "gml", "gexf", "json"])
def test_one_graph_in_a_file_of_networkx(form: str, tmp_path: Path) -> None:
    graph = networkx.karate_club_graph()
    for node, own in graph.nodes(data=True):
        own["side"] = own.pop("club")
        own["part"] = ["train", "train", "test"][node % 3]
    WRITERS[form](graph, tmp_path / f"karate.{form}")
    reading = GraphReading(target="side", split=("part",), edge_weight="weight")
    source = open_graphs(tmp_path / f"karate.{form}", reading)
    assert isinstance(source, GraphFile)
    assert isinstance(source, GraphSource)
    edges = source.graph().edges
    assert edges.weight is not None
    found = Sparse(edges, edges.weight).dense().numpy() - np.eye(34)
    assert np.array_equal(found, networkx.to_numpy_array(graph))
    assert source.labels is not None
    assert [source.classes[label] for label in source.labels] == [graph.nodes[node]["side"] for node in graph]
    assert source.rows("test").tolist() == list(range(2, 34, 3))
    assert build(describe(source)).fingerprint() == source.fingerprint()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="no edge has an attribute 'wait': did you mean 'weight'"):
        open_graphs(tmp_path / f"karate.{form}", GraphReading(target="side", edge_weight="wait"))
    with pytest.raises(ConfigError, match="nodes cannot be said of karate"):
        open_graphs(tmp_path / f"karate.{form}", GraphReading(nodes=tmp_path / "x.csv"))
