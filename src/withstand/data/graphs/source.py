"""One graph as a source: its samples are its nodes.

A batch holds the whole graph and names the nodes that it asks for, so that messages can pass; nothing is copied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError, nearest
from withstand.core.random import permutation
from withstand.core.roles import Indices, Source
from withstand.data.derived.subset import Held, Labelled, Subset, in_whole
from withstand.data.graphs.clean import (
    Counts,
    as_features,
    check_features,
    clean_edges,
    degree_features,
    unit_sum_rows,
)
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.weights import weighted
from withstand.data.shared.digest import as_indices
from withstand.data.shared.labels import read_labels
from withstand.data.shared.rounding import Rounding

PARTS = ("train", "validation", "test")


class GraphSource(Source):
    """The nodes of one graph, labelled or not.

    Edges are made undirected unless told otherwise, duplicates are dropped, and every node gets one edge to itself;
    `counts` says what was found. Isolated nodes stay.

    Args:
        edges: (sources, targets), whole numbers `(2, E)`; an array or a tensor.
        features: `(N, F)`: an array, a tensor or a SciPy sparse matrix; without them each node has its degree, as one
            feature a degree.
        labels: as `data.labels` reads them, `(N,)`; -1 beside numbers from 0, or None, for a node without one.
        nodes: N, where there are no features.
        parts: which nodes belong to "train", "validation" and "test": places or masks.
        directed: keep the edges' directions.
        normalize: divide each node's features by their sum.
        classes: the names of labels 0, 1, ...
        weights: of the edges, above 0, `(E,)`: one of weight w counts as w edges. See `weights.weighted` for edges that
            are listed several times. None for edges that count once.

    Attributes:
        of_degrees: whether features are the nodes' degrees.
        directed: as given.

    Raises:
        DataError: edges that point outside, shapes or types that do not fit, NaN, parts that overlap or lack labels.

    >>> source = GraphSource(torch.tensor([[0, 1], [1, 2]]), torch.eye(3))
    >>> len(source), source.counts.edges
    (3, 4)
    """

    kind = "node"

    counts: Counts
    of_degrees: bool
    directed: bool

    def __init__(
        self,
        edges: Any,
        features: Any = None,
        labels: Any = None,
        *,
        nodes: int | None = None,
        parts: Mapping[str, Any] | None = None,
        directed: bool = False,
        normalize: bool = False,
        classes: Sequence[str] = (),
        weights: Any = None,
    ) -> None:
        x = None if features is None else as_features(features)
        if isinstance(features, np.ndarray | Tensor) and features.ndim == 2 and x is not None:
            seen = Rounding()
            seen.see(torch.as_tensor(features).detach().cpu().to_dense())
            self.origin = f"{self.origin}; features: {seen.told}" if seen.told else self.origin
        self.of_degrees, self.directed = x is None, directed
        size = len(x) if x is not None else nodes
        if size is None:
            raise DataError("a graph without features needs nodes=, the number of its nodes")
        if nodes is not None and nodes != size:
            raise DataError(f"nodes={nodes}, but there are features of {size} nodes")
        ends = torch.as_tensor(np.asarray(edges))
        pattern, self.counts = clean_edges(ends, size, directed=directed)
        if weights is not None:
            pattern, said = weighted(pattern, ends, weights, directed=directed)
            self.origin = f"{self.origin}; {said}"
        del ends
        if x is None:
            x = degree_features(pattern)
            self.origin = f"{self.origin}; no features: degrees stand for them"
        check_features(x)
        self._graph = Graphs(unit_sum_rows(x) if normalize else x, pattern)
        self._labels, self._classes = None, tuple(classes)
        if labels is not None:
            read = read_labels(labels, size, self._classes, name="labels")
            self._labels, self._classes = read.y, read.classes
            if read.note:
                self.origin = f"{self.origin}; {read.note}"
        self._parts = {name: _rows(name, rows, size) for name, rows in (parts or {}).items()}
        self._check_parts()
        self.name, self.at_once = "graph", size
        self.origin = f"{self.origin}; {self.counts}"

    @classmethod
    def example(cls) -> Self:
        generator, count = torch.Generator().manual_seed(0), 24
        edges = torch.randint(0, count, (2, 3 * count), generator=generator)
        parts = {"train": range(8), "validation": range(8, 16), "test": range(16, 24)}
        return cls(
            edges,
            torch.rand(count, 4, generator=generator),
            torch.arange(count) % 3,
            parts={name: list(rows) for name, rows in parts.items()},
        )

    def _check_parts(self) -> None:
        taken = torch.zeros(len(self), dtype=torch.int64)
        for name, rows in self._parts.items():
            if name not in PARTS:
                raise DataError(f"there is no part {name!r}: {nearest(name, PARTS)}")
            taken[rows] += 1
            if self._labels is not None and bool((self._labels[rows] < 0).any()):
                lacking = int((self._labels[rows] < 0).sum())
                raise DataError(f"{lacking} node(s) of the part {name!r} have no label: leave them out of it")
        if bool((taken > 1).any()):
            raise DataError(f"{int((taken > 1).sum())} node(s) belong to more than one of {', '.join(self._parts)}")

    def __len__(self) -> int:
        return self._graph.size

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(
            self.graph(chosen).as_samples(), chosen, None if self._labels is None else self._labels[chosen]
        )  # fmt: skip

    def graph(self, targets: Tensor | None = None) -> Graphs:
        """Return the whole graph, with these nodes as samples; all in order when none are named."""
        chosen = torch.arange(len(self)) if targets is None else targets
        whole = self._graph
        return Graphs(whole.x, whole.edges, targets=chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._graph.features,)

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that the graph comes with."""
        return tuple(self._parts)

    def part(self, name: str) -> "GraphPart":
        """Return the nodes of a part.

        Raises:
            DataError: the graph has no such part.
        """
        return GraphPart(self, name)

    def rows(self, name: str) -> Tensor:
        """Return the places of a part's nodes, int64.

        Raises:
            DataError: the graph has no such part.
        """
        if name not in self._parts:
            known = nearest(name, self._parts) if self._parts else "it has none"
            raise DataError(f"the graph has no part {name!r}: {known}")
        return self._parts[name]

    def fingerprint(self) -> str:
        state = blake2b(repr((len(self), self.shape, self._classes)).encode(), digest_size=16)
        tensors = self._graph.tensors() | {f"part {name}": rows for name, rows in self._parts.items()}
        if self._labels is not None:
            tensors["labels"] = self._labels
        for name, value in sorted(tensors.items()):
            state.update(name.encode() + value.contiguous().numpy().tobytes())
        return state.hexdigest()


class GraphPart(Subset):
    """The nodes of one of a graph's own parts.

    Args:
        source: the graph.
        name: "train", "validation" or "test".

    Raises:
        DataError: the graph has no such part.
    """

    def __init__(self, source: GraphSource, name: str) -> None:
        super().__init__(source, source.rows(name))


class SeenLabels(Subset):
    """A whole graph of which the labels of the train part are seen, and -1 stands for the others.

    Args:
        source: the graph, with a part "train".
        per_class: how many labels of each class are seen; None for all of the part.
        seed: chooses which those are.
        kept: of a graph without parts, the share of each class's labelled nodes that `kept_nodes` gives; the others
            are the train part. None where the graph has its own.

    Raises:
        DataError: no labels, no such part, or a class with fewer labels in it.
    """

    def __init__(
        self, source: GraphSource, per_class: int | None = None, seed: int = 0, *, kept: float | None = None
    ) -> None:
        super().__init__(source, range(len(source)))
        if source.labels is None:
            raise DataError("the graph has no labels to see")
        rows = source.rows("train") if kept is None else in_whole(Held(Labelled(source), "train", fraction=kept))[1]
        if per_class is not None:
            order = rows[permutation(len(rows), seed, "labels")]
            groups = [order[source.labels[order] == label] for label in range(int(source.labels.max()) + 1)]
            least = min(map(len, groups))
            if not 1 <= per_class <= least:
                raise DataError(f"{per_class} labels of each class cannot be seen: the train part has {least} of one")
            rows = torch.cat([group[:per_class] for group in groups])
        self._seen = torch.full((len(source),), -1)
        self._seen[rows] = source.labels[rows]

    def __getitem__(self, indices: Indices) -> Batch:
        batch = super().__getitem__(indices)
        return replace(batch, y=self._seen[batch.index])

    @property
    def labels(self) -> Tensor | None:
        return self._seen

    def fingerprint(self) -> str:
        return blake2b(super().fingerprint().encode() + self._seen.numpy().tobytes(), digest_size=16).hexdigest()


def kept_nodes(source: GraphSource, share: float) -> Source:
    """Return a share of each class's labelled nodes, the same at every call, to judge what learns from the others.

    Raises:
        DataError: the graph has parts of its own.
    """
    if source.parts:
        raise DataError(f"the graph has a split of its own ({', '.join(source.parts)}), so that no share is held out")
    return Held(Labelled(source), "test", fraction=share)


def _rows(name: str, rows: Any, size: int) -> Tensor:
    """Return the places of a part's nodes; 0 and 1 for every node, of any whole type, are a mask."""
    found = torch.as_tensor(np.asarray(rows))
    if found.dtype == torch.bool:
        if found.shape != (size,):
            raise DataError(f"the mask of {name!r} has shape {tuple(found.shape)} for {size} nodes")
        return found.nonzero()[:, 0]
    if found.shape == (size,) and not found.is_floating_point() and bool(((found == 0) | (found == 1)).all()):
        if size <= 2 and len(torch.unique(found)) == size:
            raise DataError(f"{found.tolist()} may be places or a mask of {name!r}: give a mask as booleans")
        return found.nonzero()[:, 0]
    try:
        places = as_indices(found, size)
    except IndexError as error:
        raise DataError(f"the part {name!r} cannot be taken: {error}") from None
    if len(torch.unique(places)) < len(places):
        raise DataError(f"the part {name!r} names a node twice")
    return places
