"""Graphs in files of NetworkX: GraphML and JSON of nodes and links; names, types and ends swapped."""

import io
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import networkx

from benchmarks.fuzz.reader import Reader
from withstand.data.graphs.network_file import GraphFile

_WORDS = ("", "0", "-1", "nan", "1e999", "é", "a" * 3000, "true", "99999999999999999999", "]]>", "&amp;", "<x/>")


def _graph(draws: Random) -> "networkx.Graph":
    made = networkx.gnp_random_graph(
        draws.choice((12, 60)), 0.2, seed=draws.randrange(1 << 30), directed=draws.random() < 0.3
    )
    for node, own in made.nodes(data=True):
        own |= {"size": draws.random() + node, "word": "abc"[node % 3], "label": node % 2}
        if draws.random() < 0.1:
            own.pop(draws.choice(("size", "word")))
    return made


def _written(made: "networkx.Graph", draws: Random) -> bytes:
    if draws.random() < 0.5:
        return json.dumps(networkx.node_link_data(made, edges="links")).encode()
    file = io.BytesIO()
    networkx.write_graphml(made, file)
    return file.getvalue()


def valid(draws: Random) -> bytes:
    return _written(_graph(draws), draws)


def twisted(draws: Random) -> bytes:
    """Draw a file in which words stand for other words."""
    text = valid(draws).decode()
    for _ in range(draws.choice((1, 3))):
        old = draws.choice(("id", "source", "target", "size", "double", "label", "node", "edge", '"1"', "0", "word"))
        new = draws.choice((*_WORDS, "id", "node", "edge", "key", "int", "[1]", "{}", "null"))
        text = text.replace(old, new, draws.choice((1, 1, -1)))
    return text.encode()


def read(path: Path) -> object:
    """Read the file by the ending that its first character fits."""
    content = path.read_bytes()
    with TemporaryDirectory() as folder:
        named = Path(folder) / f"graph{'.graphml' if content.lstrip()[:1] == b'<' else '.json'}"
        named.write_bytes(content)
        found = GraphFile(str(named))
        return found[range(min(4, len(found)))]


READER = Reader(".graph", valid, twisted, read, times=20)
