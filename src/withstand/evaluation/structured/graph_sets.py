"""The protocol of graph classification: a support vector machine on frozen features, in ten folds, several times."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.graphs.sets import GraphSet
from withstand.evaluation.features import Embedder, Features, embed
from withstand.evaluation.probes.probe import CONTROL
from withstand.evaluation.statistics.intervals import shares
from withstand.models.graphs.encoder import GIN

GRID = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class FoldedSVM(Evaluator):
    """An RBF support vector machine, C chosen within each fold's train part, scored on the rest (GraphMAE's code).

    Args:
        folds: stratified parts, each scored once.
        repeats: how many times the folds are drawn anew.
        inner: folds in which C is chosen.
        seed: of the first drawing; the next ones count on.
    """

    folds: int = 10
    repeats: int = 5
    inner: int = 5
    seed: int = 0

    name = "graphs"

    def __post_init__(self) -> None:
        if min(self.folds, self.inner) < 2 or self.repeats < 1:
            raise ConfigError(f"folds and inner must be at least 2, repeats at least 1: {self}")

    @classmethod
    def example(cls) -> Self:
        return cls(folds=2, repeats=2, inner=2)

    def example_trial(self) -> Trial:
        return Trial(GIN.example(), GraphSet.example(), GIN.example())

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Embed all samples and score them fold by fold.

        Args:
            subject: what embeds.
            source: labelled samples.
            test: not used: every sample is tested in one fold.
            control: an untrained encoder of the same kind.

        Raises:
            DataError: no labels, or a class with fewer samples than folds.
        """
        features = embed(subject, source)
        least = int(features.labels.bincount().min())
        if least < self.folds:
            raise DataError(f"{self.folds} folds need as many samples of each class, and one class has {least}")
        subjects = {"encoder": self._scores(features)}
        if control is not None:
            subjects[CONTROL] = self._scores(embed(control, source))
        accuracy = {name: self._accuracy(scores) for name, scores in subjects.items()}
        columns = ("repeat", *subjects)
        rows: list[tuple[Cell, ...]] = [
            (repeat, *(float(scores[repeat].mean()) for scores in subjects.values())) for repeat in range(self.repeats)
        ]
        return Finding(
            name=self.name,
            figures={"accuracy": replace(accuracy["encoder"], control=accuracy.get(CONTROL))},
            headline="accuracy",
            tables={"repeats": Table(columns, tuple(rows), units=shares(*subjects))},
            protocol={
                "protocol": f"RBF support vector machine on frozen features, stratified {self.folds} folds, C out of "
                f"{', '.join(f'{value:g}' for value in GRID)} by an inner search on each fold's train part; mean of "
                "folds, mean and standard deviation over drawings of the folds",
                "probe": describe(self),
                "samples": len(features),
                "width": features.width,
                "digest": features.digest(),
            },
        )

    def _accuracy(self, scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Measure:
        by_repeat = scores.mean(1)
        return Measure(float(by_repeat.mean()), "share", "higher", spread=float(by_repeat.std()), of=self.repeats)

    def _scores(self, features: Features) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return accuracies `(repeats, folds)`."""
        x, y = features.x.numpy(), features.labels.numpy()
        found = np.zeros((self.repeats, self.folds))
        for repeat in range(self.repeats):
            division = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed + repeat)
            for fold, (train, held) in enumerate(division.split(x, y)):
                search = GridSearchCV(SVC(), {"C": list(GRID)}, cv=self.inner, scoring="accuracy")
                found[repeat, fold] = search.fit(x[train], y[train]).score(x[held], y[held])
        return found
