"""The audit of node classifiers: changed features, flipped edges, and as much noise beside them.

Sizes: `N` nodes, `T` audited ones, `F` features, `C` classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.attacks.edge_flips import EdgeFlips
from withstand.attacks.gradient import PGD
from withstand.attacks.noise import Noise
from withstand.core.errors import ConfigError, DataError
from withstand.core.finding import Cell, Check, Finding, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source
from withstand.core.threat import Ball, Norm
from withstand.core.victim import Victim
from withstand.data.graphs.container import Graphs
from withstand.evaluation.intervals import Share


class FeatureVictim(nn.Module):
    """A node classifier as a function of the audited nodes' features, `(T, F)` to logits `(T, C)`.

    The other nodes' features and all edges stay. Nodes see one another, so rows belong together: an attack must take
    all in one batch. Fewer rows stand for the first of the nodes.

    Args:
        model: graphs to logits of their target nodes.
        graphs: the whole graph.
        nodes: the audited nodes, int64 `(T,)`.
    """

    def __init__(self, model: nn.Module, graphs: Graphs, nodes: Tensor) -> None:
        super().__init__()
        self.model, self.nodes = model, nodes
        self._x, self._edges = graphs.dense(), graphs.edges

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(T, C)`."""
        if len(x) > len(self.nodes):
            raise DataError(f"there are features of {len(self.nodes)} audited nodes, not of {len(x)}")
        nodes = self.nodes[: len(x)]
        whole = self._x.to(x.dtype).index_copy(0, nodes, x)
        logits: Tensor = self.model(Graphs(whole, self._edges, targets=nodes).as_samples())
        return logits


@dataclass(frozen=True)
class GraphAudit(Evaluator):
    """Attack the audited nodes' features by PGD over growing radii, and their edges by greedy flips.

    Each audited node's own features may move by the radius, all at once; a node that falls within a radius counts as
    fallen within larger ones. Edges are flipped at one node at a time, from the clean graph.

    Args:
        norm: how a node's change of features is measured, "linf" or "l2".
        eps: radii as shares of the largest feature value (Linf), or of the nodes' mean length (L2); the last headlines.
        steps: PGD steps at each radius.
        samples: audited nodes, drawn by the seed.
        flips: most edge flips at a node.
        flipped: how many of the audited nodes' edges are attacked.
        additions: new edges that are tried at each flip.
        hops: how far the network looks; see `EdgeFlips`.
        seed: of the choice of nodes and every draw.
    """

    norm: Norm = "l2"
    eps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5)
    steps: int = 10
    samples: int = 500
    flips: int = 2
    flipped: int = 30
    additions: int = 16
    hops: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ConfigError(f"norm must be 'linf' or 'l2', not {self.norm!r}")
        if not self.eps or self.eps[0] <= 0 or list(self.eps) != sorted(set(self.eps)):
            raise ConfigError(f"eps must be positive radii in ascending order, not {self.eps!r}")

    def evaluate(self, subject: nn.Module | Callable[[Tensor], Tensor], source: Source) -> Finding:
        """Return the finding "audit".

        Args:
            subject: a node classifier: graphs to logits of their target nodes.
            source: labelled nodes of one graph.

        Raises:
            DataError: no labels, or samples that are whole graphs.
        """
        if source.labels is None:
            raise DataError("an audit of a node classifier needs labels, and the data have none")
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        batch = source[rows]
        graphs = Graphs.of(batch.x)
        if graphs.targets is None or batch.y is None:
            raise DataError("features and edges are audited of the nodes of one graph; these samples are whole graphs")
        model = subject if isinstance(subject, nn.Module) else _Wrapped(subject)
        nodes, y = graphs.targets, batch.y
        clean, attacked, noisy, radii = self._features(model, graphs, nodes, y, batch.index)
        table, checks = self._edges(model, graphs, nodes[: self.flipped], y[: self.flipped], batch.index)
        rows_of: list[tuple[Cell, ...]] = [
            (radius, share, _share(attacked[place]), _share(noisy[place]))
            for place, (radius, share) in enumerate(zip(radii, self.eps, strict=True))
        ]
        last = attacked[-1]
        checks = (
            Check(
                "the attack is stronger than noise",
                _share(last) <= _share(noisy[-1]),
                f"{_share(last):.1%} hold under attack, {_share(noisy[-1]):.1%} under noise of the same size",
            ),
            *checks,
        )
        unit = "the largest feature value" if self.norm == "linf" else "the nodes' mean length"
        return Finding(
            name="audit",
            numbers={
                "clean accuracy": _share(clean),
                **Share.of(last).numbers(f"robust accuracy, features, {self.norm} {radii[-1]:.4g}"),
                f"accuracy under noise, {self.norm} {radii[-1]:.4g}": _share(noisy[-1]),
                f"robust accuracy, {self.flips} edge flip(s)": float(table.rows[-1][1] or 0),
            },
            tables={
                "features": Table(("eps", f"share of {unit}", "under attack", "under noise"), tuple(rows_of), x="eps"),
                "edge flips": table,
            },
            checks=checks,
            protocol={
                "audit": describe(self),
                "ball": {"norm": self.norm, "eps": radii[-1]},
                "samples": len(rows),
                "edge-flipped samples": len(nodes[: self.flipped]),
                "source": source.fingerprint(),
                "features": "each audited node's own features move within the ball, all at once (PGD on their "
                "cross-entropy); other nodes' stay",
                "edges": "evasion: of all removals and drawn additions at a node, the one that lowers its margin most",
            },
        )

    def _features(
        self, model: nn.Module, graphs: Graphs, nodes: Tensor, y: Tensor, index: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor], list[float]]:
        """Return which nodes are right on clean features, at each radius under attack, and under noise; the radii."""
        x = graphs.dense()
        high, low = float(x.max()), min(0.0, float(x.min()))
        unit = high if self.norm == "linf" else float(x.norm(dim=1).mean())
        victim = Victim(FeatureVictim(model, graphs, nodes), low=low, high=high)
        own, draws = x[nodes], Draws(derive(self.seed, "graph audit"), index)
        with victim.held(), torch.no_grad():
            clean = victim.output(own).argmax(1) == y
        holds, attacked, noisy, start = clean, [], [], None
        radii = [share * unit for share in self.eps]
        for place, radius in enumerate(radii):
            ball = Ball(self.norm, radius)
            # Nodes see one another: the points of one step belong together, and none may be kept from another.
            pgd = PGD(ball, steps=self.steps, keep_best=False)
            found = pgd(victim, own, y, generator=draws.child(place), start=start, batch=len(own))
            holds = holds & ~found.success
            start = found.x
            attacked.append(holds)
            noise = Noise(ball)(victim, own, y, generator=draws.child(f"noise {place}"), batch=len(own))
            noisy.append(clean & ~noise.success)
        return clean, attacked, noisy, radii

    def _edges(
        self, model: nn.Module, graphs: Graphs, nodes: Tensor, y: Tensor, index: Tensor
    ) -> tuple[Table, tuple[Check, ...]]:
        greedy = EdgeFlips(self.flips, self.additions, self.hops)
        drawn = EdgeFlips(self.flips, self.additions, self.hops, greedy=False)
        draws = Draws(derive(self.seed, "flips"), index[: len(nodes)])
        found, random = (attack(model, graphs, nodes, y, generator=draws) for attack in (greedy, drawn))
        rows: list[tuple[Cell, ...]] = [
            (count, _share(found.holds(count)), _share(random.holds(count))) for count in range(self.flips + 1)
        ]
        detail = f"{rows[-1][1]:.1%} hold under chosen flips, {rows[-1][2]:.1%} under drawn ones"
        check = Check("chosen flips are stronger than drawn ones", rows[-1][1] <= rows[-1][2], detail)  # type: ignore[operator]
        return Table(("flips at a node", "greedy", "drawn"), tuple(rows), x="flips at a node"), (check,)


class _Wrapped(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's output."""
        return self.function(x)


def _share(holds: Tensor) -> float:
    return float(holds.double().mean())
