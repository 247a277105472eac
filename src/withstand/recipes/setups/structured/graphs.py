"""What recipes on graphs share: the settings published for each set, and which nodes are learnt from and judged."""

from dataclasses import dataclass

import torch

from withstand.core.roles import Evaluator, Source
from withstand.data.graphs.named import NamedGraph
from withstand.data.graphs.sets import GraphSet, NamedGraphSet
from withstand.data.graphs.source import GraphSource
from withstand.evaluation.structured.graph_audit import GraphAudit
from withstand.evaluation.structured.graph_nodes import NodeProbe
from withstand.evaluation.structured.graph_set_audit import GraphSetAudit
from withstand.evaluation.structured.graph_sets import FoldedSVM
from withstand.models.graphs.encoder import GAT, GIN, GraphEncoder, Pooling
from withstand.models.graphs.layers import Norm


@dataclass(frozen=True)
class Published:
    """GraphMAE's settings of one data set (`configs.yml` of the official code).

    Attributes:
        kind: of the layers.
        hidden: width, over all heads.
        heads: of attention.
        depth: layers.
        mask: share of hidden nodes.
        replace: share of those that get another node's features.
        alpha: of the scaled cosine error.
        learning_rate: of Adam.
        weight_decay: inside Adam.
        epochs: passes.
        batch: graphs a step; None for the whole graph.
        falling: whether the rate falls by half a cosine.
        norm: after layers.
        pooling: of nodes to a graph.
        probe: learning rate, weight decay and epochs of the node probe.
    """

    kind: str = "gat"
    hidden: int = 512
    heads: int = 4
    depth: int = 2
    mask: float = 0.5
    replace: float = 0.0
    alpha: float = 3.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    epochs: int = 1000
    batch: int | None = None
    falling: bool = True
    norm: Norm = None
    pooling: Pooling = "mean"
    probe: tuple[float, float, int] = (0.01, 1e-4, 300)

    def encoder(self, features: int) -> GraphEncoder:
        """Return the encoder for nodes of so many features."""
        if self.kind == "gin":
            return GIN(features, self.hidden, self.depth, norm=self.norm, pooling=self.pooling)
        return GAT(features, self.hidden, self.heads, self.depth, norm=self.norm, pooling=self.pooling)


PUBLISHED = {
    "cora": Published(replace=0.05, weight_decay=2e-4, epochs=1500),
    "citeseer": Published(heads=2, replace=0.1, alpha=1, weight_decay=2e-5, epochs=300, probe=(0.01, 0.01, 300)),
    "pubmed": Published(hidden=1024, mask=0.75, weight_decay=1e-5, epochs=1000),
    "imdb-binary": Published(
        "gin", depth=2, alpha=1, learning_rate=1.5e-4, epochs=60, batch=32, falling=False, norm="batch"
    ),
    "imdb-multi": Published(
        "gin", depth=3, alpha=1, learning_rate=1.5e-4, epochs=50, batch=32, falling=False, norm="batch"
    ),
    "proteins": Published(
        "gin", depth=3, alpha=1, learning_rate=1.5e-4, epochs=100, batch=32, falling=False, norm="batch", pooling="max"
    ),
    "mutag": Published(
        "gin", hidden=32, depth=5, mask=0.75, replace=0.1, alpha=2, learning_rate=5e-4, epochs=20, batch=64,
        falling=False, norm="batch", pooling="sum",
    ),
    "nci1": Published(
        "gin", depth=2, mask=0.25, replace=0.1, alpha=2, epochs=300, batch=16, norm="batch", pooling="sum"
    ),
}  # fmt: skip


def published(source: Source) -> Published:
    """Return the settings published for a set, or those for Cora or PROTEINS where it is not known."""
    if is_known(source):
        return PUBLISHED[source.name]
    return PUBLISHED["cora" if source.at_once is not None else "proteins"]


def is_known(source: Source) -> bool:
    """Return whether settings are published for a set; a file of somebody's own that is called like one is not it."""
    return isinstance(source, NamedGraph | NamedGraphSet) and source.name in PUBLISHED


def judges(source: Source, published: Published) -> tuple[Evaluator, ...]:
    """Return the evaluations that papers report on such data; none where the data lack what they need."""
    if isinstance(source, GraphSource):
        rate, decay, epochs = published.probe
        return (NodeProbe(rate, decay, epochs),) if len(source.parts) == 3 and source.labels is not None else ()
    few = source.labels is None or int(torch.unique(source.labels, return_counts=True)[1].min()) < FoldedSVM().folds
    return () if few or not isinstance(source, GraphSet) else (FoldedSVM(),)


def audit_of(source: Source, depth: int) -> Evaluator | None:
    """Return the audit of classifiers of nodes, by so many layers, or of whole graphs; None without labels."""
    if source.labels is None:
        return None
    return GraphSetAudit() if source.at_once is None else GraphAudit(hops=depth + 1)
