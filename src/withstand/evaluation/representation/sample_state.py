"""What a method keeps of every training sample, and the samples at both ends of it."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.findings.pictures import drawn, pictures_of
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Method, Source, Trial
from withstand.evaluation.features import Embedder
from withstand.evaluation.small import small_pictures

OWN = "the method's own"
"""The unit of what a method keeps of its samples."""
_BINS = 40


@dataclass(frozen=True)
class SampleState(Evaluator):
    """How a method's per-sample state is spread over samples and classes, and which samples lie at its ends.

    Args:
        ends: samples shown at each end.
    """

    ends: int = 10

    product = "method"

    def __post_init__(self) -> None:
        if self.ends < 1:
            raise ConfigError(f"ends must be at least 1, not {self.ends!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(ends=2)

    def example_trial(self) -> Trial:
        from withstand.methods.contrastive.isogclr import ISogCLR

        return Trial(ISogCLR.example(), small_pictures(8))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method keeps nothing of its samples, where it does not."""
        kept = isinstance(subject, Method) and subject.sample_state()
        return "" if kept else f"{type(subject).__name__} keeps nothing of its samples that could be shown"

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Return the finding "samples".

        Args:
            subject: a method with `sample_state`.
            source: what it was trained on.
            test: not used: the method keeps nothing of it.
            control: not used: an untrained method has seen no sample.

        Raises:
            ConfigError: the subject keeps nothing of its samples.
            DataError: it was trained on other data than these, or has seen none of them.
        """
        lacking = self.lacks(subject, source)
        if lacking or not isinstance(subject, Method):
            raise ConfigError(lacking)
        state = subject.sample_state()
        figures: dict[str, Measure] = {}
        tables: dict[str, Table] = {}
        pictures: dict[str, npt.NDArray[np.uint8]] = {}
        for name, values in state.items():
            values = values.detach().double().cpu()
            if values.shape != (len(source),):
                raise DataError(f"{name} is kept of {len(values)} samples, and the data have {len(source)}")
            known = values.isfinite().nonzero()[:, 0]
            if not len(known):
                raise DataError(f"{name} is known of no sample yet: train first")
            order = known[values[known].argsort(stable=True)]
            figures |= _spread(name, values[known])
            tables[f"{name} of the samples"] = _histogram(name, values[known])
            figures |= _by_frequency(name, values, known, source.labels)
            if source.labels is not None:
                tables[f"{name} by class"] = _by_class(name, values, known, source, source.labels)
            count = min(self.ends, len(order) // 2) or 1
            for end, rows in ((f"lowest {name}", order[:count]), (f"highest {name}", order[-count:].flip(0))):
                tables[f"pictures, {end}"] = _rows(name, values, rows, source)
                if drawn(source):
                    pictures[end] = pictures_of(source, rows)
        return Finding(
            name="samples",
            figures=figures,
            tables=tables,
            protocol={"evaluator": describe(self), "samples": len(source), "data": source.name},
            pictures=pictures,
        )


def _spread(name: str, values: Tensor) -> dict[str, Measure]:
    count, deviation = len(values), float(values.std(correction=0))
    return {
        f"{name}, mean": Measure(float(values.mean()), OWN, None, spread=deviation, of=count),
        f"{name}, lowest": Measure(float(values.min()), OWN, None, of=count),
        f"{name}, highest": Measure(float(values.max()), OWN, None, of=count),
    }


def _histogram(name: str, values: Tensor) -> Table:
    """Return how many samples lie in each of even bins."""
    low, high = float(values.min()), float(values.max())
    bins = _BINS if high > low else 1
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
    count = torch.bincount(torch.bucketize(values, edges[1:-1]), minlength=bins)
    middles = (edges[1:] + edges[:-1]) / 2
    return Table(
        (name, "samples"), tuple(zip(middles.tolist(), count.tolist(), strict=True)), x=name, units={name: OWN}
    )


def _by_frequency(name: str, values: Tensor, known: Tensor, labels: Tensor | None) -> dict[str, Measure]:
    """Return Spearman's correlation with the size of a sample's class, where one is at least twice another."""
    if labels is None:
        return {}
    known = known[labels[known] >= 0]
    if not len(known):
        return {}
    sizes = torch.bincount(labels[labels >= 0])[labels[known]]
    if 2 * int(sizes.min()) > int(sizes.max()) or float(values[known].std(correction=0)) == 0:
        return {}
    found = spearmanr(values[known].numpy(), sizes.numpy()).statistic
    correlation = Measure(float(found), "correlation", None, of=len(known))
    return {f"rank correlation of {name} with the size of the class": correlation}


def _by_class(name: str, values: Tensor, known: Tensor, source: Source, labels: Tensor) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label in torch.unique(labels[known][labels[known] >= 0]).tolist():
        some = values[known[labels[known] == label]]
        rows.append((_class(source, label), len(some), float(some.mean()), float(some.std(correction=0))))
    return Table(("class", "samples", name, f"{name} ±"), tuple(rows), units={name: OWN})


def _rows(name: str, values: Tensor, rows: Tensor, source: Source) -> Table:
    """Return what is written below the pictures of one end."""
    columns: tuple[str, ...] = (name, "number")
    cells: list[tuple[Cell, ...]] = [(float(values[row]), int(row)) for row in rows]
    if source.labels is not None:
        columns = (*columns, "class")
        cells = [(*one, _class(source, int(source.labels[row]))) for one, row in zip(cells, rows, strict=True)]
    return Table(columns, tuple(cells), units={name: OWN})


def _class(source: Source, label: int) -> Cell:
    if label < 0:
        return None
    return source.classes[label] if label < len(source.classes) else label
