"""Greedy edge flips in whole graphs: what a few added or removed edges do to a graph's classification.

Evasion of a trained graph classifier: of removals and additions that are tried on the network itself, the one that
lowers the margin most is made, edge by edge (the search of `edge_flips`, for graphs in place of nodes).

Sizes: `B` graphs, `N` nodes of one, `C` classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.attacks.inputs.edge_flips import Flip, Flipped, one_hot_degrees
from withstand.core.errors import DataError, require_at_least
from withstand.core.part import Part
from withstand.core.random import Draws, as_draws
from withstand.core.victims.victim import Victim
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern

_AT_ONCE = 1 << 21
"""Numbers in the features of candidates that are tried together."""


@dataclass(frozen=True)
class GraphFlips(Part):
    """Flip edges of a graph, each time the one of those tried that lowers its margin most.

    Args:
        budget: flips in each graph.
        tried: removals, and as many additions, that are tried at each flip, drawn where there are more.
        greedy: choose by the margin; otherwise flips are drawn, for comparison.
        degrees: features are one-hot degrees, and follow the edges.
        directed: edges have directions, and a flip is of one of a pair's two; otherwise it joins or parts both ways.
    """

    budget: int = 2
    tried: int = 32
    greedy: bool = True
    degrees: bool = False
    directed: bool = False

    def __post_init__(self) -> None:
        require_at_least(1, budget=self.budget, tried=self.tried)

    def __call__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        graphs: Graphs,
        y: Tensor,
        *,
        generator: Draws | torch.Generator | int | None = None,
    ) -> Flipped:
        """Attack graphs one by one; a flip (u, v) joins or parts both ways, or where edges are directed from v to u.

        Args:
            model: graphs to logits `(B, C)`.
            graphs: whole graphs.
            y: their true classes `(B,)`.
            generator: draws, one stream for each graph, or a seed.

        Raises:
            DataError: samples that are nodes, edges with weights, or with directions where `directed` is not said.
        """
        if graphs.targets is not None:
            raise DataError("these samples are nodes of one graph: EdgeFlips attacks them")
        draws = as_draws(generator, len(graphs), y.device)
        margins, flips = torch.zeros(len(graphs), self.budget + 1), []
        x, member = graphs.dense(), graphs.membership
        with Victim(model).held(), torch.no_grad():
            for place in range(len(graphs)):
                nodes = (member == place).nonzero()[:, 0]
                joined = _joined(graphs.edges, nodes, directed=self.directed)
                own, label, stream = x[nodes], int(y[place]), draws[slice(place, place + 1)]
                made: list[Flip] = []
                margins[place, 0] = self._margins(model, own, [joined], label)[0]
                for step in range(self.budget):
                    pairs = self._candidates(joined, made, stream.child(step))
                    if not pairs:
                        margins[place, step + 1] = margins[place, step]
                        continue
                    if self.greedy:
                        found = self._margins(model, own, [self._flip(joined, pair) for pair in pairs], label)
                        best = int(found.argmin())
                    else:
                        best = int(stream.child(f"choice {step}").integers(0, len(pairs)))
                        found = self._margins(model, own, [self._flip(joined, pairs[best])], label).expand(len(pairs))
                    joined = self._flip(joined, pairs[best])
                    made.append(pairs[best])
                    margins[place, step + 1] = found[best]
                flips.append(tuple(made))
        return Flipped(margins, tuple(flips))

    def _candidates(self, joined: Tensor, made: list[Flip], draws: Draws) -> list[Flip]:
        """Return the pairs to try: removals and additions, of each at most `tried`."""
        free = torch.ones_like(joined).fill_diagonal_(False) if self.directed else torch.ones_like(joined).triu(1)
        for u, v in made:
            free[u, v] = False
        found: list[Flip] = []
        for name, some in (("removals", joined & free), ("additions", ~joined & free)):
            pairs = some.nonzero()
            order = draws.child(name).bits(len(pairs))[0].argsort() if len(pairs) > self.tried else slice(None)
            found += [(int(u), int(v)) for u, v in pairs[order][: self.tried].tolist()]
        return found

    def _flip(self, joined: Tensor, pair: Flip) -> Tensor:
        u, v = pair
        changed = joined.clone()
        changed[u, v] = not bool(joined[u, v])
        if not self.directed:
            changed[v, u] = changed[u, v]
        return changed

    def _margins(
        self, model: nn.Module | Callable[[Tensor], Tensor], x: Tensor, several: list[Tensor], label: int
    ) -> Tensor:
        """Return the margin of the true class over the best other on each of several graphs of the same nodes."""
        at_once = max(1, _AT_ONCE // max(1, x.numel() + len(x) ** 2))
        parts = []
        for start in range(0, len(several), at_once):
            logits = model(self._batch(x, several[start : start + at_once]).as_samples())
            rest = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
            parts.append(logits[:, label] - rest.amax(1))
        return torch.cat(parts)

    def _batch(self, x: Tensor, several: list[Tensor]) -> Graphs:
        count, size = len(several), len(x)
        stacked = torch.stack(several)
        graph, row, column = (stacked | torch.eye(size, dtype=torch.bool, device=x.device)).nonzero().unbind(1)
        edges = Pattern.of(graph * size + row, graph * size + column, count * size, count * size)
        features = _of_degrees(stacked, x) if self.degrees else x.repeat(count, 1)
        member = torch.arange(count, device=x.device).repeat_interleave(size)
        return Graphs(features, edges, graph=member, count=count)


def _joined(edges: Pattern, nodes: Tensor, *, directed: bool) -> Tensor:
    """Return which of a graph's nodes are joined, targets by sources, bool `(N, N)`, none with itself.

    Raises:
        DataError: edges with weights, or joined one way alone where none has a direction.
    """
    if edges.weight is not None:
        raise DataError("edges with weights are not flipped")
    first, count = int(nodes[0]), len(nodes)
    low, high = int(edges.start[first]), int(edges.start[first + count])
    joined = torch.zeros(count, count, dtype=torch.bool, device=nodes.device)
    joined[edges.row[low:high] - first, edges.column[low:high].long() - first] = True
    joined.fill_diagonal_(False)
    if not directed and not torch.equal(joined, joined.T):
        raise DataError("some edges go one way alone: directed=True flips directions one by one")
    return joined


def _of_degrees(joined: Tensor, x: Tensor) -> Tensor:
    """Return one-hot degrees of several graphs `(K, N, N)`, of as many features as `x` has."""
    return one_hot_degrees(joined.sum(2).flatten(), x.shape[1]).to(x.dtype)
