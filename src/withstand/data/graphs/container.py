"""`Graphs`: the nodes, edges and features of a batch, whether its samples are nodes of one graph or whole graphs.

Sizes: `N` nodes, `F` features of each, `E` directed edges, `B` samples.

Every node has exactly one edge to itself, of weight 1: the layers of the papers count a node among its own neighbors.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import Structured
from withstand.core.errors import DataError
from withstand.data.graphs.sparse import Pattern, Sparse


@dataclass(frozen=True, slots=True, eq=False)
class Graphs(Structured):
    """A batch of graph data.

    Attributes:
        x: the nodes' features `(N, F)`, sparse where most are 0.
        edges: row v holds the nodes that send to v, `(N, N)`.
        targets: the nodes that are the samples, int64 `(B,)`; None where whole graphs are.
        graph: which graph each node belongs to, ascending, int64 `(N,)`; None where there is one.
        count: how many graphs there are.
        nodes: each node's place in the source's graph, int64 `(N,)`, where only some of its nodes are here.
        whole: the edges before some were dropped; None where none were.
        masked: nodes whose features are hidden, and to be told from the rest, int64 `(M,)`.
        blank: those of them whose rows of `x` are empty, for a learnt vector to fill, int64 `(T,)`.
        clean: the hidden features `(M, F)`.
        fill: what the blank rows hold `(F,)`.
    """

    x: Tensor | Sparse
    edges: Pattern
    targets: Tensor | None = None
    graph: Tensor | None = None
    count: int = 1
    nodes: Tensor | None = None
    whole: Pattern | None = None
    masked: Tensor | None = None
    blank: Tensor | None = None
    clean: Tensor | Sparse | None = None
    fill: Tensor | None = None

    @staticmethod
    def of(samples: object) -> "Graphs":
        """Return samples as graphs.

        Raises:
            DataError: they are something else.
        """
        if isinstance(samples, Graphs):
            return samples
        shape = f" of shape {tuple(samples.shape)}" if isinstance(samples, Tensor) else ""
        raise DataError(f"this network reads graphs, not a {type(samples).__name__}{shape}: see withstand find graphs")

    def __len__(self) -> int:
        return self.count if self.targets is None else len(self.targets)

    @property
    def size(self) -> int:
        """N."""
        return self.edges.rows

    @property
    def features(self) -> int:
        """F."""
        return self.x.shape[1]

    @property
    def membership(self) -> Tensor:
        """Which graph each node belongs to, int64 `(N,)`."""
        if self.graph is not None:
            return self.graph
        return torch.zeros(self.size, dtype=torch.int64, device=self.edges.device)

    def dense(self) -> Tensor:
        """Return the features as one tensor `(N, F)`, blank rows filled."""
        x = self.x.dense() if isinstance(self.x, Sparse) else self.x
        if self.fill is None or self.blank is None:
            return x
        blank = torch.zeros(self.size, 1, dtype=torch.bool, device=x.device)
        blank[self.blank] = True
        return torch.where(blank, self.fill, x)

    def with_x(self, x: Tensor | Sparse) -> Self:
        """Return the graphs with other features."""
        return replace(self, x=x)

    def tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                found[item.name] = value
            elif isinstance(value, Sparse):
                found |= {f"{item.name} values": value.values} | _parts(item.name, value.pattern)
            elif isinstance(value, Pattern):
                found |= _parts(item.name, value)
        return found

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Sparse):
                changed[item.name] = value.map(function)
            elif isinstance(value, Tensor) and value.is_floating_point():
                changed[item.name] = function(value)
        return replace(self, **changed)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        if self.edges.device == torch.device(device):
            return self
        changed: dict[str, Any] = {
            item.name: value.to(device)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor | Sparse | Pattern)
        }
        return replace(self, **changed)


def _parts(name: str, pattern: Pattern) -> dict[str, Tensor]:
    found = {f"{name} start": pattern.start, f"{name} column": pattern.column}
    return found if pattern.weight is None else {**found, f"{name} weight": pattern.weight}
