"""Views of graphs: hidden node features, dropped edges, sampled neighborhoods.

They take and give `Graphs` (`batch.x`); `GraphViews` runs some in turn and makes the outcome the batch's view.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import GraphSource
from withstand.data.graphs.sparse import Pattern, Sparse


class GraphView(View):
    """A change of graphs."""

    @abstractmethod
    def change(self, graphs: Graphs, draws: Draws) -> Graphs:
        """Return the changed graphs; `draws` are the samples'."""

    def example_batch(self) -> Batch:
        return GraphSource.example()[torch.arange(10, 20)]

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_x(self.change(Graphs.of(batch.x), draws).as_samples())


@dataclass(frozen=True)
class GraphViews(View):
    """Graph views one after another; the outcome is view 0, and `batch.x` stays. View i draws from `draws.child(i)`."""

    views: tuple[GraphView, ...]

    @classmethod
    def example(cls) -> Self:
        return cls((SampleNeighbors((3, 3)), DropEdges(0.2), MaskNodes(0.5)))

    def example_batch(self) -> Batch:
        return self.views[0].example_batch()

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        graphs = Graphs.of(batch.x)
        for place, view in enumerate(self.views):
            graphs = view.change(graphs, draws.child(place))
        return batch.with_views(graphs.as_samples())


@dataclass(frozen=True)
class MaskNodes(GraphView):
    """Hide the features of some nodes (GraphMAE, Hou et al., 2022): exactly int(rate N) of them.

    Of the hidden ones int(replace times their number) get the features of another node, drawn from all without
    repetition; the rest are left blank for a learnt vector. Where samples are nodes, only they are hidden.

    Args:
        rate: share of nodes that are hidden.
        replace: share of the hidden ones that are replaced.
    """

    rate: float = 0.5
    replace: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "replace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], not {getattr(self, name)!r}: it is a share")

    def change(self, graphs: Graphs, draws: Draws) -> Graphs:
        candidates = _candidates(graphs)
        masked = candidates[_order(graphs, draws.child("masked"))[: int(self.rate * len(candidates))]].sort().values
        count = int(self.replace * len(masked))
        ranks = torch.full((graphs.size,), graphs.size, device=masked.device)
        ranks[candidates[_order(graphs, draws.child("replaced"))]] = torch.arange(len(candidates), device=masked.device)
        by_rank = masked[ranks[masked].argsort()]
        replaced, blank = by_rank[:count], by_rank[count:].sort().values
        others = candidates[_order(graphs, draws.child("others"))[:count]]
        rows = torch.arange(graphs.size, device=masked.device)
        rows[replaced], rows[blank] = others, -1
        return replace(
            graphs, x=_take(graphs.x, rows), masked=masked, blank=blank, clean=_take(graphs.x, masked)
        )  # fmt: skip


@dataclass(frozen=True)
class DropEdges(GraphView):
    """Drop each directed edge with a probability; a node's edge to itself stays, and `whole` keeps all.

    Edges belong to no sample: the first one's draws decide.

    Args:
        rate: the probability.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"rate must lie in [0, 1), not {self.rate!r}: it is a probability")

    def change(self, graphs: Graphs, draws: Draws) -> Graphs:
        edges = graphs.edges
        kept = draws[slice(1)].uniform(len(edges))[0] >= self.rate
        kept |= edges.row == edges.column
        return replace(graphs, edges=edges.keep(kept), whole=graphs.whole or edges)


@dataclass(frozen=True)
class SampleNeighbors(GraphView):
    """Keep a neighborhood of the target nodes, for graphs too large to be passed through whole.

    Hop by hop, each node that was reached takes all nodes that send to it, or, where they are more than the hop's
    number, that many draws of them (repeated draws count once).

    Args:
        most: neighbors of a node, at each hop.
    """

    most: tuple[int, ...] = (10, 10)

    @classmethod
    def example(cls) -> Self:
        return cls((2, 2))

    def __post_init__(self) -> None:
        if not self.most or min(self.most) < 1:
            raise ConfigError(f"most must name at least 1 neighbor for each hop, not {self.most!r}")

    def change(self, graphs: Graphs, draws: Draws) -> Graphs:
        if graphs.targets is None:
            raise ConfigError("neighborhoods are sampled of nodes, and these samples are whole graphs")
        edges, seed = graphs.edges, int(draws[slice(1)].bits(1))
        place = torch.full((graphs.size,), -1, device=edges.device)
        reached = [graphs.targets]
        place[graphs.targets] = torch.arange(len(graphs.targets), device=edges.device)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for hop, most in enumerate(self.most):
            frontier = reached[-1]
            target, places = _some_neighbors(edges, frontier, most, Draws(seed, frontier, epoch=hop))
            source = edges.column[places].long()
            new = torch.unique(source[place[source] < 0])
            place[new] = sum(map(len, reached)) + torch.arange(len(new), device=edges.device)
            reached.append(new)
            found.append((place[target], place[source], edges.counts()[places]))
        nodes = torch.cat(reached)
        own = torch.arange(len(nodes), device=edges.device)
        row, column, counts = (torch.cat(parts) for parts in zip(*found, (own, own, torch.ones_like(own)), strict=True))
        keys, rank = torch.unique(row * len(nodes) + column, return_inverse=True)
        weight = (
            None if edges.weight is None else edges.weight.new_empty(len(keys)).index_copy_(0, rank, counts.float())
        )
        return Graphs(
            x=_take(graphs.x, nodes),
            edges=Pattern.of(keys // len(nodes), keys % len(nodes), len(nodes), len(nodes), weight),
            targets=own[: len(graphs.targets)],
            nodes=nodes if graphs.nodes is None else graphs.nodes[nodes],
        )


def _some_neighbors(edges: Pattern, nodes: Tensor, most: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return the targets and the places of up to `most` edges that reach each of the nodes."""
    degree = edges.lengths[nodes][:, None]
    ranks = torch.arange(most, device=nodes.device)
    ranks = torch.where(degree > most, (draws.uniform(most) * degree).long(), ranks)
    held = ranks < degree
    places = (edges.start[nodes].long()[:, None] + ranks)[held]
    return nodes[:, None].expand(-1, most)[held], places


def _candidates(graphs: Graphs) -> Tensor:
    """Return the nodes that may be hidden: the targets, or all."""
    return torch.arange(graphs.size, device=graphs.edges.device) if graphs.targets is None else graphs.targets


def _order(graphs: Graphs, draws: Draws) -> Tensor:
    """Return a random order of the candidates; each sample draws for its own nodes."""
    if graphs.targets is not None:
        return draws.bits(1)[:, 0].argsort()
    sizes = torch.bincount(graphs.membership, minlength=graphs.count)
    most = int(sizes.max())
    return draws.bits(most)[torch.arange(most, device=sizes.device) < sizes[:, None]].argsort()


def _take(x: Tensor | Sparse, rows: Tensor) -> Tensor | Sparse:
    """Return rows of features; a place below 0 gives zeros."""
    if isinstance(x, Sparse):
        return x.take(rows)
    return torch.where(rows[:, None] < 0, 0, x[rows.clamp_min(0)])
