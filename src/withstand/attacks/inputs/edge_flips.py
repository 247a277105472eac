"""Greedy edge flips: what a few added or removed edges at a node do to its classification.

Evasion of a trained node classifier, edge by edge: of all removals at the node and some additions, the one that lowers
its margin most is made (the greedy search of Nettack, Zuegner et al., 2018, without its linear surrogate: each
candidate is tried on the network itself, on the part of the graph that the network sees from the node).

Sizes: `N` nodes, `T` attacked nodes, `C` classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.core.errors import require_at_least
from withstand.core.part import Part
from withstand.core.random import Draws, as_draws
from withstand.core.victims.victim import Victim
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern
from withstand.views.graph import SampleNeighbors

Flip = tuple[int, int]
"""An edge between u and v that is added or removed: both directions, or where edges have one that from v to u."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """What flips did to each attacked node.

    Attributes:
        margins: of the true class over the best other, without flips and after each, `(T, budget + 1)`; below 0 the
            node is wrong.
        flips: those made, in order.
    """

    margins: Tensor
    flips: tuple[tuple[Flip, ...], ...]

    def holds(self, flips: int) -> Tensor:
        """Return which nodes are right whatever number of flips up to this one is made, bool `(T,)`."""
        return (self.margins[:, : flips + 1] > 0).all(1)


@dataclass(frozen=True)
class EdgeFlips(Part):
    """Flip edges at a node, each time the one that lowers its margin most.

    Args:
        budget: flips at each node.
        additions: nodes that a new edge is tried to, drawn for each node of those that are predicted as another class.
        hops: how far the network looks; one more than its layers where edges are weighed by degrees.
        greedy: choose by the margin; otherwise flips are drawn, for comparison.
        keep_one: never remove a node's last edge.
        degrees: features are one-hot degrees, and follow the edges.
        directed: edges have directions, and a flip is of one that reaches the node; otherwise it is of both ways.
    """

    budget: int = 2
    additions: int = 16
    hops: int = 3
    greedy: bool = True
    keep_one: bool = True
    degrees: bool = False
    directed: bool = False

    def __post_init__(self) -> None:
        require_at_least(1, budget=self.budget, additions=self.additions, hops=self.hops)

    def __call__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        graphs: Graphs,
        nodes: Tensor,
        y: Tensor,
        *,
        generator: Draws | torch.Generator | int | None = None,
    ) -> Flipped:
        """Attack nodes one by one; every attack begins at the clean graph.

        Args:
            model: graphs to logits `(B, C)` of their target nodes.
            graphs: the whole graph.
            nodes: which are attacked, int64 `(T,)`.
            y: their true classes `(T,)`.
            generator: draws, one stream for each attacked node, or a seed.
        """
        draws = as_draws(generator, len(nodes), nodes.device)
        margins, flips = torch.zeros(len(nodes), self.budget + 1), []
        with Victim(model).held(), torch.no_grad():
            predicted = model(_asking(graphs, torch.arange(graphs.size))).argmax(1)
            for place, node in enumerate(nodes.tolist()):
                label = int(y[place])
                stream = draws[slice(place, place + 1)]
                others = (predicted != label).nonzero()[:, 0]
                made: list[Flip] = []
                edges = graphs.edges
                margins[place, 0] = self._margin(model, graphs, edges, node, label)
                for step in range(self.budget):
                    tried = self._candidates(edges, node, others, made, stream.child(step))
                    if not tried:
                        margins[place, step + 1] = margins[place, step]
                        continue
                    if self.greedy:
                        found = [self._margin(model, graphs, self._flip(edges, one), node, label) for one in tried]
                        best = min(range(len(tried)), key=lambda rank: found[rank])
                    else:
                        best = int(stream.child(f"choice {step}").integers(0, len(tried)))
                    edges = self._flip(edges, tried[best])
                    made.append(tried[best])
                    margins[place, step + 1] = self._margin(model, graphs, edges, node, label)
                flips.append(tuple(made))
        return Flipped(margins, tuple(flips))

    def _candidates(self, edges: Pattern, node: int, others: Tensor, made: list[Flip], draws: Draws) -> list[Flip]:
        """Return the flips to try: every removal, and additions to drawn nodes."""
        near = edges.column[int(edges.start[node]) : int(edges.start[node + 1])].long()
        near = near[near != node]
        removals = near if len(near) > 1 or not self.keep_one else near[:0]
        far = others[~torch.isin(others, near) & (others != node)]
        chosen = far[draws.bits(len(far))[0].argsort()[: self.additions]] if len(far) else far
        return [(node, other) for other in torch.cat([removals, chosen]).tolist() if (node, other) not in made]

    def _flip(self, edges: Pattern, pair: Flip) -> Pattern:
        return flip(edges, pair, directed=self.directed)

    def _margin(
        self, model: nn.Module | Callable[[Tensor], Tensor], graphs: Graphs, edges: Pattern, node: int, label: int
    ) -> float:
        target = torch.tensor([node])
        most = int(edges.lengths.max())
        near = SampleNeighbors((most,) * self.hops).change(
            Graphs(graphs.x, edges, targets=target), Draws(0, target)
        )  # every neighbor, so nothing is drawn
        if self.degrees and near.nodes is not None:
            near = near.with_x(one_hot_degrees(edges.lengths[near.nodes] - 1, graphs.features).to(near.dense().dtype))
        logits = model(near.as_samples())[0]
        rest = torch.cat([logits[:label], logits[label + 1 :]])
        return float(logits[label] - rest.max())


def flip(edges: Pattern, pair: Flip, *, directed: bool = False) -> Pattern:
    """Return the edges with one pair joined, with weight 1, or parted where it was joined.

    Both ways, or `directed`: from the second node of the pair to the first alone.
    """
    u, v = pair
    row, column = edges.row, edges.column.long()
    there = (row == u) & (column == v)
    if not directed:
        there |= (row == v) & (column == u)
    if bool(there.any()):
        return edges.keep(~there)
    targets, sources = torch.tensor([(u, v)] if directed else [(u, v), (v, u)], device=row.device).unbind(1)
    weight = None if edges.weight is None else torch.cat([edges.weight, edges.weight.new_ones(len(targets))])
    return Pattern.of(torch.cat([row, targets]), torch.cat([column, sources]), edges.rows, edges.columns, weight)


def one_hot_degrees(degree: Tensor, features: int) -> Tensor:
    """Return degrees as one feature each, int64 `(N, F)`; those beyond the last feature count as it does."""
    return torch.nn.functional.one_hot(degree.clamp_max(features - 1), features)


def _asking(graphs: Graphs, targets: Tensor) -> Tensor:
    return Graphs(graphs.x, graphs.edges, targets=targets).as_samples()
