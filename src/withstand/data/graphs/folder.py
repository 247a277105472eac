"""A folder of graphs as a source: a file a graph, or the text files of the TU collection."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.data.beside.keys import find, texts
from withstand.data.graphs.reading.attributes import Learnt, NodeColumns, NodeFacts, node_facts, refuse_unlike
from withstand.data.graphs.reading.formats import GRAPH_FILES, read_graph
from withstand.data.graphs.reading.several import OneGraph, classes_of, facts_of_nodes, joined
from withstand.data.graphs.sets import GraphSet
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Frame, short
from withstand.data.tables.schema import Schema

_TABLES = ("labels.csv", "labels.tsv", "labels.parquet", "labels.feather")
_INDICATOR = "_graph_indicator.txt"


class GraphFolder(GraphSet):
    """Graphs in a folder, a file each: GraphML, GEXF, GML, node-link JSON, edge lists; or files of the TU collection.

    Beside an edge list `NAME.csv`, `NAME.nodes.csv` holds its nodes. A graph's class is what a table `labels.csv` in
    the folder says of its file; else a fact of the graph itself in its file; else, where all lie in folders, the
    folder's name. Files of the TU collection are `NAME_A.txt`, `NAME_graph_indicator.txt` and, as far as there are
    some, `NAME_graph_labels.txt`, `NAME_node_labels.txt` and `NAME_node_attributes.txt`.

    Args:
        path: the folder.
        label: the column of the table, or the graphs' fact, that is the class; found by its name if None.
        directed: keep the directions of edges in edge lists and files of the TU collection.
        columns: how nodes' attributes are read.
        schema: read them as those of another set were.
        classes: that set's classes.

    Raises:
        DataError: no graphs in the folder, a file that cannot be read, a table that names none of them, and all that
            `node_facts` refuses.
    """

    def __init__(
        self,
        path: str,
        *,
        label: str | None = None,
        directed: bool = False,
        columns: NodeColumns = NodeColumns(),  # noqa: B008 - a frozen value
        schema: Schema | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        folder = Path(path)
        learnt = Learnt(schema, tuple(classes)) if schema is not None or classes else None
        indicator = next(iter(sorted((*folder.glob(f"*{_INDICATOR}"), *folder.glob(f"raw/*{_INDICATOR}")))), None)
        if indicator is not None:
            edges, member, labels, facts = _collection(indicator, columns, learnt)
            names, said = [str(place) for place in range(int(member.max()) + 1)], "files of the TU collection"
        else:
            graphs = _graphs(folder)
            edges, member = joined(graphs)
            facts = facts_of_nodes(graphs, columns, learnt=learnt)
            names = [graph.name for graph in graphs]
            labels, said = _classes(folder, graphs, label)
            directed = directed or any(graph.directed for graph in graphs)
            unread = sorted({name for graph in graphs for name in graph.edges})
            said += f"; not used: the edges' {', '.join(unread[:6])}" if unread else ""
        super().__init__(edges, member, facts.features, labels, directed=directed, classes=classes)
        self.name, self.origin = folder.name, f"the folder {folder.name} ({said}); {len(self):,} graphs, {self.counts}"
        if facts.features is None:
            self.origin += "; no features: degrees stand for them"
        self.names, self.account = tuple(names), facts.account
        self._facts, self._label, self._directed = facts, label, directed

    def like(self, data: Any, split: str = "all") -> "GraphFolder | None":
        """Return another folder of graphs, whose nodes' attributes are read as this one's were; None for other data."""
        if split == "test" or not isinstance(data, str | Path) or not Path(data).expanduser().is_dir():
            return None
        columns = NodeColumns(scale=self._facts.columns.scale)
        found = GraphFolder(
            str(Path(data).expanduser()), label=self._label, directed=self._directed, columns=columns,
            schema=self._facts.schema, classes=self.classes,
        )  # fmt: skip
        refuse_unlike(self._facts, found._facts, Path(data).name)
        return found


def _graphs(folder: Path) -> list[OneGraph]:
    """Return the graphs of a folder's files, by name."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in GRAPH_FILES
        and file.is_file()
        and not file.stem.endswith(".nodes")
        and file.name not in _TABLES
        and not file.name.startswith(".")
    )
    if not files:
        raise DataError(f"{str(folder)!r} holds no graphs: files of {', '.join(GRAPH_FILES)}, one a graph")
    found = [read_graph(file, file.relative_to(folder).as_posix()) for file in files]
    bare = [graph.name for graph in found if not graph.attributes]
    if bare and len(bare) < len(found):
        raise DataError(
            f"{len(bare)} of {len(found)} graphs have no attributes of nodes, and others have: the first is {bare[0]}"
        )
    return found


def _classes(folder: Path, graphs: Sequence[OneGraph], label: str | None) -> tuple[Any, str]:
    """Return the graphs' classes, None or "" for none, and where they were found, in words."""
    table = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if table is not None:
        return _from_table(table, [graph.name for graph in graphs], label), f"classes in {table.name}"
    told, fact = classes_of(graphs, label)
    if told is not None:
        return told, f"classes in the graphs' {fact}"
    folders = [graph.name.partition("/")[0] if "/" in graph.name else "" for graph in graphs]
    if len(set(folders)) > 1 and all(folders):
        return folders, "classes by folder"
    return None, "no classes"


def _from_table(path: Path, names: Sequence[str], label: str | None) -> list[str]:
    """Return the class that a table names for each graph, "" for none.

    Raises:
        DataError: a table of one column, or of several that may hold the class; one that names no graph.
    """
    frame, _ = read_file(path)
    columns = list(frame.columns)
    others = [label] if label is not None else columns[1:]
    if len(columns) < 2 or len(others) != 1 or others[0] not in columns:
        raise DataError(f"{path.name} has the columns {', '.join(map(short, columns))}: a graph's file, and its class; "
                        "--target says which is the class")  # fmt: skip
    keys, told = texts(frame.columns[columns[0]]), texts(frame.columns[others[0]])
    stems = [Path(name).with_suffix("").as_posix() for name in names]
    places, by_stem = (find(keys, [("", known)]).tolist() for known in (names, stems))
    found = [""] * len(names)
    for place, other, word in zip(places, by_stem, told, strict=True):
        row = place if place >= 0 else other
        if row >= 0:
            found[row] = word or ""
    if not any(found):
        raise DataError(
            f"{path.name} names none of the graphs, such as {short(names[0])}, in column {short(columns[0])}"
        )
    return found


def _collection(
    indicator: Path, columns: NodeColumns, learnt: Learnt | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any, NodeFacts]:
    """Return edges, each node's graph, classes and nodes' facts from files of the TU collection, which count from 1."""
    stem = indicator.name.removesuffix(_INDICATOR)

    def read(what: str, width: int) -> npt.NDArray[np.float64] | None:
        path = indicator.with_name(f"{stem}_{what}.txt")
        if not path.is_file():
            return None
        try:
            return np.loadtxt(path, delimiter=",", ndmin=2)
        except ValueError as error:
            raise DataError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None

    member, edges = read("graph_indicator", 1), read("A", 2)
    if member is None or edges is None or edges.shape[1] != 2:
        raise DataError(f"{str(indicator.parent)!r} lacks {stem}_A.txt, with an edge's two nodes on each line")
    belongs = member[:, 0].astype(np.int64) - 1
    order = np.argsort(belongs, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    labels, kinds, numbers = read("graph_labels", 1), read("node_labels", 1), read("node_attributes", 1)
    held: dict[str, Any] = {}
    for name, values in (("label", kinds), ("attribute", numbers)):
        if values is not None:
            if len(values) != len(belongs):
                raise DataError(f"{stem} has {name}s of {len(values)} nodes, and {len(belongs)} nodes")
            width = values.shape[1]
            held |= {f"{name} {k + 1}" if width > 1 else name: values[order, k] for k in range(width)}
    asked = columns
    if kinds is not None:
        said = {name: "categorical" for name in held if name.startswith("label")}
        asked = NodeColumns(columns.features, columns.ignore, {**said, **(columns.kinds or {})}, columns.scale)
    facts = node_facts(Frame(held), asked, None, learnt=learnt)
    ends = place[edges.T.astype(np.int64) - 1]
    classes = None if labels is None else labels[:, 0].astype(np.int64)
    return ends, belongs[order], classes, facts
