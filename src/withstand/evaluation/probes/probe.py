"""What all probes share: one embedding pass, accuracies with intervals, a control, and the protocol.

A control is an untrained encoder of the same kind. A number without one says little: random convolutions already
do well on small pictures.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.part import Tree, describe
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.derived.subset import labelled
from withstand.evaluation.features import Embedder, Features, ProgressCallback, embed
from withstand.evaluation.probes.splits import hold_out
from withstand.evaluation.small import small_digits, untrained
from withstand.evaluation.statistics.intervals import Share, paired_difference, shares

CONTROL = "untrained control"


@dataclass(frozen=True)
class Embedded:
    """A subject's features, computed once for all probes.

    Attributes:
        subject: what embeds.
        source: where train's samples are.
        train: their features.
        test_source: where test's samples are; `source` itself when test is a part of it.
        test: features never used for a choice; None without labels and without a test source.
        split: how train and test came about.
    """

    subject: Embedder
    source: Source
    train: Features
    test_source: Source
    test: Features | None
    split: str

    @property
    def judged(self) -> Features:
        """Test features where there are any, else train's."""
        return self.train if self.test is None else self.test

    @property
    def judged_source(self) -> Source:
        """The source of `judged`."""
        return self.source if self.test is None else self.test_source

    def protocol(self) -> dict[str, Tree]:
        """Return which samples were used."""
        facts: dict[str, Tree] = {"split": self.split, "width": self.train.width, "dtype": "float32"}
        for name, part in (("train", self.train), ("test", self.test)):
            if part is not None:
                facts[name] = {"samples": len(part), "digest": part.digest()}
        return facts


def embed_all(
    subject: Embedder,
    source: Source,
    test: Source | None = None,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    batch: int = 512,
    progress: ProgressCallback | None = None,
) -> Embedded:
    """Embed train and test once. Without a test source, a share of each class of train becomes test.

    Samples without a label, where others have one, are left out.

    Args:
        subject: see `embed`.
        source: train samples.
        test: test samples.
        held_out: share of train that becomes test where labels are given and `test` is not.
        seed: of that split, with each sample's index.
        batch: samples in one forward pass.
        progress: called after each batch of each source.
    """
    source = labelled(source)
    train = embed(subject, source, batch=batch, progress=progress)
    if test is not None:
        test = labelled(test)
        tested = embed(subject, test, batch=batch, progress=progress)
        if tested.width != train.width:
            raise DataError(f"train features are {train.width} wide and test features {tested.width}")
        return Embedded(subject, source, train, test, tested, "test set given")
    if train.y is None:
        return Embedded(subject, source, train, source, None, "all samples; no labels, no test set")
    train, tested = hold_out(train, held_out, seed, "test")
    return Embedded(subject, source, train, source, tested, f"{held_out:.0%} of each class held out by seed {seed}")


class Probe(Evaluator):
    """An evaluator that reads features only."""

    needs_labels = True

    def example_trial(self) -> Trial:
        return Trial(nn.Flatten(), small_digits(), untrained())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that labels are missing, where they are needed."""
        return "" if source.labels is not None or not self.needs_labels else f"{type(self).__name__} needs labels"

    @abstractmethod
    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return what was found in the features, beside the control's."""

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Embed and measure.

        Args:
            subject: what embeds.
            source: train samples.
            test: test samples; without them a part of each class of `source` is held out.
            control: an untrained encoder of the same kind.
        """
        return self.measure(
            embed_all(subject, source, test), None if control is None else embed_all(control, source, test)
        )


@dataclass(frozen=True)
class Fitted:
    """A probe fitted to train features.

    Attributes:
        predict: features `(N, D)` to classes, int64 `(N,)`.
        choices: what was chosen on train, and how.
        checks: whether the fit can be believed.
    """

    predict: Callable[[Tensor], Tensor]
    choices: dict[str, Tree]
    checks: tuple[Check, ...] = ()


class AccuracyProbe(Probe):
    """A probe that predicts labels; it is fitted to train and scored on test."""

    name: str

    @abstractmethod
    def fit(self, train: Features) -> Fitted:
        """Fit to train features; every choice is made on them."""

    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return accuracy on test with its interval, by class, and beside the control's."""
        train, test = embedded.train, embedded.judged
        fitted = self.fit(train)
        right = {"encoder": fitted.predict(test.x) == test.labels}
        if control is not None:
            right[CONTROL] = self.fit(control.train).predict(control.judged.x) == test.labels
        classes = by_class(test, right)
        return Finding(
            name=self.name,
            figures={
                "accuracy": _accuracy(right, test.labels == torch.bincount(train.labels).argmax()),
                "mean accuracy of classes": Measure(
                    _mean(classes.column("encoder")), "share", "higher", of=len(classes.rows)
                ),
            },
            headline="accuracy",
            tables={"classes": classes},
            checks=fitted.checks,
            protocol={
                "probe": describe(self),
                **fitted.choices,
                **embedded.protocol(),
                "interval": "95 %, Wilson; difference: paired, Newcombe",
            },
        )


def by_class(test: Features, right: dict[str, Tensor]) -> Table:
    """Return accuracy in each class of test, one column a subject."""
    rows: list[tuple[Cell, ...]] = []
    for label in torch.unique(test.labels).tolist():
        members = test.labels == label
        name = test.classes[label] if label < len(test.classes) else str(label)
        rows.append((name, int(members.sum()), *(_share(hits[members]) for hits in right.values())))
    return Table(("class", "samples", *right), tuple(rows), units=shares(*right))


def _accuracy(right: dict[str, Tensor], most: Tensor) -> Measure:
    """Return the encoder's accuracy, beside the control's and that of always naming the most frequent class."""
    found = replace(Share.of(right["encoder"]).measure(), chance=_share(most))
    if CONTROL not in right:
        return found
    _, low, high = paired_difference(right["encoder"], right[CONTROL])
    return replace(found, control=Share.of(right[CONTROL]).measure(), gain=(low, high))


def beside(ours: Mapping[str, Measure], theirs: Mapping[str, Measure]) -> dict[str, Measure]:
    """Return figures with a control's of the same names beside them."""
    return {name: replace(measure, control=theirs.get(name)) for name, measure in ours.items()}


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def _mean(cells: tuple[Cell, ...]) -> float:
    values = [float(cell) for cell in cells if cell is not None]
    return sum(values) / len(values)
