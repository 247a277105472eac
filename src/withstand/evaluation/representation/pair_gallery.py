"""Pairs by looks and by time that a method learns from, as pictures, and how many of them are of one class."""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes, drawn, pictures_of
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.clips.tracks import SimulatedTracks
from withstand.evaluation.statistics.intervals import Share, shares
from withstand.views.tracks import LATER

PURITY = "pairs by looks of one class"


@runtime_checkable
class JoinsTracks(Protocol):
    """A method that joins tracks by looks.

    Attributes:
        neighbour: the tracks that look most like each, nearest first, -1 where there are fewer, int64 `(N, k)`.
    """

    neighbour: Tensor


@dataclass(frozen=True)
class PairGallery(Evaluator):
    """Show tracks beside those that look like them, at first and later, and tell how pure these pairs are.

    A pair by both edges has the classes of its pair by looks, so that its purity is the same.

    Args:
        shown: tracks in the gallery, drawn by the seed.
        seed: of that choice.
    """

    shown: int = 12
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if self.shown < 1:
            raise ConfigError(f"shown must be at least 1, not {self.shown!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.contrastive.transitive_invariance import TransitiveInvariance

        return Trial(TransitiveInvariance.example(), SimulatedTracks.example())

    def lacks(self, subject: Any, source: Source) -> str:
        if not isinstance(subject, JoinsTracks):
            return f"{type(subject).__name__} joins no tracks"
        return "" if LATER in source[[0]].extras else "the data have no tracks"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "pairs".

        Args:
            subject: a method that is a `JoinsTracks`.
            source: the tracks that it learnt from, with labels where purity is to be told.
            test: has no use here.
            control: has no use here.

        Raises:
            ConfigError: the subject joins no tracks.
            DataError: other data than it learnt from.
        """
        if lacking := self.lacks(subject, source):
            raise (DataError if isinstance(subject, JoinsTracks) else ConfigError)(lacking)
        near = subject.neighbour.cpu()
        if len(near) != len(source):
            raise DataError(
                f"pairs are of the {len(near)} tracks that were learnt from, and these data have {len(source)}"
            )
        joined = near[:, 0] >= 0
        figures = {"tracks with a neighbour": Share.of(joined).measure()}
        tables = {}
        if source.labels is not None and bool(joined.any()):
            theirs, own = source.labels[near.clamp_min(0)], source.labels[:, None]
            counted = (near >= 0) & (theirs >= 0) & (own >= 0)  # a label is known of both
            same, count = (theirs == own) & counted, int(counted.sum())
            if count:
                figures[PURITY] = Measure(float(same.sum()) / count, "share", "higher", of=count)
                rows = tuple(
                    (place + 1, float(same[known, place].float().mean()))
                    for place in range(near.shape[1])
                    if bool((known := counted[:, place]).any())
                )
                columns = ("neighbour", "of the same class")
                tables["purity by rank"] = Table(columns, rows, units=shares("of the same class"))
        pictures = {}
        if drawn(source) and bool(joined.any()):
            chosen = permutation(len(source), self.seed, "gallery")
            ours = chosen[joined[chosen]][: self.shown]
            theirs = near[ours, 0]
            kinds = [pictures_of(source, ours), self._later(source, ours)]
            kinds += [pictures_of(source, theirs), self._later(source, theirs)]
            pictures["track, later, its neighbour, later"] = np.stack(kinds, 1)
        return Finding(
            "pairs",
            figures,
            tables,
            protocol={"judge": describe(self), "tracks": len(source), "neighbours": near.shape[1]},
            pictures=pictures,
            headline=PURITY if PURITY in figures else "tracks with a neighbour",
        )

    def _later(self, source: Source, index: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        later = source[index].extras[LATER]
        return as_bytes(later.float() / 255 if later.dtype == torch.uint8 else later)
