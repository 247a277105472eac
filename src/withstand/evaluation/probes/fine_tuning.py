"""Fine-tuning with few labels: the encoder is trained end to end with a linear classifier, beside an untrained one."""

import copy
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, isolated, permutation
from withstand.core.roles import Evaluator, Model, Source, Trial, View
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import holdout, labelled
from withstand.evaluation.features import Features
from withstand.evaluation.probes.probe import CONTROL
from withstand.evaluation.probes.splits import per_class
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import shares
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.pictures.normalized import Normalized

_AT_ONCE = 256


@dataclass(frozen=True)
class FineTuning(Evaluator):
    """Accuracy of an encoder that is trained on, all of it, with few labels of each class.

    AdamW, whose rate rises over a twentieth of the steps and falls in a line, gradients clipped at a norm of 1, as
    masked autoencoders of self-distillation (2023) are tuned. Nothing is chosen on the test samples, and no rate is
    sought: the untrained control is trained alike. The encoder given stays as it is.

    Args:
        labels: labels a class, drawn by (seed, index).
        draws: of labels, and of the classifier's first weights; 2 or more.
        steps: updates.
        batch: labelled samples a step; all where there are fewer.
        learning_rate: the largest.
        weight_decay: of AdamW.
        view: makes a batch's samples anew at every step, as crops do; None shows them as they are. A view that mirrors
            digits changes what they are.
        seed: of all that is drawn.
    """

    labels: int = 20
    draws: int = 3
    steps: int = 200
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    view: View | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("labels", 1), ("draws", 2), ("steps", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ConfigError(
                f"learning_rate must be above 0 and weight_decay at least 0, not {self.learning_rate!r} and "
                f"{self.weight_decay!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(2, draws=2, steps=2, batch=4)

    def example_trial(self) -> Trial:
        return Trial(Normalized.example(), small_pictures(), Normalized.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the subject cannot be trained, that labels are missing, or that samples belong together."""
        if not isinstance(subject, Model):
            return f"only an encoder can be tuned, not a {type(subject).__name__}"
        if source.labels is None:
            return "fine-tuning needs labels, and the data have none"
        return "" if source.at_once is None else "samples that belong together cannot be tuned on a few at a time"

    def evaluate(
        self, subject: Model, source: Source, *, test: Source | None = None, control: Model | None = None
    ) -> Finding:
        """Return the finding "fine-tuning".

        Args:
            subject: the encoder; it is not changed.
            source: the samples that labels are drawn from.
            test: the samples that decide; None holds out a fifth of each class of `source`.
            control: an untrained encoder of the same kind, trained alike: learning from scratch.

        Raises:
            ConfigError: the subject is no encoder.
            DataError: no labels, or a class with fewer than are asked for.
        """
        if test is None and source.labels is not None:
            source, test = holdout(source)
        for some in (source, source if test is None else test):
            if lacking := self.lacks(subject, some):
                raise (DataError if isinstance(subject, Model) else ConfigError)(lacking)
        source, test = labelled(source), labelled(source if test is None else test)
        subjects = {"encoder": subject} if control is None else {"encoder": subject, CONTROL: control}
        found = {
            name: [self._tuned(one, source, test, draw) for draw in range(self.draws)] for name, one in subjects.items()
        }
        figures = {
            name: Measure(mean(shown), "share", "higher", spread=stdev(shown), of=self.draws)
            for name, shown in found.items()
        }
        figure = replace(figures["encoder"], control=figures.get(CONTROL))
        rows: list[tuple[Cell, ...]] = [
            (draw, *(shown[draw] for shown in found.values())) for draw in range(self.draws)
        ]
        name = f"accuracy, {self.labels} labels a class"
        controls = {CONTROL: "encoder"} if control is not None else {}
        table = Table(("draw", *found), tuple(rows), units=shares(*found), controls=controls)
        return Finding(
            name="fine-tuning",
            figures={name: figure},
            headline=name,
            tables={"draws": table},
            protocol={
                "evaluator": describe(self),
                "test samples": len(test),
                "draws": "balanced, by (seed, draw, index); the same for the control",
                "spread": "standard deviation over draws",
            },
        )

    def rows(self, source: Source, draw: int) -> Tensor:
        """Return the samples whose labels are used, int64.

        Raises:
            DataError: a class has too few.
        """
        count = len(source)
        known = Features(torch.zeros(count, 1), source.labels, torch.arange(count))
        return per_class(known, self.labels, self.seed, "fine-tuning", draw).index

    def _tuned(self, encoder: Model, source: Source, test: Source, draw: int) -> float:
        """Return the accuracy on test samples of a copy that was tuned."""
        rows = self.rows(source, draw)
        assert source.labels is not None
        assert test.labels is not None
        classes = int(max(source.labels.max(), test.labels.max())) + 1
        device = device_of_network(encoder)
        with isolated(self.seed, "fine-tuning", draw):
            network = copy.deepcopy(encoder).requires_grad_(True)
            classifier = Classifier.joining(network, nn.Linear(encoder.width, classes)).to(device).train()
            self._train(classifier, source, rows, device, draw)
        return _accuracy(classifier.eval(), test, device)

    def _train(self, network: nn.Module, source: Source, rows: Tensor, device: torch.device, draw: int) -> None:
        size = min(self.batch, len(rows))
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        whole = len(rows) // size
        for step in range(self.steps):
            epoch, place = divmod(step, whole)
            order = permutation(len(rows), self.seed, "fine-tuning", draw, epoch)
            batch = source[rows[order[place * size : (place + 1) * size]]].to(device)
            labels = batch.y
            assert labels is not None
            if self.view is not None:
                seen = self.view(batch, Draws(derive(self.seed, "fine-tuning views", draw), batch.index, epoch=step))
                batch = seen.with_x(seen.views[0]) if seen.views else seen
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * self.share(step)
            loss = cross_entropy(network(unit_range(batch.x)).float(), labels)
            if not bool(loss.isfinite()):
                raise DataError(f"fine-tuning broke down after {step} steps: a lower learning_rate may help")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    def share(self, step: int) -> float:
        """Return the share of the largest rate that a step has."""
        rise = self.steps / 20
        return (step + 1) / (rise + 1) if step < rise else (self.steps - step) / (self.steps - rise)


def _accuracy(network: nn.Module, test: Source, device: torch.device) -> float:
    hits = 0
    with Victim(network).held(), torch.no_grad():
        for start in range(0, len(test), _AT_ONCE):
            batch = test[range(start, min(start + _AT_ONCE, len(test)))].to(device)
            assert batch.y is not None
            hits += int((network(unit_range(batch.x)).argmax(1) == batch.y).sum())
    return hits / len(test)
