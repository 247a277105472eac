"""Few-shot curve: accuracy against labels a class, the honest picture of what a representation saves in labels."""

import warnings
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.findings.finding import SPREAD, Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.evaluation.features import Features
from withstand.evaluation.probes.probe import CONTROL, AccuracyProbe, Embedded, Probe, beside
from withstand.evaluation.probes.splits import per_class
from withstand.evaluation.statistics.intervals import shares


@dataclass(frozen=True)
class FewShot(Probe):
    """Several probes on a few labels of each class, on the same draws.

    Args:
        probes: which; choices are made within the few labels.
        labels: numbers of labels a class; those that the rarest class lacks are left out.
        draws: balanced draws of each number.
        seed: of the draws, with each sample's index.
    """

    probes: tuple[AccuracyProbe, ...]
    labels: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    draws: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 2 or not self.labels or min(self.labels) < 1:
            raise ConfigError(f"few-shot needs 2 draws and numbers of labels from 1, not {self.draws}, {self.labels}")

    @classmethod
    def example(cls) -> Self:
        from withstand.evaluation.probes.named import KNN, Centroid  # which name this one too

        return cls((KNN(), Centroid()), labels=(1, 2), draws=2)

    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return mean and spread of accuracy on test, by probe and number of labels."""
        counts = torch.bincount(embedded.train.labels)
        rarest = int(counts[counts > 0].min())
        numbers_of_labels = sorted({count for count in self.labels if count <= rarest})
        if not numbers_of_labels:
            raise ConfigError(f"the rarest class has {rarest} labels, fewer than the {min(self.labels)} asked for")
        subjects = {"": embedded} if control is None else {"": embedded, f", {CONTROL}": control}
        columns = ["labels a class"]
        curves: dict[str, list[list[float]]] = {}
        for suffix, subject in subjects.items():
            test = subject.judged
            for part in self.probes:
                columns += [part.name + suffix, part.name + suffix + SPREAD]
                curves[part.name + suffix] = [
                    [_accuracy(part, self._draw(subject.train, count, draw), test) for draw in range(self.draws)]
                    for count in numbers_of_labels
                ]
        rows: list[tuple[Cell, ...]] = []
        for place, count in enumerate(numbers_of_labels):
            row: list[Cell] = [count]
            for values in curves.values():
                row += [mean(values[place]), stdev(values[place])]
            rows.append(tuple(row))
        shown = max((count for count in numbers_of_labels if count <= 10), default=numbers_of_labels[0])
        place = numbers_of_labels.index(shown)
        figures = {
            suffix: {
                f"{part.name}, {shown} labels a class": Measure(
                    mean(drawn := curves[part.name + suffix][place]),
                    "share",
                    "higher",
                    spread=stdev(drawn),
                    of=self.draws,
                )
                for part in self.probes
            }
            for suffix in subjects
        }
        return Finding(
            name="few-shot",
            figures=figures[""] if control is None else beside(figures[""], figures[f", {CONTROL}"]),
            tables={
                "curve": Table(
                    tuple(columns),
                    tuple(rows),
                    x="labels a class",
                    units=shares(*curves),
                    controls={name: name.removesuffix(f", {CONTROL}") for name in curves if name.endswith(CONTROL)},
                )
            },
            protocol={
                "probe": describe(self),
                "draws": "balanced, by (seed, draw, index); shared by all probes and the control",
                "spread": "standard deviation over draws",
                **embedded.protocol(),
            },
        )

    def _draw(self, train: Features, count: int, draw: int) -> Features:
        return per_class(train, count, self.seed, "few-shot", count, draw)


def _accuracy(part: AccuracyProbe, train: Features, test: Features) -> float:
    with warnings.catch_warnings():
        # Scikit-learn guesses that labels of which few a class were drawn are numbers to regress.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        hits: Tensor = part.fit(train).predict(test.x) == test.labels
    return float(hits.double().mean())
