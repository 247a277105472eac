"""Masks of a trained segmenter beside the true ones: Dice by structure and volume, and the worst slices."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import MASK
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.volumes.source import VolumeSource
from withstand.evaluation.dense.segmentation.masks import by_volume, masked_volumes, predicted, scores, worst_slices
from withstand.models.dense.unet import Segmenter, UNet

DICE = "Dice"


@dataclass(frozen=True)
class SegmentationJudge(Evaluator):
    """Dice of a segmenter on volumes whose masks are known, the mean over structures and then volumes.

    Args:
        shown: slices that are shown, the worst ones.
    """

    shown: int = 8

    product = "segmenter"

    def __post_init__(self) -> None:
        if self.shown < 1:
            raise ConfigError(f"shown must be at least 1, not {self.shown!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(2)

    def example_trial(self) -> Trial:
        return Trial(Segmenter(UNet.example(), 2), VolumeSource.example(), Segmenter(UNet.example(), 2))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that it is no segmenter, or that no mask is known."""
        if not isinstance(subject, Segmenter):
            return f"a {type(subject).__name__} tells no structures"
        if not source.structures:
            return f"{source.name} has no masks"
        return "" if masked_volumes(source) else f"no volume of this part of {source.name} has a mask"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "dice".

        Args:
            subject: a segmenter.
            source: slices, where there is no test: then what was learnt from is judged, which flatters.
            test: slices of the volumes that are judged.
            control: an untrained segmenter.

        Raises:
            ConfigError: the subject is no segmenter.
            DataError: no mask is known.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, Segmenter) else ConfigError)(lacking)
        volumes = masked_volumes(judged)
        rows = torch.cat(volumes)
        true = judged[rows].extras[MASK]
        found, dice = self._told(subject, judged, volumes, true)
        control_dice = None if not isinstance(control, Segmenter) else self._told(control, judged, volumes, true)[1]
        names = judged.structures[1:]
        figures = {DICE: _mean(dice, control_dice)} | {
            f"{DICE}, {name}": _mean(dice[:, [place]], None if control_dice is None else control_dice[:, [place]])
            for place, name in enumerate(names)
            if bool(dice[:, place].isfinite().any())
        }
        pictures, worst = worst_slices(judged, rows, found, true, self.shown)
        return Finding(
            name="dice",
            figures=figures,
            headline=DICE,
            tables={"volumes": by_volume(judged, volumes, dice, names), **worst},
            protocol={
                "evaluator": describe(self),
                "volumes": len(volumes),
                "slices": len(rows),
                "mean": "over structures, then volumes; where neither mask has a structure it does not count",
                "judged": "test volumes" if test is not None else "the volumes that were learnt from",
            },
            pictures=pictures,
        )

    def _told(self, network: Segmenter, source: Source, volumes: list[Tensor], true: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted masks of all slices, and Dice, `(V, K - 1)`."""
        with Victim(network).held():
            found = predicted(network, source, torch.cat(volumes))
        places = torch.arange(len(volumes)).repeat_interleave(torch.tensor([len(one) for one in volumes]))
        return found, scores(found, true, places, len(source.structures))


def _mean(dice: Tensor, control: Tensor | None) -> Measure:
    each = dice.nanmean(1)
    value = float(each.nanmean())
    beside = None if control is None else Measure(float(control.nanmean(1).nanmean()), "ratio", "higher")
    return Measure(value, "ratio", "higher", of=int(each.isfinite().sum()), control=beside)
