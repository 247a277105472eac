"""SelfTask: a graph classifier that is asked other things of its nodes too.

paper: Self-supervised Learning on Graphs: Deep Insights and New Direction (Jin et al., 2020)
needs: labels of some nodes, -1 elsewhere            modalities: one graph
sizes: N nodes, D encoder width, C classes
differences: distances to clusters are counted to the centres' own places, where the code takes places inside a
    cluster; node degree is regressed, as in the paper; early stopping on validation labels is left out, the last step
    counts. The head of every task sees embeddings after dropout.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.functional import dropout as drop

from withstand.core.batch import Batch
from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Terms
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import GraphSource
from withstand.methods.shared.labelled import LabelledMethod
from withstand.models.graphs.encoder import GCN, GraphEncoder
from withstand.models.graphs.layers import GCNLayer
from withstand.models.graphs.tasks import Targets, Task


class SelfTask(LabelledMethod):
    """Cross-entropy on labelled nodes, and the losses of pretext tasks with a linear head each.

    Tasks prepare their targets from the first batch's graph and known labels; they come out alike whenever they are
    prepared, so that nothing of them is stored.

    Args:
        encoder: the network to train.
        classes: C.
        tasks: what else is asked; none gives the plain classifier.
        weights: of the tasks' losses, one each; a task of weight 0 is not asked.
        dropout: on embeddings, before the classifier and before the heads.
        alone: epochs, from the first on, in which the tasks alone are learnt (two-stage training).
    """

    taught_by = "few labels"

    encoder: GraphEncoder

    def __init__(
        self,
        encoder: GraphEncoder,
        classes: int,
        *,
        tasks: tuple[Task, ...] = (),
        weights: tuple[float, ...] = (),
        dropout: float = 0.5,
        alone: int = 0,
    ) -> None:
        super().__init__(encoder, classes)
        if len(tasks) != len(weights):
            raise ConfigError(f"{len(tasks)} tasks need as many weights, not {len(weights)}")
        self.classifier = GCNLayer(encoder.width, classes, dropout=dropout)  # type: ignore[assignment]  # a layer of graphs
        self.tasks, self.weights, self.dropout, self.alone = tuple(tasks), tuple(weights), dropout, alone
        self.heads = nn.ModuleList(
            nn.Linear(encoder.width, task.outputs(encoder.features, classes)) for task in self.tasks
        )
        self._prepared: tuple[int, Graphs, list[Targets]] | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(GCN.example(), 4, dropout=0.0)

    def example_batch(self, rows: range = range(8)) -> Batch:
        return GraphSource.example()[rows]

    def logits(self, x: Tensor) -> Tensor:
        graphs = Graphs.of(x)
        return _classify(self.classifier, graphs, self.encoder.nodes(graphs))[_targets(graphs)]

    def network(self) -> nn.Module:
        return NodeClassifier(self.encoder, self.classifier)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, `classification` on labelled nodes, their `accuracy`, and each task's loss by its name."""
        if batch.y is None:
            raise DataError("SelfTask learns from the labels of some nodes, and the data have none")
        clean = Graphs.of(batch.views[0] if batch.views else batch.x)
        chosen = _targets(clean)
        labels = torch.full((clean.size,), -1, device=chosen.device)
        labels[chosen] = batch.y
        asked = [place for place, weight in enumerate(self.weights) if weight != 0]
        graphs, targets = self._prepare(batch, clean, labels) if asked else (clean, [])
        known = (labels >= 0).nonzero()[:, 0]
        if not len(known):
            raise DataError("SelfTask learns from the labels of some nodes, and none of this batch has one")
        with isolated():  # dropout draws from the global generator, which the engine sets for each step
            z = self.encoder.nodes(graphs)
            logits = _classify(self.classifier, graphs, z)
            classification = mean_of_all(cross_entropy(logits[known].float(), labels[known], reduction="none"))
            terms: Terms = {}
            loss = classification if batch.epoch >= self.alone else 0 * classification
            for place in asked:
                seen = drop(z, self.dropout, self.training)
                stream = batch.draws_for_all("step", place)
                own = self.tasks[place].loss(self.heads[place], seen, targets[place], stream)
                terms[type(self.tasks[place]).__name__] = own.detach()
                loss = loss + self.weights[place] * own
        right = (logits.detach().argmax(1) == labels)[known].float().mean()
        facts = {"classification": classification.detach(), "accuracy": right, **terms}
        return {"loss": loss, **facts, "embeddings": z.detach()[chosen][None]}

    def _prepare(self, batch: Batch, clean: Graphs, labels: Tensor) -> tuple[Graphs, list[Targets]]:
        """Return the graph that the encoder sees and each task's targets, made once, on the CPU."""
        mark = id(clean.edges)
        if self._prepared is None or self._prepared[0] != mark:
            there = labels.device
            clean, labels = clean.to("cpu"), labels.cpu()
            graphs, targets = clean, list[Targets]()
            for place, task in enumerate(self.tasks):
                asked = self.weights[place] != 0
                stream = replace(batch, step=0).draws_for_all("prepare", place)  # the same at every step
                targets.append(task.prepare(clean, labels, self.classes, stream) if asked else {})
                graphs = task.change(graphs, labels, stream) if asked else graphs
            moved: list[Targets] = [{name: value.to(there) for name, value in told.items()} for told in targets]
            self._prepared = mark, graphs.to(there), moved
        return self._prepared[1], self._prepared[2]


class NodeClassifier(nn.Module):
    """An encoder with a layer on top, graphs in, logits of their target nodes out.

    Args:
        encoder: embeds nodes.
        layer: from embeddings to logits.
    """

    def __init__(self, encoder: GraphEncoder, layer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, layer

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, C)`."""
        graphs = Graphs.of(x)
        return _classify(self.layer, graphs, self.encoder.nodes(graphs))[_targets(graphs)]


def _classify(layer: Callable[..., Tensor], graphs: Graphs, z: Tensor) -> Tensor:
    return layer(Graphs(z, graphs.edges), graphs.edges)


def _targets(graphs: Graphs) -> Tensor:
    if graphs.targets is None:
        raise DataError("SelfTask reads the nodes of one graph, and these samples are whole graphs")
    return graphs.targets
