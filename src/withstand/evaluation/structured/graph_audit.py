"""The audit of node classifiers: changed features, flipped edges, and as much noise beside them.

Sizes: `N` nodes, `T` audited ones, `F` features, `C` classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.checks import believability
from withstand.attacks.inputs.edge_flips import EdgeFlips, Flipped
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.paired import stronger
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Check, Finding, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, isolated, permutation
from withstand.core.roles import Attacked, Evaluator, Source, Trial
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import in_whole
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import GraphSource
from withstand.evaluation.robustness.classifiers.headline import WHITE_BOX, Headline
from withstand.evaluation.robustness.classifiers.plausible import skilled
from withstand.evaluation.statistics.intervals import Share, columns, shares
from withstand.models.graphs.encoder import GCN


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


_OF_DEGREES = Check(
    "features can be moved",
    None,
    "the data have none: degrees stand for them, which nobody moves but by edges; read the edge flips",
)
TOGETHER = ("pgd", "bim", "fgsm", "noise")
"""Attacks that move all rows at every step, as nodes that see one another need."""


def attack_nodes(
    subject: nn.Module | Callable[[Tensor], Any], batch: Batch, attack: InputAttack, *, labelled: bool, seed: int = 0
) -> tuple[Attacked, Batch]:
    """Attack the nodes' own features, all at once, and return what was found with the clean features.

    Args:
        subject: graphs to logits of their target nodes, or to codes.
        batch: nodes of one graph.
        attack: one of `TOGETHER`; it keeps its last point, for the best ones of its steps do not belong together.
        labelled: whether the model gives logits.
        seed: of random starts.

    Raises:
        ConfigError: another attack.
        DataError: samples that are whole graphs.
    """
    graphs = Graphs.of(batch.x)
    if graphs.targets is None:
        raise DataError("these samples are whole graphs, and attacks move the features of one graph's nodes")
    if isinstance(attack, PGD):
        attack = replace(attack, keep_best=False)
    elif not isinstance(attack, FGSM | Noise):
        raise ConfigError(
            f"nodes see one another, and are attacked together by {', '.join(TOGETHER)}: name one of them"
        )
    model = as_module(subject)
    victim, own = _feature_victim(model, graphs, graphs.targets)
    draws = Draws(derive(seed, "graph attack"), batch.index)
    found = attack(victim, own, batch.y if labelled else None, generator=draws, batch=len(own))
    return found, replace(batch, x=own)


def _feature_victim(model: nn.Module, graphs: Graphs, nodes: Tensor) -> tuple[Victim, Tensor]:
    """Return a node classifier as a victim of its nodes' features, and these features."""
    x = graphs.dense()
    seen = FeatureVictim(model, graphs, nodes)
    victim = Victim(seen, low=min(0.0, float(x.min())), high=float(x.max()), together=True)
    return victim, x[nodes]


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

    product = "classifier"

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ConfigError(f"norm must be 'linf' or 'l2', not {self.norm!r}")
        if not self.eps or self.eps[0] <= 0 or list(self.eps) != sorted(set(self.eps)):
            raise ConfigError(f"eps must be positive radii in ascending order, not {self.eps!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(eps=(0.1, 0.5), steps=2, flipped=2, additions=2, samples=8)

    def example_trial(self) -> Trial:
        with isolated("an example's weights"):
            network = GCN(4, 3, 2)
        return Trial(network.eval(), GraphSource.example().part("test"))

    def evaluate(
        self,
        subject: nn.Module | Callable[[Tensor], Tensor],
        source: Source,
        *,
        test: Source | None = None,
        control: nn.Module | Callable[[Tensor], Tensor] | None = None,
    ) -> Finding:
        """Return the finding "audit".

        Args:
            subject: a node classifier: graphs to logits of their target nodes.
            source: labelled nodes of one graph.
            test: nodes to attack in place of the source's.
            control: not used: an attack is measured against the clean accuracy and against noise.

        Raises:
            DataError: no labels, or samples that are whole graphs.
        """
        source = source if test is None else test
        if source.labels is None:
            raise DataError("an audit of a node classifier needs labels, and the data have none")
        whole, _ = in_whole(source)
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        batch = source[rows]
        graphs = Graphs.of(batch.x)
        if graphs.targets is None or batch.y is None or not isinstance(whole, GraphSource):
            raise DataError("features and edges are audited of the nodes of one graph; these samples are whole graphs")
        model = as_module(subject)
        nodes, y = graphs.targets, batch.y
        features = self._features(model, graphs, nodes, y, batch.index, source.classes)
        greedy = EdgeFlips(self.flips, self.additions, self.hops, degrees=whole.of_degrees, directed=whole.directed)
        flips = self._flips(greedy, model, graphs, nodes[: self.flipped], y[: self.flipped], batch.index)
        head, quick = f"{self.norm} {features.radii[-1]:.4g}", f"PGD-{self.steps}"
        headline = Headline(
            name=f"robust accuracy, features, {head}",
            against="clean accuracy",
            ball=head,
            what=f"nodes hold when each one's own features move within {head}",
            share=Share.of(features.holds[-1]),
            attack=quick,
            access=WHITE_BOX,
            alone=quick,
        )
        told = (_OF_DEGREES,) if whole.of_degrees else ()
        checks = (*features.checks, *told, *flips.checks, headline.last_word())
        unit = "the largest feature value" if self.norm == "linf" else "the nodes' mean length"
        return Finding(
            name="audit",
            figures={
                headline.against: Share.of(features.clean).measure(),
                headline.name: headline.measure(),
                f"accuracy under noise, {head}": Share.of(features.noisy[-1]).measure(),
                f"robust accuracy, {self.flips} edge flip(s)": Share.of(flips.holds[-1]).measure(),
            },
            headline=headline.name,
            tables={"features": features.table(self.eps, unit), "edge flips": flips.table()},
            checks=checks,
            protocol={
                "audit": describe(self),
                "ball": {"norm": self.norm, "eps": features.radii[-1]},
                "samples": len(rows),
                "samples given": len(source),
                "edge-flipped samples": len(nodes[: self.flipped]),
                "source": source.fingerprint(),
                "features": "each audited node's own features move within the ball, all at once (PGD on their "
                "cross-entropy); other nodes' stay. A node holds where nothing broke it, be it noise or a check's run",
                "edges": "evasion: of all removals and drawn additions at a node, the one that lowers its margin most; "
                f"flips that are drawn count too; {one_flip(directed=whole.directed)}; "
                + ("features are degrees, which follow" if whole.of_degrees else "features stay"),
                "interval": "95 %, Wilson",
                "headline": headline.tree(checks),
                "verdict": headline.verdict(checks),
            },
        )

    def _features(
        self, model: nn.Module, graphs: Graphs, nodes: Tensor, y: Tensor, index: Tensor, classes: tuple[str, ...]
    ) -> "_Features":
        victim, own = _feature_victim(model, graphs, nodes)
        unit = victim.high if self.norm == "linf" else float(graphs.dense().norm(dim=1).mean())
        draws = Draws(derive(self.seed, "graph audit"), index)
        with victim.held(), torch.no_grad():
            logits = victim.output(own)
        clean = logits.argmax(1) == y
        radii = tuple(share * unit for share in self.eps)
        holds, noisy = [clean.clone() for _ in radii], [clean.clone() for _ in radii]

        def tell(ball: Ball, x: Tensor, success: Tensor) -> None:
            """Count what a run broke at its radius and at every larger one."""
            for place, radius in enumerate(radii):
                if radius >= ball.eps:
                    holds[place] &= ~success

        start, quick = None, []
        for place, radius in enumerate(radii):
            ball = Ball(self.norm, radius)
            # Nodes see one another: the points of one step belong together, and none may be kept from another.
            pgd = PGD(ball, steps=self.steps, keep_best=False)
            found = pgd(victim, own, y, generator=draws.child(place), start=start, batch=len(own))
            start = found.x
            quick.append(int((clean & found.success).sum()))
            noise = Noise(ball)(victim, own, y, generator=draws.child(f"noise {place}"), batch=len(own))
            for result in (found, noise):
                tell(ball, result.x, result.success)
            for larger in noisy[place:]:
                larger &= ~noise.success
        half = min(range(len(radii)), key=lambda place: abs(2 * quick[place] - int(clean.sum())))
        attack = PGD(Ball(self.norm, radii[half]), steps=self.steps, keep_best=False)
        checks = (
            skilled(logits, y, classes),
            *believability(
                attack, victim, own, y, generator=draws.child("checks"), batch=len(own), found=tell, together=True
            ),
        )
        return _Features(clean, tuple(holds), tuple(noisy), radii, checks)

    def _flips(
        self, greedy: EdgeFlips, model: nn.Module, graphs: Graphs, nodes: Tensor, y: Tensor, index: Tensor
    ) -> "EdgeFlipped":
        drawn = replace(greedy, greedy=False)
        draws = Draws(derive(self.seed, "flips"), index[: len(nodes)])
        found, random = (attack(model, graphs, nodes, y, generator=draws) for attack in (greedy, drawn))
        return EdgeFlipped.of(found, random, "node")


def one_flip(*, directed: bool) -> str:
    """Return what counts as one flip, in words."""
    return "a flip is of one direction of an edge" if directed else "a flip joins or parts both ways"


@dataclass(frozen=True)
class _Features:
    """Which nodes are right when clean, at each radius under all that was tried, and under noise, bool `(T,)` each."""

    clean: Tensor
    holds: tuple[Tensor, ...]
    noisy: tuple[Tensor, ...]
    radii: tuple[float, ...]
    checks: tuple[Check, ...]

    def table(self, sizes: tuple[float, ...], unit: str) -> Table:
        rows: list[tuple[Cell, ...]] = [
            (size, f"{radius:.4g}", *Share.of(holds).cells, Share.of(noisy).value)
            for radius, size, holds, noisy in zip(self.radii, sizes, self.holds, self.noisy, strict=True)
        ]
        names = ("eps", "in features' units", *columns("accuracy under attack"), "accuracy under noise")
        return Table(
            names,
            tuple(rows),
            x="eps",
            units={"eps": f"shares of {unit}"} | shares("accuracy under attack", "accuracy under noise"),
            controls={"accuracy under noise": "accuracy under attack"},
        )


@dataclass(frozen=True)
class EdgeFlipped:
    """Which samples hold after each number of flips, chosen and drawn, bool `(T,)` each; `what` a sample is called."""

    chosen: tuple[Tensor, ...]
    drawn: tuple[Tensor, ...]
    what: str

    @classmethod
    def of(cls, found: Flipped, random: Flipped, what: str) -> Self:
        """Return what chosen flips found, and as many drawn ones."""
        numbers = range(found.margins.shape[1])
        chosen, drawn = (tuple(one.holds(count) for count in numbers) for one in (found, random))
        return cls(chosen, drawn, what)

    @property
    def holds(self) -> tuple[Tensor, ...]:
        """Which samples neither breaks."""
        return tuple(one & other for one, other in zip(self.chosen, self.drawn, strict=True))

    @property
    def checks(self) -> tuple[Check, ...]:
        """Whether chosen flips break more than drawn ones."""
        right = self.chosen[0]
        broke, by_chance = right & ~self.chosen[-1], right & ~self.drawn[-1]
        detail = f"chosen flips break {int(broke.sum())} of {int(right.sum())} right {self.what}s, drawn ones "
        name = "chosen flips are stronger than drawn ones"
        return (Check(name, stronger(broke, by_chance), f"{detail}{int(by_chance.sum())}"),)

    def table(self) -> Table:
        """Return the curves over the number of flips."""
        rows: list[tuple[Cell, ...]] = [
            (count, Share.of(one).value, Share.of(other).value)
            for count, (one, other) in enumerate(zip(self.chosen, self.drawn, strict=True))
        ]
        flips = f"flips at a {self.what}" if self.what == "node" else f"flips in a {self.what}"
        names = (flips, "accuracy, chosen", "accuracy, drawn")
        return Table(names, tuple(rows), x=flips, units=shares(*names[1:]))


def as_module(subject: nn.Module | Callable[[Tensor], Any]) -> nn.Module:
    """Return a network as it is, and a plain function as one."""
    return subject if isinstance(subject, nn.Module) else _Wrapped(subject)


class _Wrapped(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's output."""
        return self.function(x)
