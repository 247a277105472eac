"""Pretext tasks on one graph (SelfTask, Jin et al., 2020): what can be asked of node embeddings without labels.

Each task prepares its targets once, from the graph alone, and turns a linear head's outputs into a loss.
Sizes: `N` nodes, `F` features, `P` pairs, `D` embedding width, `C` classes.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.core.random import Draws
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern, Sparse
from withstand.data.graphs.structure.hops import centres, hops_from, nearness, regions
from withstand.losses.precision import unit_rows

Targets = Mapping[str, Tensor]

WHOLE = 5000
"""Nodes up to which all pairs' distances are known; of larger graphs, those from 1,000 nodes."""


class Task(Part):
    """Something to ask of node embeddings, besides their labels."""

    @abstractmethod
    def outputs(self, features: int, classes: int) -> int:
        """Return how many numbers the head gives."""

    def change(self, graphs: Graphs, labels: Tensor, draws: Draws) -> Graphs:
        """Return the graph that the encoder sees, the same at every step."""
        return graphs

    @abstractmethod
    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        """Return what the loss compares with.

        Args:
            graphs: the graph as it is.
            labels: known ones, -1 elsewhere, int64 `(N,)`.
            classes: C.
            draws: one stream, for what is drawn once; `change` gets the same.
        """

    @abstractmethod
    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        """Return the loss, 0-d.

        Args:
            head: linear.
            z: embeddings `(N, D)`.
            targets: as prepared.
            draws: one stream, new at every step.
        """


def of_pairs(head: nn.Module, z: Tensor, pairs: Tensor) -> Tensor:
    """Return the head's outputs on |z_u - z_v| of pairs `(P, 2)`; u and v may change places."""
    found: Tensor = head((z[pairs[:, 0]] - z[pairs[:, 1]]).abs())
    return found


def _some(count: int, most: int, draws: Draws) -> Tensor:
    """Return `min(count, most)` places below `count`, drawn with repetition where there are more."""
    if count <= most:
        return torch.arange(count, device=draws.device)
    return draws.integers(0, count, most)[0]


@dataclass(frozen=True)
class NodeDegree(Task):
    """Tell each node's number of neighbors, standardised (squared error), or which quarter of degrees it is in.

    The official code has three classes of fixed cuts; the paper regresses.

    Args:
        by: "value" or "quarter".
    """

    by: Literal["value", "quarter"] = "value"

    def outputs(self, features: int, classes: int) -> int:
        return 1 if self.by == "value" else 4

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        degree = (graphs.edges.lengths - 1).float()
        if self.by == "value":
            return {"degree": (degree - degree.mean()) / degree.std().clamp_min(1e-6)}
        cuts = degree.quantile(torch.tensor([0.25, 0.5, 0.75], device=degree.device))
        return {"degree": torch.bucketize(degree, cuts)}

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        found = head(z)
        return mse_loss(found[:, 0], targets["degree"]) if self.by == "value" else cross_entropy(
            found, targets["degree"]
        )  # fmt: skip


@dataclass(frozen=True)
class EdgeMask(Task):
    """Drop some edges once, train on the rest, and tell dropped edges from pairs that none joins.

    Args:
        rate: share of the edges that are dropped, both directions together.
    """

    rate: float = 0.1

    def outputs(self, features: int, classes: int) -> int:
        return 2

    def _dropped(self, edges: Pattern, draws: Draws) -> Tensor:
        """Return the places of dropped edges whose row is above their column."""
        once = (edges.row > edges.column).nonzero()[:, 0]
        order = draws.child("edges").bits(len(once))[0].argsort()
        return once[order[: max(1, int(self.rate * len(once)))]]

    def change(self, graphs: Graphs, labels: Tensor, draws: Draws) -> Graphs:
        edges = graphs.edges
        dropped = self._dropped(edges, draws)
        keys = edges.row * edges.columns + edges.column
        row, column = edges.row[dropped], edges.column[dropped].long()
        gone = torch.cat([row * edges.columns + column, column * edges.columns + row])
        return replace(graphs, edges=edges.keep(~torch.isin(keys, gone)))

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        edges = graphs.edges
        dropped = self._dropped(edges, draws)
        linked = torch.stack([edges.row[dropped], edges.column[dropped].long()], 1)
        ends = draws.child("others").integers(0, graphs.size, 4 * len(linked) + 16, 2)[0]
        keys = edges.row * edges.columns + edges.column
        apart = ~torch.isin(ends[:, 0] * edges.columns + ends[:, 1], keys)  # every node has an edge to itself
        return {"linked": linked, "apart": ends[apart][: len(linked)]}

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        pairs = torch.cat([targets["linked"], targets["apart"]])
        told = torch.arange(len(pairs), device=z.device) < len(targets["linked"])
        return cross_entropy(of_pairs(head, z, pairs), told.long())


@dataclass(frozen=True)
class PairwiseDistance(Task):
    """Tell how far apart two nodes are: 1, 2, 3 hops, or more (or no way at all).

    Args:
        pairs: of each class, drawn anew at every step.
    """

    pairs: int = 4000

    def outputs(self, features: int, classes: int) -> int:
        return 4

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        nodes = torch.arange(graphs.size, device=graphs.edges.device)
        sources = nodes if graphs.size <= WHOLE else draws.child("sources").bits(graphs.size)[0].argsort()[:1000]
        hops = hops_from(graphs.edges, sources, 3).clamp_max(4)
        hops[nodes[:, None] >= sources[None, :]] = 0  # each pair once
        found = {}
        for place in range(4):
            rows, columns = (hops == place + 1).nonzero(as_tuple=True)
            found[str(place)] = torch.stack([rows, sources[columns]], 1).int()
        return found

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        chosen = [pairs[_some(len(pairs), self.pairs, draws.child(place))].long() for place, pairs in targets.items()]
        told = torch.repeat_interleave(torch.arange(4), torch.tensor([len(pairs) for pairs in chosen])).to(z.device)
        return cross_entropy(of_pairs(head, z, torch.cat(chosen)), told)


@dataclass(frozen=True)
class DistanceToClusters(Task):
    """Tell how near each node is to the centres of some regions: 1 / hops, 0 where there is no way.

    Regions are grown round hubs (METIS in the paper: any division will do); a centre is the region's node with most
    neighbors inside, by its place in the graph (the official code takes its place in the region).

    Args:
        count: of regions.
    """

    count: int = 10

    def outputs(self, features: int, classes: int) -> int:
        return self.count

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        if self.count > graphs.size:
            raise ConfigError(f"{self.count} regions cannot be made of {graphs.size} nodes")
        near = nearness(hops_from(graphs.edges, centres(graphs.edges, regions(graphs.edges, self.count))))
        return {"near": torch.nn.functional.pad(near, (0, self.count - near.shape[1]))}

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        return mse_loss(head(z), targets["near"])


@dataclass(frozen=True)
class AttributeMask(Task):
    """Blank the features of some unlabelled nodes once, and tell them, or their principal components.

    Args:
        rate: share of the unlabelled nodes.
        components: how many principal components are told; None for the features themselves.
    """

    rate: float = 0.1
    components: int | None = None

    def outputs(self, features: int, classes: int) -> int:
        return features if self.components is None else min(self.components, features)

    def _blank(self, labels: Tensor, draws: Draws) -> Tensor:
        free = (labels < 0).nonzero()[:, 0]
        if not len(free):
            raise ConfigError("features are blanked of nodes without a label, and every node has one")
        return free[draws.child("blank").bits(len(free))[0].argsort()[: max(1, int(self.rate * len(free)))]]

    def change(self, graphs: Graphs, labels: Tensor, draws: Draws) -> Graphs:
        rows = torch.arange(graphs.size, device=labels.device)
        rows[self._blank(labels, draws)] = -1
        if isinstance(graphs.x, Sparse):
            return graphs.with_x(graphs.x.take(rows))
        return graphs.with_x(torch.where(rows[:, None] < 0, 0, graphs.x))

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        x, blank = graphs.dense(), self._blank(labels, draws)
        if self.components is not None:
            centred = x - x.mean(0)
            axes = torch.linalg.eigh(centred.double().t() @ centred.double()).eigenvectors
            x = (centred.double() @ axes.flip(1)[:, : self.components]).float()
        return {"blank": blank, "clean": x[blank]}

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        return mse_loss(head(z[targets["blank"]]), targets["clean"])


@dataclass(frozen=True)
class PairwiseSimilarity(Task):
    """Tell how alike two nodes' features are: their cosine.

    Args:
        each: of a node's most alike, least alike and other nodes, so many are candidates.
        pairs: drawn of the candidates at every step.
    """

    each: int = 3
    pairs: int = 5000

    def outputs(self, features: int, classes: int) -> int:
        return 1

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        unit = unit_rows(graphs.dense())
        most = min(self.each, graphs.size - 1)
        parts = []
        for start in range(0, graphs.size, 1024):
            rows = torch.arange(start, min(start + 1024, graphs.size), device=unit.device)
            alike = unit[rows] @ unit.t()
            alike[torch.arange(len(rows)), rows] = torch.nan
            high = alike.nan_to_num(-2).topk(most).indices
            low = alike.nan_to_num(2).topk(most, largest=False).indices
            parts.append(torch.cat([high, low], 1))
        near = torch.cat(parts)
        others = draws.child("others").integers(0, graphs.size, graphs.size, most)[0]
        ends = torch.cat([near, others], 1)
        starts = torch.arange(graphs.size, device=unit.device)[:, None].expand_as(ends)
        pairs = torch.stack([starts.flatten(), ends.flatten()], 1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        return {"pairs": pairs, "alike": (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1)}

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        chosen = _some(len(targets["pairs"]), self.pairs, draws)
        return mse_loss(of_pairs(head, z, targets["pairs"][chosen])[:, 0], targets["alike"][chosen])
