"""What a classifier says of each version of a picture, and what they say together."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import ranked
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import labelled
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, columns, shares
from withstand.models.blocks.classifiers.aggregated import Aggregated

TOGETHER, ALONE, AGREED = "accuracy, all versions together", "accuracy, the unchanged version", "all versions agree"
_AT_ONCE = 256


class _Votes(NamedTuple):
    """Logits of each version `(N, M, C)`, and their mean `(N, C)`."""

    versions: Tensor

    @property
    def together(self) -> Tensor:
        return self.versions.mean(1)


@dataclass(frozen=True)
class VersionVotes(Evaluator):
    """How right each version of a picture is, alone and together, with some pictures and what is voted on them.

    Args:
        shown: pictures that are shown.
        versions: versions of each that are shown at most, in their order; all are counted.
        samples: most pictures that are judged, drawn by (seed, index).
        seed: of that choice.
    """

    shown: int = 8
    versions: int = 6
    samples: int = 2000
    seed: int = 0

    product = "classifier"

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.samples or self.versions < 1:
            raise ConfigError(
                f"shown must lie between 1 and samples, and versions be at least 1, not {self.shown!r} of "
                f"{self.samples!r} and {self.versions!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.pretext.sla import SLA

        return Trial(SLA.example().product("classifier"), small_pictures(), SLA.example().product("classifier"))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the classifier knows no versions, or that the data have no labels."""
        if not isinstance(subject, Aggregated) or len(subject.transforms) < 2:
            return f"{type(subject).__name__} sees one version of a picture only: there is nothing to vote"
        return "" if source.labels is not None else "votes are held against labels, and the data have none"

    def evaluate(
        self, subject: Aggregated, source: Source, *, test: Source | None = None, control: Aggregated | None = None
    ) -> Finding:
        """Return the finding "votes".

        Args:
            subject: the classifier.
            source: labelled samples.
            test: samples to judge on in place of the source's.
            control: the classifier untrained.

        Raises:
            ConfigError: the classifier knows no versions.
            DataError: the samples have no labels.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (ConfigError if judged.labels is not None else DataError)(lacking)
        judged = labelled(judged)
        batch = judged[ranked(len(judged), self.seed, "votes")[: self.samples]]
        assert batch.y is not None
        found, names = _voted(subject, batch), subject.transforms.names
        right = found.versions.argmax(2) == batch.y[:, None]
        figures = _figures(found, batch.y)
        if control is not None:
            beside = _figures(_voted(control, batch), batch.y)
            figures = {name: replace(measure, control=beside[name]) for name, measure in figures.items()}
        accuracy = columns("accuracy")
        rows = tuple((name, *Share.of(right[:, place]).cells) for place, name in enumerate(names))
        tables = {"accuracy by version": Table(("version", *accuracy), rows, units=shares(*accuracy))}
        pictures: dict[str, npt.NDArray[np.uint8]] = {}
        if len(judged.shape) == 3 and judged.shape[0] in (1, 3):
            pictures = self._shown(subject, batch)
            tables |= self._notes(found, batch.y, judged.classes, list(pictures))
        return Finding(
            "votes",
            figures=figures,
            headline=TOGETHER,
            tables=tables,
            protocol={
                "evaluator": describe(self),
                "samples": len(batch),
                "samples given": len(judged),
                "a version's vote": "the class, given the change that the version is known to be under",
                "together": "the mean of all versions' logits",
                "what the classifier itself says": subject.reading,
                "interval": "95 %, Wilson",
            },
            pictures=pictures,
        )

    def _shown(self, subject: Aggregated, batch: Batch) -> dict[str, npt.NDArray[np.uint8]]:
        x = unit_range(batch.x[: self.shown])
        return {
            name: as_bytes(subject.transforms.apply(x, place))
            for place, name in enumerate(subject.transforms.names[: self.versions])
        }

    def _notes(self, found: _Votes, y: Tensor, classes: tuple[str, ...], names: list[str]) -> dict[str, Table]:
        """Return what is written below each row of pictures, and below them all."""
        notes: dict[str, Table] = {}
        for place, name in enumerate(names):
            sure, vote = found.versions[: self.shown, place].softmax(1).max(1)
            cells: list[tuple[Cell, ...]] = [
                (_called(int(one), classes), float(share)) for one, share in zip(vote, sure, strict=True)
            ]
            notes[f"pictures, {name}"] = Table(("vote", "probability"), tuple(cells), units=shares("probability"))
        together = found.together[: self.shown].argmax(1)
        ends = tuple((_called(int(a), classes), _called(int(b), classes)) for a, b in zip(together, y, strict=False))
        return notes | {"pictures": Table(("together", "class"), ends)}


def _voted(subject: Aggregated, batch: Batch) -> _Votes:
    device, versions = device_of_network(subject), []
    with Victim(subject).held(), torch.no_grad():
        for start in range(0, len(batch), _AT_ONCE):
            x = unit_range(batch.x[start : start + _AT_ONCE].to(device))
            every = [subject.version(x, number) for number in range(len(subject.transforms))]
            versions.append(torch.stack(every, 1).float().cpu())
    return _Votes(torch.cat(versions))


def _figures(found: _Votes, y: Tensor) -> dict[str, Measure]:
    votes = found.versions.argmax(2)
    return {
        TOGETHER: Share.of(found.together.argmax(1) == y).measure(),
        ALONE: Share.of(votes[:, 0] == y).measure(),
        AGREED: Share.of((votes == votes[:, :1]).all(1)).measure(),
    }


def _called(label: int, classes: tuple[str, ...]) -> Cell:
    return classes[label] if label < len(classes) else label
