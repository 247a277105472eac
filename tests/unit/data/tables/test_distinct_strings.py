import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import withstand.data.tables.distinct as room
from withstand.data.graphs.tables import EdgeList
from withstand.data.tables.columns import Columns
from withstand.data.tables.distinct import Names, encode, named, narrow, without
from withstand.data.tables.frame import MISSING
from withstand.data.tables.source import TableSource

pyarrow = pytest.importorskip("pyarrow")

_WORDS = st.text("ab é\u2028\x1f 7", max_size=3) | st.sampled_from(("NA", "nan", " NA ", "", "\x85x"))
_CHUNKS = st.lists(st.lists(_WORDS, max_size=9), max_size=6)


@settings(deadline=None)
@given(_CHUNKS, st.sampled_from((0, 3, 1 << 15)), st.booleans())
def test_strings_are_encoded_as_sets_of_them_say_whether_few_or_many_are_distinct(chunks, many, strip):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "MANY", many)
        codes, names = encode(pyarrow.chunked_array(chunks, pyarrow.string()), strip=strip)
        kept, held = without(codes, names, MISSING)
    texts = [text.strip() if strip else text for chunk in chunks for text in chunk]
    assert list(names) == sorted(set(texts)) == [names[place] for place in range(len(names))]
    assert [names[code] for code in codes] == texts
    assert list(held) == sorted(set(texts) - set(MISSING))
    assert [None if code < 0 else held[code] for code in kept] == [
        None if text in MISSING else text for text in texts
    ]  # fmt: skip
    assert isinstance(names, Names) == (len(set(texts)) > many)


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=2), min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_many_names_are_a_sequence_like_any_other(chunks, data):
    texts = [text for chunk in chunks for text in chunk]
    places = data.draw(st.lists(st.sampled_from(range(len(texts))), max_size=8))
    whole, chosen = Names(pyarrow.chunked_array(chunks)), Names(pyarrow.chunked_array(chunks), np.array(places, int))
    wanted = [texts[place] for place in places]
    assert list(whole) == texts
    assert whole == tuple(texts)
    assert whole != texts[1:]
    assert list(chosen) == chosen.arrow().to_pylist() == wanted == [chosen[place] for place in range(len(places))]
    assert list(pickle.loads(pickle.dumps(chosen))) == wanted
    for names in (whole, tuple(texts)):
        assert list(named(names, np.array(places, int))) == wanted
    assert all(text in whole for text in texts)
    assert "not there" not in whole
    assert list(chosen[::-1]) == wanted[::-1]
    with pytest.raises(IndexError):
        chosen[len(places)]


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 32768, 32769])
def test_places_fit_their_type(count):
    assert np.arange(-1, count).astype(narrow(count)).tolist() == list(range(-1, count))


@settings(deadline=None)
@given(st.lists(st.floats() | st.floats(width=16) | st.floats(width=32) | st.integers(-3000, 3000).map(float)))
def test_packed_numbers_come_out_as_they_went_in(values):
    own = np.array(values, dtype=np.float64)
    out = Columns({"a": own})["a"]
    assert out.dtype == np.float64
    assert np.array_equal(out, own, equal_nan=True)
    assert (np.signbit(out) == np.signbit(own))[own == own].all()


def test_a_table_of_many_ids_is_read_as_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    draws = np.random.default_rng(0)
    ids = draws.permutation(40_000)
    frame = pandas.DataFrame(
        {"id": [f"n{one:06d}" for one in ids], "x": ids % 7, "kind": np.array(["a", "b"])[ids % 2]}
    )
    frame.to_csv(tmp_path / "many.csv", index=False)
    source = TableSource(tmp_path / "many.csv", target="kind", kinds={"id": "categorical"})
    assert len(source.schema.categorical[0].categories) == 256
    assert source.labels.tolist() == (ids % 2).tolist()
    values = source.schema.units(source[range(50)].x)
    assert np.allclose(values["x"], frame["x"][:50], atol=1e-6)  # float32 slots
    known = set(source.schema.categorical[0].categories)
    assert values["id"] == [one if one in known else "(another)" for one in frame["id"][:50]]
    with pytest.warns(UserWarning, match="names or identifiers, such as 'n"):
        TableSource(tmp_path / "many.csv", target="kind")


@pytest.mark.parametrize("name", ["{}", "n{}", "{:08d}"])
def test_a_graph_of_many_nodes_is_read_as_networkx_reads_it(tmp_path, name):
    networkx = pytest.importorskip("networkx")
    ends = np.random.default_rng(0).integers(0, 10**9, (30_000, 2))
    ends[1000:] = ends[1000:] % 40_000
    lines = [f"{name.format(one)} {name.format(other)}" for one, other in ends.tolist()]
    (tmp_path / "net.txt").write_text("\n".join(lines))
    graph = networkx.read_edgelist(tmp_path / "net.txt", nodetype=str)
    source = EdgeList(str(tmp_path / "net.txt"), header=False)
    assert list(source.names) == list(graph.nodes)
    pattern, places = source.graph().edges, {name: place for place, name in enumerate(source.names)}
    found = set(zip(pattern.row.tolist(), pattern.column.tolist(), strict=True))
    wanted = {(places[one], places[other]) for one, other in graph.edges}
    assert found == wanted | {(other, one) for one, other in wanted} | {(node, node) for node in places.values()}


_READ = """
import gc, os, resource, sys, warnings
warnings.simplefilter("ignore")
from withstand.data.graphs.tables import EdgeList
from withstand.data.tables.source import TableSource
read = EdgeList if sys.argv[1] == "graph" else TableSource
def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, large = sys.argv[2:]
read(small)
before = resident()
found = read(large)
grown = resident() - before
if read is TableSource:
    kept = sum(held.nbytes for held in (found._coded.values, found._coded.missing, found._coded.codes, found.rows))
else:
    kept = sum(held.nbytes for held in found.graph().tensors().values())
print(grown, kept, os.path.getsize(large))
"""


def _column(kind: str, count: int, draws: np.random.Generator) -> list[str]:
    numbers = draws.integers(0, 10**6, count)
    return {
        "digit": [str(one % 10) for one in numbers.tolist()],
        "number": [f"{one:.4f}" for one in draws.normal(size=count).tolist()],
        "word": np.array(["red", "green", "blue"])[numbers % 3].tolist(),
        "id": [f"name-{place:09d}" for place in draws.permutation(count).tolist()],
        "node": [str(one) for one in numbers.tolist()],
        "named": [f"node {one}" for one in numbers.tolist()],
    }[kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "columns", "rows"),
    [
        ("table", ["digit"] * 30, 200_000),
        ("table", ["number"] * 10, 200_000),
        ("table", ["word"] * 10, 300_000),
        ("table", ["id", "number"], 800_000),
        ("graph", ["node", "node"], 1_000_000),
        ("graph", ["named", "named", "digit"], 700_000),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_reading_a_large_file_takes_thrice_its_size_beside_what_is_kept(tmp_path: Path, kind, columns, rows):
    draws = np.random.default_rng(0)
    for name, count in (("small.csv", 50), ("large.csv", rows)):
        made = [_column(column, count, draws) for column in columns]
        head = ",".join(
            [f"h{place}" for place in range(len(columns))] if kind == "table" else ("source", "target", "w")
        )
        lines = [",".join(row) for row in zip(*made, strict=True)]
        head = ",".join(head.split(",")[: len(columns)])
        (tmp_path / name).write_text("\n".join([head, *lines]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _READ, kind, tmp_path / "small.csv", tmp_path / "large.csv"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    grown, kept, size = map(int, done.stdout.split())
    assert grown <= 3 * size + kept + (32 << 20), f"{grown / size:.2f} times the file, {kept / size:.2f} of them kept"
