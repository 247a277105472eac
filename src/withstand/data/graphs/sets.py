"""Sets of small graphs as a source: its samples are whole graphs."""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from withstand.core.batch import Batch
from withstand.core.errors import DataError, MissingExtra, nearest
from withstand.core.roles import Indices, Source
from withstand.data.graphs.clean import as_features, clean_edges, degree_features
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.named import compact_file
from withstand.data.graphs.sparse import Pattern, Sparse
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.cache_folder import cache_folder
from withstand.data.shared.digest import as_indices
from withstand.data.shared.labels import read_labels

NAMED_SETS = {
    "mutag": "MUTAG",
    "proteins": "PROTEINS",
    "nci1": "NCI1",
    "enzymes": "ENZYMES",
    "imdb-binary": "IMDBBINARY",
    "imdb-multi": "IMDBMULTI",
}
"""Sets of the TU collection, and their compact files."""

_OFFICIAL = {"imdb-binary": "IMDB-BINARY", "imdb-multi": "IMDB-MULTI"}


class GraphSet(Source):
    """Small graphs, labelled or not; a batch holds the graphs side by side, without edges between them.

    Args:
        edges: (sources, targets) over the nodes of all graphs, `(2, E)`.
        graph: which graph each node belongs to, counting from 0, ascending, `(N,)`.
        features: `(N, F)`; without them each node has its degree, as one feature a degree.
        labels: of the graphs, as `data.labels` reads them, `(B,)`.
        directed: keep the edges' directions.
        classes: the names of labels 0, 1, ...

    Attributes:
        of_degrees: whether features are the nodes' degrees.
        directed: as given.

    Raises:
        DataError: edges that point outside or to another graph, graphs without nodes, shapes or types that do not fit.
    """

    kind = "graph"

    def __init__(
        self,
        edges: Any,
        graph: Any,
        features: Any = None,
        labels: Any = None,
        *,
        directed: bool = False,
        classes: Sequence[str] = (),
    ) -> None:
        member = torch.as_tensor(np.asarray(graph)).long()
        if member.dim() != 1 or not len(member) or int(member[0]) != 0 or bool((member.diff() < 0).any()):
            raise DataError("graph names each node's graph, `(N,)`, counting from 0 and ascending")
        if bool((member.diff() > 1).any()):
            raise DataError(
                f"graph {int(member[:-1][member.diff() > 1][0]) + 1} has no nodes: number graphs without gaps"
            )
        size = len(member)
        pattern, self.counts = clean_edges(torch.as_tensor(np.asarray(edges)), size, directed=directed)
        across = member[pattern.row] != member[pattern.column.long()]
        if bool(across.any()):
            raise DataError(f"{int(across.sum())} edge(s) join nodes of different graphs")
        self.of_degrees, self.directed = features is None, directed
        x = degree_features(pattern) if features is None else as_features(features)
        if len(x) != size:
            raise DataError(f"there are features of {len(x)} nodes and {size} nodes")
        self._x = x.dense() if isinstance(x, Sparse) else x
        self._sizes = torch.bincount(member)
        self._first = self._sizes.cumsum(0) - self._sizes
        # Edges lie graph after graph, and their ends count from the graph's first node.
        self._edges_of = torch.bincount(member[pattern.row], minlength=len(self._sizes))
        self._first_edge = self._edges_of.cumsum(0) - self._edges_of
        self._row = pattern.row - self._first[member[pattern.row]]
        self._column = pattern.column.long() - self._first[member[pattern.row]]
        self._classes = tuple(classes)
        self._labels: Tensor | None = None
        if labels is not None:
            read = read_labels(labels, len(self), self._classes, name="labels")
            self._labels, self._classes = read.y, read.classes
        self.name = "graphs"
        self.origin = f"{self.origin}; {len(self):,} graphs, {self.counts}"

    @classmethod
    def example(cls) -> Self:
        generator, count, nodes = torch.Generator().manual_seed(0), 8, 5
        offset = torch.arange(count).repeat_interleave(2 * nodes) * nodes
        edges = torch.randint(0, nodes, (2, 2 * nodes * count), generator=generator) + offset
        x = torch.rand(count * nodes, 4, generator=generator)
        return cls(edges, torch.arange(count).repeat_interleave(nodes), x, torch.arange(count) % 2)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        sizes, degrees = self._sizes[chosen], self._edges_of[chosen]
        first = sizes.cumsum(0) - sizes
        member = torch.repeat_interleave(torch.arange(len(chosen)), sizes)
        nodes = torch.arange(len(member)) + (self._first[chosen] - first)[member]
        owner = torch.repeat_interleave(torch.arange(len(chosen)), degrees)
        edges = torch.arange(len(owner)) + (self._first_edge[chosen] - (degrees.cumsum(0) - degrees))[owner]
        row = self._row[edges] + first[owner]
        column = self._column[edges] + first[owner]
        counts = torch.bincount(row, minlength=len(nodes))
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        graphs = Graphs(self._x[nodes], Pattern(start, column, len(nodes)), graph=member, count=len(chosen))
        return Batch(graphs.as_samples(), chosen, None if self._labels is None else self._labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._x.shape[1],)

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    def fingerprint(self) -> str:
        state = blake2b(repr((len(self), self.shape, self._classes)).encode(), digest_size=16)
        for value in (self._x, self._sizes, self._row, self._column, self._edges_of, self._labels):
            if value is not None:
                state.update(value.contiguous().numpy().tobytes())
        return state.hexdigest()


class NamedGraphSet(GraphSet):
    """A set of the TU collection: molecules (`mutag`, `nci1`), proteins, casts of films (`imdb-binary`, `imdb-multi`).

    From the compact file `$WITHSTAND_DATA/tu/*.npz` where there is one, else through torch-geometric (extra `graph`).
    Features are each node's label, one of several; casts of films have none, and get degrees.

    Args:
        name: one of `mutag`, `proteins`, `nci1`, `enzymes`, `imdb-binary`, `imdb-multi`.

    Raises:
        DataError: an unknown name, or a set that is neither here nor within reach.
        MissingExtra: a set that is not here, without the extra `graph`.
    """

    def __init__(self, name: str) -> None:
        if name not in NAMED_SETS:
            raise DataError(f"there is no set of graphs {name!r}: {nearest(name, NAMED_SETS)}")
        compact = compact_file("tu", NAMED_SETS[name])
        edges, graph, labels, kinds = _official(name) if compact is None else _compact(compact)
        super().__init__(edges, graph, _kinds_as_features(kinds), labels)
        where = "official files" if compact is None else f"{VARIABLE}: tu/{compact.name}"
        self.name, self.origin = name, f"{where}; {len(self):,} graphs, {self.counts}"

    def __reduce__(self) -> tuple[Callable[[], "NamedGraphSet"], tuple[()]]:
        return partial(NamedGraphSet, self.name), ()


class CompactGraphSet(GraphSet):
    """A set of graphs in one compact `.npz` file: `edge_index` (2, E), `graph_id` and `node_label` (N,), `y` (B,).

    Args:
        path: the file.

    Raises:
        DataError: other keys, or edges that do not fit.
    """

    def __init__(self, path: str) -> None:
        file = Path(path)
        edges, graph, labels, kinds = _compact(file)
        super().__init__(edges, graph, _kinds_as_features(kinds), labels)
        self.name, self.origin = file.stem, f"the file {file.name}; {len(self):,} graphs, {self.counts}"


def _kinds_as_features(kinds: Tensor) -> Tensor | None:
    """Return one feature for each label of a node; None where all nodes have the same."""
    return one_hot(kinds).float() if kinds.numel() and int(kinds.max()) > int(kinds.min()) else None


def _compact(path: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return edges, each node's graph, labels from 0, and each node's label from 0."""
    with np.load(path, allow_pickle=False) as file:
        missing = sorted({"edge_index", "graph_id", "node_label", "y"} - set(file.files))
        if missing:
            raise DataError(f"{str(path)!r} is no compact set of graphs: it lacks {', '.join(missing)}")
        edges, graph, kinds, labels = (
            torch.from_numpy(file[name].astype(np.int64)) for name in ("edge_index", "graph_id", "node_label", "y")
        )
    order = graph.argsort(stable=True)  # some files' nodes are not in the order of their graphs
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return place[edges], _ranks(graph[order]), _ranks(labels), _ranks(kinds[order])


def _official(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    try:
        from torch_geometric.datasets import TUDataset
    except ImportError as error:
        raise MissingExtra(f"the set {name!r}", "torch-geometric", "graph") from error
    root = cache_folder() / "datasets" / "tu"
    try:
        found = TUDataset(str(root), _OFFICIAL.get(name, name.upper()))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is not on this machine and cannot be downloaded ({reason}): set {VARIABLE} to a folder with "
            f"tu/{NAMED_SETS[name]}.npz, or run once where there is a network and copy {str(root)!r}"
        ) from None
    graph = torch.repeat_interleave(torch.arange(len(found)), torch.tensor([item.num_nodes for item in found]))
    first = torch.cumsum(torch.tensor([0, *(item.num_nodes for item in found)]), 0)
    edges = torch.cat([item.edge_index + int(first[place]) for place, item in enumerate(found)], 1)
    kinds = torch.zeros(len(graph), dtype=torch.int64)
    if found.num_node_labels:
        kinds = torch.cat([item.x for item in found])[:, -found.num_node_labels :].argmax(1)
    return edges, graph, torch.cat([item.y for item in found]), kinds


def _ranks(values: Tensor) -> Tensor:
    """Return values numbered from 0 in ascending order."""
    ranks: Tensor = torch.unique(values, return_inverse=True)[1]
    return ranks
