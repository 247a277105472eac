"""Random tables of nodes with words and gaps: features are what pandas and scikit-learn make of the same file."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.reading.attributes import NodeColumns
from withstand.data.graphs.reading.settings import GraphReading
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.tables import EdgeList
from withstand.data.load import splits_like
from withstand.data.shared.rows import rows_like

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

Write = Callable[[Any, Path], None]
FORMS: dict[str, Write] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "feather": lambda frame, path: frame.to_feather(path),
}
WORDS = ["red", "dark blue", "Grün", "x1"]


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """Return a data frame of nodes with columns of numbers and words, gaps in some."""
    count = draw(st.integers(12, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    columns: dict[str, Any] = {"id": [f"n{place}" for place in rng.permutation(count)]}
    for place in range(draw(st.integers(1, 4))):
        gaps = rng.random(count) < draw(st.sampled_from([0.0, 0.3]))
        if draw(st.booleans()):
            numbers = rng.integers(-50, 50, count) / draw(st.sampled_from([1, 4]))
            columns[f"number {place}"] = np.where(gaps, np.nan, numbers)
        else:
            words = rng.choice(WORDS, count).astype(object)
            columns[f"word {place}"] = [None if gap else word for word, gap in zip(words, gaps, strict=True)]
    columns["team"] = rng.choice(["a", "b", "c"], count)
    return pandas.DataFrame(columns)


def expected(frame: Any, *, scaled: bool) -> np.ndarray[Any, Any]:
    """Return the features by pandas: numbers, a flag for each column of numbers with gaps, a dummy a category."""
    numbers = [name for name in frame if name.startswith("number")]
    parts = []
    for name in numbers:
        values, low, high = frame[name], frame[name].min(), frame[name].max()
        parts.append(((values - low) / (high - low)).fillna(0) if scaled else values.fillna(low))
    parts += [frame[name].isna() for name in numbers if frame[name].isna().any()]
    for name in frame:
        if name.startswith("word"):
            dummies = pandas.get_dummies(frame[name])
            parts += [dummies[word] for word in sorted(dummies)]
            parts += [frame[name].isna()] if frame[name].isna().any() else []
    return np.stack([np.asarray(part, dtype=np.float32) for part in parts], 1)


def usual(frame: Any) -> bool:
    """Say whether every column can be learnt from: none is constant, and none says what the class says."""
    names = [name for name in frame if name.startswith(("number", "word"))]
    told = [frame.groupby(name)["team"].nunique().max() == 1 for name in names]
    return all(frame[name].nunique() > 1 for name in names) and not any(told)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(tables(), st.sampled_from(sorted(FORMS)), st.sampled_from([None, "none", "unit"]), st.booleans())
def test_features_are_what_pandas_makes_of_the_file(frame: Any, form: str, scale: Any, beside: bool) -> None:
    assume(usual(frame))
    with TemporaryDirectory() as folder:
        edges, nodes = Path(folder) / "net.csv", Path(folder) / f"people.{form}"
        if beside and form == "csv":
            nodes = Path(folder) / "net.nodes.csv"
        FORMS[form](frame, nodes)
        edges.write_text("source,target\n" + "".join(f"n0,n{place}\n" for place in range(1, len(frame))))
        reading = GraphReading(nodes=None if nodes.stem == "net.nodes" else nodes, target="team", scale=scale)
        source = open_graphs(edges, reading)
        again = build(describe(source))
    plain = not any(name.startswith("word") or frame[name].isna().any() for name in frame if name != "team")
    scaled = scale == "unit" or (scale is None and not plain)
    assert isinstance(source, GraphSource)
    found = source.graph().dense()
    torch.testing.assert_close(found, torch.from_numpy(expected(frame, scaled=scaled)), atol=1e-6, rtol=1e-6)
    assert list(source.names) == frame["id"].tolist()
    assert source.labels is not None
    assert [source.classes[label] for label in source.labels] == frame["team"].tolist()
    assert again.fingerprint() == source.fingerprint()  # type: ignore[attr-defined]


def write(folder: Path, nodes: str, edges: str | None = None, name: str = "net") -> Path:
    count = nodes.count("\n") - 1
    rows = "".join(f"n{place},n{(place + 1) % count}\n" for place in range(count))
    (folder / f"{name}.csv").write_text("source,target\n" + rows if edges is None else edges)
    (folder / f"{name}.nodes.csv").write_text(nodes)
    return folder / f"{name}.csv"


def people(count: int = 40, *, other: bool = False) -> str:
    cities = ["Bonn", "Ulm", "Kiel", ""] if not other else ["Ulm", "Ulm", "Jena", ""]
    parts = ["train", "train", "val", "test", ""]
    lines = [f"n{place},{cities[place % 4]},{20 + place % 7},{'xyz'[place % 3]},{parts[place % 5]}"
             for place in range(count)]  # fmt: skip
    return "id,city,age,team,fold\n" + "\n".join(lines) + "\n"


def test_other_graphs_are_read_by_what_was_learnt(tmp_path: Path) -> None:
    """Ulm's feature is Ulm's in another table too, whose cities are fewer, and an unknown city has none."""
    reading = GraphReading(target="team", ignore=("fold",))
    source = open_graphs(write(tmp_path, people()), reading)
    other = write(tmp_path, people(24, other=True), name="other")
    (rows,) = rows_like(source, str(other))
    x = rows.source.graph().dense()  # type: ignore[attr-defined]
    assert x.shape[1:] == source.shape == (1 + 3 + 1,)
    assert x[0].tolist() == pytest.approx([0, 0, 0, 1, 0])  # age 20; Bonn, Kiel, Ulm in order; no gap
    assert x[2].tolist() == pytest.approx([2 / 6, 0, 0, 0, 0])  # Jena was not learnt
    assert x[3].tolist() == pytest.approx([3 / 6, 0, 0, 0, 1])
    train, test = splits_like(source, str(other))
    assert len(train) + len(test) == 24
    assert train.classes == ("x", "y", "z")
    for text, message in [
        ("id,age,team\nn0,1,x\nn1,2,y\n", "column 'city', which was learnt from, is lacking"),
        ("id,city,age,team\nn0,Ulm,young,x\nn1,Ulm,20,x\n", "column 'age' was numbers in training and holds words now"),
        ("id,city,age,team\nn0,Ulm,20,w\nn1,Ulm,20,x\n", "holds the class 'w', which was not learnt"),
    ]:
        with pytest.raises(DataError, match=message):
            rows_like(source, str(write(tmp_path, text, name="bad")))
    bare = tmp_path / "bare.csv"
    bare.write_text("source,target\na,b\n")
    with pytest.raises(DataError, match=r"attributes age, city as features, and those of bare\.csv have their degrees"):
        rows_like(source, str(bare))


def test_a_split_in_words_in_masks_and_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    words = EdgeList(str(path), label="team", columns=NodeColumns(split=("fold",)))
    assert words.parts == ("train", "validation", "test")
    assert words.rows("test").tolist() == list(range(3, 40, 5))
    assert words.shape == (1 + 3 + 1,), "the split is no feature"
    lines = people().splitlines()
    masks = [f"{line},{place % 2 == 0},{int(place % 2 == 1)}" for place, line in enumerate(lines[1:])]
    write(tmp_path, "\n".join([f"{lines[0]},train_mask,test_mask", *masks]) + "\n")
    both = EdgeList(
        str(path), label="team", columns=NodeColumns(split=("train_mask", "test_mask"), ignore=("fold",))
    )  # fmt: skip
    assert both.rows("train").tolist() == list(range(0, 40, 2))
    assert both.rows("test").tolist() == list(range(1, 40, 2))
    write(tmp_path, people())
    (tmp_path / "split.csv").write_text("node,part\nn3,training\nn1,Test\nn2,dev\n")
    columns = NodeColumns(split=(str(tmp_path / "split.csv"),), ignore=("fold",))
    given = EdgeList(str(path), label="team", columns=columns)
    assert [given.rows(part).tolist() for part in ("train", "validation", "test")] == [[3], [2], [1]]
    (tmp_path / "split.csv").write_text("node,part\nn3,train\nstranger,test\n")
    with pytest.raises(DataError, match="names the node 'stranger', which the graph lacks"):
        EdgeList(str(path), label="team", columns=columns)
    with pytest.raises(DataError, match="'team' holds 'x', which is no part of a split"):
        EdgeList(str(path), columns=NodeColumns(split=("team",)))
    with pytest.raises(ConfigError, match="no attribute 'fild': did you mean 'fold'"):
        EdgeList(str(path), columns=NodeColumns(split=("fild",)))


def test_nodes_without_a_label_are_left_out_of_a_split_and_that_is_told(tmp_path: Path) -> None:
    text = people().replace("n0,Bonn,20,x,train", "n0,Bonn,20,,train")
    source = EdgeList(str(write(tmp_path, text)), label="team", columns=NodeColumns(split=("fold",)))
    assert 0 not in source.rows("train").tolist()
    assert "nodes without a label left out of the split: 1 of train" in source.origin


REFUSED = {
    "a measurement is no class": ("id,a,b\n" + "".join(f"n{p},{p / 7},{p % 3}\n" for p in range(40)), "a",
                                  "'a' holds 40 different values in 40 nodes, which are no classes"),
    "names are no classes": ("id,a,b\n" + "".join(f"n{p},person {p},{p % 3}\n" for p in range(40)), "a",
                             "which are no classes"),
    "the answer among the features": (
        "id,a,b\n" + "".join(f"n{p},{'xy'[p % 2]},{p % 2}\n" for p in range(40)), "a",
        "'b' says the same as the"),
    "the answer in numbers": ("id,a,b\n" + "".join(f"n{p},{p % 2},{5 - p % 2}\n" for p in range(40)), "a",
                              "'b' says the same as the label 'a'"),
    "nothing to learn from": ("id,a,b\n" + "".join(f"n{p},{p % 2},person {p}\n" for p in range(40)), "a",
                              "ignore them all, and degrees stand for features"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_table_of_nodes_should_say(what: str, tmp_path: Path) -> None:
    text, label, message = REFUSED[what]
    with pytest.raises(DataError, match=message) as raised:
        EdgeList(str(write(tmp_path, text)), label=label)
    assert "\n" not in str(raised.value)


def test_all_left_out_leaves_degrees(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    source = EdgeList(str(path), label="team", columns=NodeColumns(ignore=("city", "age", "fold")))
    assert "degrees stand for them" in source.origin
    chosen = EdgeList(str(path), label="team", columns=NodeColumns(features=("age",)))
    assert chosen.graph().dense()[:3].tolist() == [[20], [21], [22]]


NODES = "id,team,age\n" + "".join(f"n{place},{'xyz'[place % 3]},{place}\n" for place in range(9))
EDGES = "from,to,weight\n" + "".join(f"n{place},n{(place + 1) % 9},2\n" for place in range(9))
SWAPPED = {
    "a table of nodes with attributes": (NODES, None, "a table of nodes stands beside edges"),
    "nodes and classes": ("id,team\n" + "".join(f"n{p},{'xyz'[p % 3]}\n" for p in range(9)), None,
                          "seems a table of nodes, for its first column names each one once"),
    "nodes and classes, other names": ("person,team\n" + "".join(f"n{p},{'xyz'[p % 3]}\n" for p in range(9)), None,
                                       "and its second none of them"),
    "nodes and classes, no header": ("".join(f"{p} {'xyz'[p % 3]}\n" for p in range(9)), None,
                                     "and its second none of them"),
    "an edge list as nodes": (EDGES, EDGES, "columns 'from' and 'to' are the ends"),
    "an edge list as nodes, no header": ("1 2\n2 3\n3 1\n", "1 2\n1 3\n2 3\n", "names the node '1' twice"),
}  # fmt: skip


@pytest.mark.parametrize("what", SWAPPED)
def test_nodes_and_edges_are_not_taken_for_each_other(what: str, tmp_path: Path) -> None:
    edges, nodes, message = SWAPPED[what]
    (tmp_path / "net.csv").write_text(edges)
    if nodes is not None:
        (tmp_path / "nodes.csv").write_text(nodes)
    with pytest.raises(DataError, match=message) as raised:
        open_graphs(tmp_path / "net.csv", GraphReading(nodes=None if nodes is None else tmp_path / "nodes.csv"))
    assert "\n" not in str(raised.value)


def test_edges_that_look_like_nodes_are_edges_where_their_header_says_so(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("source,target\n" + "".join(f"user{p},{'xyz'[p % 3]}\n" for p in range(9)))
    assert open_graphs(tmp_path / "net.csv").counts.edges == 18  # type: ignore[attr-defined]
    (tmp_path / "tree.csv").write_text("".join(f"{p} {(p - 1) // 2}\n" for p in range(1, 30)))
    assert open_graphs(tmp_path / "tree.csv").counts.edges == 58  # type: ignore[attr-defined]


def test_data_frames_and_what_columns_hold_beside(tmp_path: Path) -> None:
    nodes = pandas.DataFrame({"name": [4, 5, 6, 7], "age": [1.0, None, 3.0, 4.0], "team": list("xxyy"),
                              "picture": [[1], [2], [3], [4]]})  # fmt: skip
    edges = pandas.DataFrame({"src": [4, 5, 6], "dst": [5, 6, 7], "since": pandas.to_datetime(["2020-01-01"] * 3)})
    source = EdgeList(edges, nodes, label="team")
    assert source.names == ("4", "5", "6", "7")
    assert source.graph().dense().tolist() == [[0, 0], [0, 1], [pytest.approx(2 / 3), 0], [1, 0]]
    assert "picture (holds list<" in source.account[-1]
    assert "1 other column(s) not used: 'since'" in source.origin
    with pytest.raises(DataError, match="no table of nodes for target to be columns of"):
        EdgeList(edges, label="team")


def test_what_is_said_of_data_that_know_it_is_refused() -> None:
    source = GraphSource([[0], [1]], torch.eye(3))
    with pytest.raises(ConfigError, match="target and split cannot be said of a source"):
        open_graphs(source, GraphReading(target="x", split=("y",)))
    with pytest.raises(ConfigError, match="header cannot be said of a source"):
        open_graphs(source, GraphReading(header=False))


def test_numbers_that_single_precision_does_not_tell_apart_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("source,target\n1,2\n2,3\n3,4\n", encoding="utf-8")
    for last, told in (("1.5", 1), ("", 0)):  # beside gaps numbers are brought to 0 to 1, which loses nothing
        rows = [f"{node},{1_600_000_000 + node},{node},{last if node == 2 else node}" for node in range(1, 5)]
        (tmp_path / "a.nodes.csv").write_text("\n".join(["id,born,age,size", *rows]), encoding="utf-8")
        account = "; ".join(EdgeList(str(tmp_path / "a.csv")).account)
        assert account.count("'born': 1600000001 to 1600000004 is more than single precision tells apart") == told
        assert account.count("single precision") == told
    x = 1.6e9 + np.arange(8.0).reshape(4, 2)
    assert "features: single precision rounds 2 of 2 columns" in GraphSource([[0, 1, 2], [1, 2, 3]], x).origin
    assert "single precision" not in GraphSource([[0, 1, 2], [1, 2, 3]], x - 1.6e9).origin
