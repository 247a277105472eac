"""The linear probe of GraphMAE on a graph's own split: Adam on frozen features as they are, nothing standardised.

Two numbers come of one fit: test accuracy after the last epoch, and at the epoch that the validation part prefers.
The validation part is used for that choice alone, the test part for none.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import isolated
from withstand.core.roles import Source, Trial
from withstand.data.derived.subset import Subset
from withstand.data.graphs.source import PARTS, GraphSource
from withstand.evaluation.features import Embedder, Features, embed
from withstand.evaluation.probes.probe import AccuracyProbe, Embedded, Fitted
from withstand.evaluation.statistics.intervals import Share, shares
from withstand.models.graphs.encoder import GCN

RAW = "raw features, same probe"


@dataclass(frozen=True)
class NodeProbe(AccuracyProbe):
    """One linear layer, by Adam on all labelled train nodes at once (GraphMAE's code, `evaluation.py`).

    Args:
        learning_rate: of Adam.
        weight_decay: inside Adam, on weights and biases.
        epochs: steps, each on all train nodes.
        seed: of the first weights.
    """

    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    epochs: int = 300
    seed: int = 0

    name = "nodes"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError(f"epochs must be at least 1, learning_rate above 0, weight_decay at least 0: {self}")

    @classmethod
    def example(cls) -> Self:
        return cls(0.1, 0.0, 5)

    def example_trial(self) -> Trial:
        return Trial(GCN.example(), GraphSource.example(), GCN.example())

    def fit(self, train: Features) -> Fitted:
        """Fit, and predict with the weights of the last epoch."""
        last = self._run(train, None)[0]
        return Fitted(lambda x: _predict(last, x), {"epochs": self.epochs, "scaling": "none"})

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Embed the whole graph once and score its parts.

        Args:
            subject: what embeds nodes.
            source: a graph with the parts train, validation and test.
            test: not used: the graph's own part is.
            control: an untrained encoder of the same kind.

        Raises:
            DataError: a graph without these parts, or without labels.
        """
        if not isinstance(source, GraphSource) or set(source.parts) != set(PARTS):
            raise DataError(f"the node probe needs a graph with the parts {', '.join(PARTS)}; probe others as samples")
        parts = self._parts(subject, source)
        own = self._embedded(subject, source, parts)
        beside = None if control is None else self._embedded(control, source, self._parts(control, source))
        finding = self.measure(own, beside)
        train, validation, tested = (parts[name] for name in PARTS)
        _, best, curve = self._run(train, validation)
        raw = source.graph().dense()
        raw_train, raw_test = (raw[source.part(name).rows] for name in ("train", "test"))
        plain = self._run(Features(raw_train, train.y, train.index), None)[0]
        chosen, flat = _accuracy(best, tested.x, tested.labels), _accuracy(plain, raw_test, tested.labels)
        return replace(
            finding,
            figures={
                **finding.figures,
                "accuracy, epoch chosen on validation": Share(round(chosen * len(tested)), len(tested)).measure(),
                f"accuracy, {RAW}": Measure(flat, "share", "higher", of=len(tested)),
            },
            tables={
                **finding.tables,
                "validation": Table(
                    ("epoch", "validation accuracy"), tuple(curve), x="epoch", units=shares("validation accuracy")
                ),
            },
            protocol={
                **finding.protocol,
                "protocol": "GraphMAE's: one linear layer, Adam on all train nodes at once, frozen features not "
                "standardised; accuracy after the last epoch, and at the epoch with the best validation accuracy",
                "split": "the graph's own train, validation and test nodes",
                "validation": {"samples": len(validation), "digest": validation.digest()},
                "probe": describe(self),
            },
        )

    def _parts(self, subject: Embedder, source: GraphSource) -> dict[str, Features]:
        """Return the features of each part's nodes, from one pass over the graph."""
        rows = {name: source.part(name).rows for name in PARTS}
        whole = embed(subject, Subset(source, torch.cat(list(rows.values()))))
        split = dict(zip(PARTS, torch.split(whole.x, [len(part) for part in rows.values()]), strict=True))
        if source.labels is None:
            raise DataError("the node probe needs labels, and the graph has none")
        return {name: Features(split[name], source.labels[rows[name]], rows[name], source.classes) for name in PARTS}

    def _run(
        self, train: Features, validation: Features | None
    ) -> tuple[nn.Linear, nn.Linear, list[tuple[int, float]]]:
        """Return the last layer, the one that validation prefers, and validation accuracy by epoch."""
        classes = int(train.labels.max()) + 1
        with isolated(self.seed, "node probe"):
            layer = nn.Linear(train.width, classes)
        adam = torch.optim.Adam(layer.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        kept, best, curve = [value.detach().clone() for value in layer.parameters()], -1.0, []
        for epoch in range(1, self.epochs + 1):
            adam.zero_grad()
            torch.autograd.backward(cross_entropy(layer(train.x), train.labels))
            adam.step()
            if validation is None:
                continue
            right = _accuracy(layer, validation.x, validation.labels)
            curve.append((epoch, right))
            if right >= best:  # the last of equally good epochs, as the code has it
                best, kept = right, [value.detach().clone() for value in layer.parameters()]
        chosen = nn.Linear(train.width, classes)
        with torch.no_grad():
            for place, value in zip(chosen.parameters(), kept, strict=True):
                place.copy_(value)
        return layer, chosen, curve

    def _embedded(self, subject: Embedder, source: GraphSource, parts: dict[str, Features]) -> Embedded:
        return Embedded(subject, source, parts["train"], source, parts["test"], "the graph's own")


def _predict(layer: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = layer(x)
    return scores.argmax(1)


def _accuracy(layer: nn.Linear, x: Tensor, y: Tensor) -> float:
    return float((_predict(layer, x) == y).double().mean())
