"""The audit of classifiers of whole graphs: a few flipped edges, chosen, and as many that are drawn."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from withstand.attacks.inputs.graph_flips import GraphFlips
from withstand.core.errors import DataError, require_at_least
from withstand.core.findings.finding import Finding
from withstand.core.part import describe
from withstand.core.random import Draws, derive, isolated, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import in_whole
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sets import GraphSet
from withstand.evaluation.robustness.classifiers.headline import BLACK_BOX, Headline
from withstand.evaluation.robustness.classifiers.plausible import skilled
from withstand.evaluation.statistics.intervals import Share
from withstand.evaluation.structured.graph_audit import EdgeFlipped, as_module, one_flip
from withstand.models.graphs.encoder import GIN


@dataclass(frozen=True)
class GraphSetAudit(Evaluator):
    """Flip edges of the audited graphs, each time the one of those tried that lowers the margin most.

    Nodes and their features stay, but for features that are the nodes' degrees: these follow the edges.

    Args:
        samples: audited graphs, drawn by the seed.
        flips: most edge flips in a graph; the last number headlines.
        tried: removals, and as many additions, that are tried at each flip.
        seed: of the choice of graphs and every draw.
    """

    samples: int = 100
    flips: int = 2
    tried: int = 32
    seed: int = 0

    product = "classifier"

    def __post_init__(self) -> None:
        require_at_least(1, samples=self.samples, flips=self.flips, tried=self.tried)

    @classmethod
    def example(cls) -> Self:
        return cls(samples=4, flips=1, tried=3)

    def example_trial(self) -> Trial:
        with isolated("an example's weights"):
            network = nn.Sequential(GIN(4, 8, 1), nn.Linear(8, 2))
        return Trial(network.eval(), GraphSet.example())

    def evaluate(
        self,
        subject: nn.Module | Callable[[Tensor], Any],
        source: Source,
        *,
        test: Source | None = None,
        control: nn.Module | Callable[[Tensor], Any] | None = None,
    ) -> Finding:
        """Return the finding "audit".

        Args:
            subject: a graph classifier: graphs to logits.
            source: labelled graphs.
            test: graphs to attack in place of the source's.
            control: not used: an attack is measured against the clean accuracy and against drawn flips.

        Raises:
            DataError: no labels, or samples that are nodes.
        """
        source = source if test is None else test
        whole, _ = in_whole(source)
        if source.labels is None or not isinstance(whole, GraphSet):
            raise DataError("an audit of a graph classifier needs whole graphs with labels, and the data are none")
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        batch = source[rows]
        graphs, y = Graphs.of(batch.x), source.labels[rows]
        model = as_module(subject)
        with Victim(model).held(), torch.no_grad():
            logits = model(batch.x)
        draws = Draws(derive(self.seed, "flips"), batch.index)
        greedy = GraphFlips(self.flips, self.tried, degrees=whole.of_degrees, directed=whole.directed)
        drawn = replace(greedy, greedy=False)
        found, random = (attack(model, graphs, y, generator=draws) for attack in (greedy, drawn))
        flips = EdgeFlipped.of(found, random, "graph")
        said = f"greedy flips, {2 * self.tried} tried at each"
        headline = Headline(
            name=f"robust accuracy, {self.flips} edge flip(s)",
            against="clean accuracy",
            ball=f"{self.flips} edge flip(s)",
            what=f"graphs hold when {self.flips} of their edges are flipped",
            share=Share.of(flips.holds[-1]),
            attack=said,
            access=BLACK_BOX,
            alone=said,
        )
        checks = (skilled(logits, y, source.classes), *flips.checks, headline.last_word())
        return Finding(
            name="audit",
            figures={
                headline.against: Share.of(flips.holds[0]).measure(),
                headline.name: headline.measure(),
                f"accuracy after {self.flips} drawn flip(s)": Share.of(flips.drawn[-1]).measure(),
            },
            headline=headline.name,
            tables={"edge flips": flips.table()},
            checks=checks,
            protocol={
                "audit": describe(self),
                "samples": len(rows),
                "samples given": len(source),
                "source": source.fingerprint(),
                "edges": "evasion: of removals and additions that are tried, the one that does most is made, "
                f"flip by flip; flips that are drawn count too; {one_flip(directed=whole.directed)}",
                "features": "degrees, which follow the edges" if whole.of_degrees else "stay as they are",
                "interval": "95 %, Wilson",
                "headline": headline.tree(checks),
                "verdict": headline.verdict(checks),
            },
        )
