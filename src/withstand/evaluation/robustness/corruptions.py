"""The corruption bench: what is left of an accuracy under the fifteen common corruptions.

Sizes: `N` samples, corruptions x severities pictures for each of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.attacks.objectives import pick
from withstand.core.batch import Batch
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, nearest, require_at_least
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Outputs, Victim
from withstand.evaluation.provenance import traced
from withstand.evaluation.robustness.classifiers.plausible import plausible
from withstand.evaluation.small import digit_classifier, small_digits
from withstand.evaluation.statistics.intervals import Share, shares
from withstand.views.pictures.common_corruptions.corruptions import CORRUPTIONS, Corruption
from withstand.views.pictures.picture import check_pictures, own_copy

MEAN = "mean accuracy under corruptions"


def check_corruptible(source: Source) -> None:
    """Refuse samples whose accuracy under corruptions cannot be counted.

    Raises:
        DataError: they are no pictures, or have no labels.
    """
    if source.kind != "picture":
        raise DataError(f"corruptions are of pictures, and a sample of these data is a {source.kind}")
    if source.labels is None:
        raise DataError("corruptions take accuracy away, which needs labels, and the data have none")


@dataclass(frozen=True)
class CorruptionBench(Evaluator):
    """Corrupt a classifier's test pictures, by kind and severity, and count what it still gets right.

    The settings are CIFAR-10-C's; see `withstand.views.pictures.common_corruptions.corruptions` for what differs from
    the published files.

    Args:
        kinds: names of corruptions; the mean is over these.
        severities: 1 to 5.
        samples: how many pictures are used, drawn by the seed as an audit draws them.
        seed: of the choice of samples and of every draw.
        batch: pictures at once.
    """

    kinds: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    samples: int = 500
    seed: int = 0
    batch: int = 250

    product = "classifier"

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in CORRUPTIONS:
                raise ConfigError(f"corruption {kind!r} is unknown: {nearest(kind, CORRUPTIONS)}")
        if not self.kinds or not self.severities or not set(self.severities) <= set(range(1, 6)):
            raise ConfigError(f"give corruptions, and severities from 1 to 5, not {self.severities}")
        require_at_least(1, samples=self.samples, batch=self.batch)

    @classmethod
    def example(cls) -> Self:
        return cls(kinds=("fog", "contrast"), severities=(1, 3), samples=16)

    def example_trial(self) -> Trial:
        return Trial(digit_classifier(), small_digits(), digit_classifier())

    def evaluate(
        self,
        subject: Victim | Callable[[Tensor], Outputs],
        source: Source,
        *,
        test: Source | None = None,
        control: Victim | Callable[[Tensor], Outputs] | None = None,
    ) -> Finding:
        """Return the finding "corruptions".

        Args:
            subject: a victim that gives logits, or a model that takes inputs in [0, 1].
            source: labelled pictures, uint8 or float in [0, 1].
            test: pictures to use in place of the source's.
            control: another model, to compare the mean with.

        Raises:
            DataError: no samples, no labels, or inputs that are no pictures.
        """
        source = source if test is None else test
        if not len(source):
            raise DataError("a corruption bench needs samples, and the source is empty")
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values  # an audit's samples
        batch = source[rows]
        if batch.y is None:
            raise DataError("a corruption bench counts right answers, and the source has no labels")
        check_pictures(batch.x)
        victim = subject if isinstance(subject, Victim) else Victim(subject)
        x = self._clean(victim, batch.x)
        share = self._shares(victim, batch)
        by_kind = {kind: self._mean(share, kind) for kind in self.kinds}
        worst = min(by_kind, key=lambda kind: by_kind[kind])
        clean = share["", 0]
        untrained = None
        if control is not None:
            other = self._shares(control if isinstance(control, Victim) else Victim(control), batch)
            untrained = self._measure(sum(self._mean(other, kind) for kind in self.kinds) / len(by_kind), len(rows))
        table: list[tuple[Cell, ...]] = [
            (kind, *[share[kind, s] for s in self.severities], by_kind[kind]) for kind in self.kinds
        ]
        curve: list[tuple[Cell, ...]] = [(s, *[share[kind, s] for kind in self.kinds]) for s in self.severities]
        columns = ("corruption", *(f"severity {s}" for s in self.severities), "mean")
        return Finding(
            "corruptions",
            figures={
                "clean accuracy": Share(round(clean * len(rows)), len(rows)).measure(),
                MEAN: replace(self._measure(sum(by_kind.values()) / len(by_kind), len(rows)), control=untrained),
                f"accuracy under the worst corruption, {worst}": self._measure(by_kind[worst], len(rows)),
            },
            headline=MEAN,
            tables={
                "accuracy by corruption": Table(columns, tuple(table), units=shares(*columns[1:])),
                "accuracy over severity": Table(
                    ("severity", *self.kinds), tuple(curve), x="severity", units=shares(*self.kinds)
                ),
            },
            checks=(plausible(victim, x, batch.y.to(x.device), source.classes, batch=self.batch),),
            protocol={
                "bench": describe(self),
                **traced(victim, source, rows, x, batch.y, asked=self.samples),
                "settings": "CIFAR-10-C's, whatever the pictures' size",
                "frost": "a computed texture, not the published photographs",
                "interval": "95 %, Wilson",
            },
        )

    def _measure(self, value: float, samples: int) -> Measure:
        return Measure(value, "share", "higher", of=samples)

    def _mean(self, share: Mapping[tuple[str, int], float], kind: str) -> float:
        return sum(share[kind, severity] for severity in self.severities) / len(self.severities)

    def _shares(self, victim: Victim, batch: Batch) -> dict[tuple[str, int], float]:
        """Return the accuracy by kind and severity; clean pictures are kind "" and severity 0."""
        cases = [("", 0), *((kind, severity) for kind in self.kinds for severity in self.severities)]
        with victim.held(), torch.no_grad():
            return {case: self._hits(victim, batch, *case) / len(batch) for case in cases}

    def _hits(self, victim: Victim, batch: Batch, kind: str, severity: int) -> int:
        """Return how many pictures are still classified right."""
        assert batch.y is not None
        view = Corruption(kind, severity) if kind else None
        seed, device = derive(self.seed, "corruptions", kind, severity), device_of_network(victim.model)
        right = 0
        for first in range(0, len(batch), self.batch):
            rows = slice(first, first + self.batch)
            if view is None:
                x = self._clean(victim, batch.x[rows])
            else:
                unit = own_copy(batch.x[rows].to(device))
                x = view.change(unit, Draws(seed, batch.index[rows].to(device))) * victim.span + victim.low
            logits = pick(victim(x), "logits")
            right += int((logits.argmax(1).cpu() == batch.y[rows].cpu()).sum())
        return right

    def _clean(self, victim: Victim, pictures: Tensor) -> Tensor:
        """Return pictures in the victim's range, as an audit reads them."""
        pictures = pictures.to(device_of_network(victim.model))
        return victim.ready(pictures if pictures.dtype == torch.uint8 else pictures * victim.span + victim.low)
