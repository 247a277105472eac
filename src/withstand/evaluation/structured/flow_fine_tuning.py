"""Fine-tuning with few labels: the whole network and a new head, from what was learnt and from first weights.

Sizes: `N` flows, `K` classes.
"""

import copy
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, Self

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, isolated, permutation
from withstand.core.roles import Evaluator, Model, Source, Trial
from withstand.data.derived.subset import Subset, holdout, labelled
from withstand.data.flows.source import Flows
from withstand.evaluation.features import embed, place_of
from withstand.evaluation.probes.probe import CONTROL
from withstand.evaluation.statistics.intervals import shares
from withstand.models.tokens.flow_encoder import FlowEncoder


@dataclass(frozen=True)
class FineTuned(Evaluator):
    """Macro-F1 on test samples after fine-tuning with a few labels of each class, beside the same from first weights.

    Classes with fewer training samples than asked for, or without a test sample, are left out, and the protocol names
    them. The head is netFound's: two linear maps with GELU and dropout between them, and a linear classifier. Encoder
    and control see the same draws, batches and number of steps.

    Args:
        labels: of each class.
        draws: of training samples, head and batches.
        steps: of AdamW, 32 samples each.
        learning_rate: of AdamW.
        noise: share of the training labels that are wrong, drawn uniformly over the other classes.
        seed: of all draws.
    """

    labels: int = 10
    draws: int = 3
    steps: int = 60
    learning_rate: float = 1e-3
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels < 1 or self.draws < 2 or self.steps < 1:
            raise ConfigError(
                f"fine-tuning needs 1 label, 2 draws and 1 step, not {self.labels}, {self.draws}, {self.steps}"
            )
        if not 0 <= self.noise < 1:
            raise ConfigError(f"noise must lie in [0, 1), not {self.noise!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(2, draws=2, steps=2)

    def example_trial(self) -> Trial:
        return Trial(FlowEncoder.example(), Flows.example(), FlowEncoder.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that labels are missing."""
        return "" if source.labels is not None else "fine-tuning needs labels"

    def evaluate(
        self, subject: Model, source: Source, *, test: Source | None = None, control: Model | None = None
    ) -> Finding:
        """Return the finding "fine-tuned".

        Args:
            subject: an encoder; it is copied, and stays as it is.
            source: training samples.
            test: samples to score on; without them one in five of the training samples.
            control: an untrained encoder of the same kind.

        Raises:
            DataError: no labels, or fewer than two classes that have enough.
        """
        if test is None:
            source, test = holdout(source)
        if source.labels is None or test.labels is None:
            raise DataError("fine-tuning needs labelled training and test samples")
        train, judged = labelled(source), labelled(test)
        kept, left = self._classes(train, judged)
        tested = 0 if judged.labels is None else int(torch.isin(judged.labels, torch.tensor(kept)).sum())
        subjects = {"": subject} if control is None else {"": subject, f", {CONTROL}": control}
        scores: dict[str, list[float]] = {
            name: [self.score(one, train, judged, kept, draw) for draw in range(self.draws)]
            for name, one in subjects.items()
        }
        measures = {
            name: Measure(mean(values), "share", "higher", spread=stdev(values), of=self.draws)
            for name, values in scores.items()
        }
        figure = f"macro-F1, {self.labels} labels a class"
        names = [f"macro-F1{name}" for name in scores]
        found = measures[""]
        if control is not None:
            found = Measure(
                found.value, found.unit, found.better, spread=found.spread, of=found.of,
                control=measures[f", {CONTROL}"],
            )  # fmt: skip
        return Finding(
            name="fine-tuned",
            figures={figure: found},
            headline=figure,
            tables={
                "draws": Table(
                    ("draw", *names),
                    tuple((draw, *(values[draw] for values in scores.values())) for draw in range(self.draws)),
                    units=shares(*names),
                )
            },
            protocol={
                "judge": describe(self),
                "classes": len(kept),
                "left out, for too few samples": ", ".join(left) or "none",
                "test samples": tested,
                "spread": "standard deviation over draws",
            },
        )

    def _classes(self, train: Source, judged: Source) -> tuple[list[int], list[str]]:
        """Return the classes with enough samples, and the names of the others."""
        assert train.labels is not None
        assert judged.labels is not None
        size = int(max(train.labels.max(), judged.labels.max())) + 1
        known, asked = (one.bincount(minlength=size) for one in (train.labels, judged.labels))
        enough = (known >= self.labels) & (asked > 0)
        if int(enough.sum()) < 2:
            raise DataError(
                f"fewer than two classes have {self.labels} labelled training samples and a test sample: label more"
            )
        seen = (known + asked > 0) & ~enough
        names = [train.classes[label] if train.classes else str(label) for label in seen.nonzero()[:, 0].tolist()]
        return enough.nonzero()[:, 0].tolist(), names

    def score(self, encoder: Model, train: Source, judged: Source, classes: list[int], draw: int) -> float:
        """Return the macro-F1 of a fine-tuned copy of an encoder."""
        assert train.labels is not None
        assert judged.labels is not None
        keys = Draws(derive(self.seed, "fine-tuning", draw), torch.arange(len(train))).uniform()
        rows = torch.cat([_first(keys, train.labels == label, self.labels) for label in classes])
        number = {label: place for place, label in enumerate(classes)}
        y = torch.tensor([number[int(label)] for label in train.labels[rows]])
        wrong = Draws(derive(self.seed, "wrong labels", draw), rows)
        shift = wrong.integers(1, len(classes))
        y = torch.where(wrong.uniform() < self.noise, (y + shift) % len(classes), y)
        with isolated(self.seed, "fine-tuning", draw):
            tuned = self._tuned(encoder, Subset(train, rows), y, len(classes))
        picked = torch.isin(judged.labels, torch.tensor(classes)).nonzero()[:, 0]
        said = embed(tuned, Subset(judged, picked)).x.argmax(1)
        truth = [number[int(label)] for label in judged.labels[picked]]
        return float(f1_score(truth, said.numpy(), average="macro", labels=sorted(set(truth))))

    def _tuned(self, encoder: Model, few: Source, y: Tensor, classes: int) -> nn.Module:
        there = place_of(encoder)
        network = Tuned(copy.deepcopy(encoder), classes).to(there).train()
        network.requires_grad_(True)
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate)
        batch = min(32, len(y))
        for step in range(self.steps):
            epoch, place = divmod(step * batch, len(y) // batch * batch)
            rows = permutation(len(y), self.seed, "batches", epoch)[place : place + batch]
            optimizer.zero_grad()
            loss = cross_entropy(network(few[rows].x.to(there)), y[rows].to(there))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        return network.eval()


class Tuned(nn.Module):
    """An encoder with netFound's head for fine-tuning: linear, GELU, dropout, linear, linear.

    Args:
        encoder: the network.
        classes: K.
        dropout: inside the head.
    """

    def __init__(self, encoder: Model, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        width = encoder.width
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.Linear(width, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(N, K)`."""
        found: Tensor = self.head(self.encoder(x))
        return found


def _first(keys: Tensor, members: Tensor, count: int) -> Tensor:
    """Return the members with the smallest keys, so many of them."""
    rows = members.nonzero()[:, 0]
    return rows[keys[rows].argsort(stable=True)[:count]]
