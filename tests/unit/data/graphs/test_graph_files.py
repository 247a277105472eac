"""Random graphs in text files of random dialects: what arrives is what NetworkX reads when it is told the dialect."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.reading.ends import ends_of
from withstand.data.graphs.reading.settings import GraphReading
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.tables import EdgeList

networkx = pytest.importorskip("networkx")
pytest.importorskip("pyarrow")

NAMES = [("source", "target"), ("Source", "Target"), ("src", "dst"), ("from", "to"), ("FromNodeId", "ToNodeId"),
         ("node_1", "node_2"), ("u", "v")]  # fmt: skip


@dataclass(frozen=True)
class Written:
    """An edge list as it is written.

    Attributes:
        pairs: the ends of each edge.
        lines: its lines, comments among them.
        plain: the lines of edges alone, source first, for NetworkX.
        delimiter: what NetworkX is told; None for whitespace.
        header: whether the first line names the columns.
        bytes: the file.
    """

    pairs: list[tuple[str, str]]
    plain: list[str]
    delimiter: str | None
    header: bool
    content: bytes


@st.composite
def edge_lists(draw: st.DrawFn) -> Written:
    whole = draw(st.booleans())
    some = (
        st.integers(0, 12).map(str)
        if whole
        else st.integers(0, 12).map(draw(st.sampled_from(["n{}x", "n{}", "node{}", "id_{}"])).format)
    )
    pairs = draw(st.lists(st.tuples(some, some), min_size=2, max_size=25))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|", None]))
    names = draw(st.one_of(st.none(), st.sampled_from(NAMES)))
    weights = (
        draw(st.sampled_from([None, "before", "after", "between"])) if names else draw(st.sampled_from([None, "after"]))
    )
    turned = names is not None and draw(st.booleans())

    def line(one: str, other: str, weight: str) -> str:
        fields = [other, one] if turned else [one, other]
        if weights is not None:
            fields.insert({"before": 0, "between": 1, "after": 2}[weights], weight)
        gap = draw(st.sampled_from([" ", "\t", "   ", " \t "])) if delimiter is None else delimiter
        around = draw(st.sampled_from(["", " "])) if delimiter in (None, ",", ";") else ""
        return around + gap.join(fields) + around

    lines = [line(*names, "weight")] if names else []
    lines += [line(one, other, f"0.{place}") for place, (one, other) in enumerate(pairs)]
    for _ in range(draw(st.integers(0, 3))):
        lines.insert(
            draw(st.integers(0, len(lines))), draw(st.sampled_from(["# a comment, of 3 words", "% 60 60", ""]))
        )
    end = draw(st.sampled_from(["\n", "\r\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    content = (end.join(lines) + draw(st.sampled_from([end, ""]))).encode(encoding)
    plain = [(delimiter or " ").join(pair) for pair in pairs]
    return Written(pairs, plain, delimiter, names is not None, content)


def edges_of(source: GraphSource) -> set[tuple[str, str]]:
    """Return the edges by their nodes' names, without those from nodes to themselves."""
    edges = source.graph().edges
    found = zip(edges.column.tolist(), edges.row.tolist(), strict=True)
    return {(source.names[one], source.names[other]) for one, other in found if one != other}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(edge_lists(), st.booleans(), st.booleans())
@example(
    Written([("n0x", "n1x"), ("n2x", "n1x"), ("n0x", "n1x")], ["n0x,n1x", "n2x,n1x", "n0x,n1x"], ",", False,
            b"n0x,n1x,0.0\nn2x,n1x,0.1\n n0x,n1x,0.2 \n"), False, True,
)  # fmt: skip
@example(
    Written([("n0", "n1"), ("n2", "n1"), ("n3", "n1")], ["n0,n1", "n2,n1", "n3,n1"], ",", False,
            b"n0,n1\nn2,n1\nn3,n1\n"), False, True,
)  # fmt: skip
def test_an_edge_list_is_what_networkx_reads(written: Written, directed: bool, told: bool) -> None:
    kind = networkx.DiGraph if directed else networkx.Graph
    expected = networkx.parse_edgelist(written.plain, delimiter=written.delimiter, create_using=kind, data=False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.txt"
        path.write_bytes(written.content)
        try:
            source = EdgeList(str(path), directed=directed, header=written.header if told else None)
        except DataError as error:
            refused = str(error)
        else:
            refused = ""
    if "seems a table of nodes" in refused:  # which a star may be too
        assert not written.header, "named ends are ends"
        nodes, others = ([pair[side] for pair in written.pairs] for side in (0, 1))
        if not told:  # the first line may be taken for a header
            nodes, others = nodes[-len(nodes) + 1 :], others[-len(others) + 1 :]
        assert len({*nodes}) == len(nodes)
        assert not {*nodes} & {*others}
        event("doubted")
        return
    if refused:
        assert not told
        first, below = written.pairs[0], {end for pair in written.pairs[1:] for end in pair}
        assert not written.header, "known names unlike nodes are a header"
        assert not first[0].isdigit(), "numbers over numbers are an edge"
        assert ends_of(first) or not below & set(first), "nodes that come again are nodes"
        assert "may name the columns" in refused
        event("doubted")
        return
    assert list(source.names) == list(dict.fromkeys(end for pair in written.pairs for end in pair))
    found = {(one, other) for one, other in expected.edges() if one != other}
    assert edges_of(source) == (found if directed else found | {(other, one) for one, other in found})
    assert source.counts.self_loops == sum(one == other for one, other in written.pairs)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_table_of_nodes_keeps_all_of_them(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 9))
    names = data.draw(
        st.permutations([f"n{place}" if data.draw(st.booleans()) else str(place) for place in range(count)])
    )
    values = [[data.draw(st.integers(-99, 99)) / 8 + 0.0625 for _ in range(2)] for _ in range(count)]
    labels = [data.draw(st.sampled_from(["x", "y", ""])) for _ in range(count)]
    headed = data.draw(st.booleans())
    lines = ["id;one;two;label"] if headed else []
    lines += [f"{name};{a};{b};{label}" for name, (a, b), label in zip(names, values, labels, strict=True)]
    with TemporaryDirectory() as folder:
        (Path(folder) / "net.csv").write_text("".join(f"{name},{names[0]}\n" for name in names))
        (Path(folder) / "net.nodes.csv").write_text("\n".join(lines) + "\n")
        if not headed and set(labels) == {""}:
            return  # an empty column and nothing to say what it is
        source = EdgeList(str(Path(folder) / "net.csv"))
    assert list(source.names) == list(names)
    assert source.graph().dense().tolist() == np.array(values, dtype=np.float32).tolist()
    known = sorted(set(labels) - {""})
    assert source.classes == tuple(known)
    found = [] if source.labels is None else source.labels.tolist()
    assert found == ([known.index(label) if label else -1 for label in labels] if known else [])


def test_a_ring_without_a_header_keeps_its_first_edge(tmp_path: Path) -> None:
    (tmp_path / "ring.txt").write_text("".join(f"{node} {(node + 1) % 60}\n" for node in range(60)))
    source = open_graphs(tmp_path / "ring.txt")
    assert isinstance(source, EdgeList)
    assert source.counts.edges == 120
    assert "no header: the first two columns are the ends" in source.origin
    assert open_graphs(tmp_path / "ring.txt", GraphReading(header=True)).counts.edges == 118  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="header cannot be said of a NetworkX graph"):
        open_graphs(networkx.path_graph(3), GraphReading(header=True))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["weight", "src", "dst"], (1, 2)),
        (["to", "from"], (1, 0)),
        (["Target", "Type", "Source"], (2, 0)),
        (["weight", ":END_ID", ":START_ID"], (2, 1)),
        (["id1", "id2", "w"], (0, 1)),
        (["node_2", "node_1"], (1, 0)),
        (["head", "relation", "tail"], None),
        (["a", "b"], None),
    ],
)
def test_ends_by_name(names: list[str], expected: tuple[int, int] | None) -> None:
    assert ends_of(names) == expected


BAD = {
    "from,to\nto,from\n": "may name the columns or be the first edge.*--no-header",
    "a,b\nc,d\n": "may name the columns or be the first edge",
    "a,b,w\nx,y,1\ny,z,2\n": "name an edge's ends source and target",
    "source,target\na,\n": "edge 1 of net.csv has no target",
    "%%MatrixMarket matrix coordinate\n3 3 1\n1 2 1\n": "scipy.io.mmread",
    "1 2\n3\n": "1 ragged row",
    "u v\nw x\n": "may name the columns or be the first edge",
    "node_1 node_2\nnode_3 node_4\n": "may name the columns or be the first edge",
    "1\n2\n": "has 1 column",
    "# nothing\n": "is empty",
    "0,1,0\n1,0,1\n0,1,0\n": "no list of edges but a matrix",
    "0 .5 2\n.5 0 1e3\n2 1000 0\n": "no list of edges but a matrix",
    "0;1;0\n0;0;1\n0;0;0\n": "no list of edges but a matrix",
}


@pytest.mark.parametrize("text", BAD)
def test_edge_lists_that_nobody_can_be_sure_of_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(text)
    with pytest.raises(DataError, match=BAD[text]) as raised:
        EdgeList(str(tmp_path / "net.csv"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("nodes", [3, 20_000])
def test_one_number_in_two_writings_is_told(tmp_path: Path, nodes: int) -> None:
    lines = [f"{node},{(node + 1) % nodes}" for node in range(nodes)]
    (tmp_path / "a.csv").write_text("\n".join(["source,target", *lines]))
    assert "two nodes" not in EdgeList(str(tmp_path / "a.csv")).origin
    # As pandas writes a column that has gaps beside one that has none.
    lines = [f"{node},{(node + 1) % nodes}.0" for node in range(nodes)]
    (tmp_path / "b.csv").write_text("\n".join(["source,target", *lines]))
    found = EdgeList(str(tmp_path / "b.csv"))
    assert found.counts.nodes == 2 * nodes
    assert "are two nodes" in found.origin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,x,y\na,1,2\nb,3,4\n", (None, 2)),
        ("id,f,y\na,1,2\nb,3,4\n", (("2", "4"), 1)),
        ("id,f,Label\na,1,10\nb,3,9\n", (("9", "10"), 1)),
        ("f;id\n1,5;a\n2,5;b\n", (None, 1)),
    ],
)
def test_which_column_holds_the_class(text: str, expected: tuple[object, int], tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("source,target\na,b\n")
    (tmp_path / "net.nodes.csv").write_text(text)
    source = EdgeList(str(tmp_path / "net.csv"))
    assert (source.classes or None, source.shape[0]) == expected
    (tmp_path / "net.nodes.csv").write_text("id,f,label,class\na,1,2,3\nb,3,4,3\n")
    with pytest.raises(DataError, match="say which is label="):
        EdgeList(str(tmp_path / "net.csv"))


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int32, np.int64])
def test_masks_of_any_whole_type(kind: type) -> None:
    mask = np.array([1, 0, 1, 0, 0]).astype(kind)
    source = GraphSource([[0], [1]], np.eye(5), [0, 1, 0, 1, 0], parts={"train": mask, "test": 1 - mask.astype(int)})
    assert source.rows("train").tolist() == [0, 2]
    assert source.rows("test").tolist() == [1, 3, 4]


def test_masks_that_may_be_places_are_refused() -> None:
    with pytest.raises(DataError, match="may be places or a mask"):
        GraphSource([[0], [1]], np.eye(2), parts={"train": [0, 1]})
    with pytest.raises(DataError, match="names a node twice"):
        GraphSource([[0], [1]], np.eye(5), parts={"train": [2, 2]})


def test_labels_of_any_whole_numbers_are_classes() -> None:
    source = GraphSource([[0], [1]], np.eye(4), [2_000_000_000, 7, 2_000_000_000, 7])
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1, 0]
    assert source.classes == ("7", "2000000000")
