"""Points and masks that a trained network tells, beside the true ones: AUC of PCK, error, IoU, and the worst ten."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from withstand.core.batch import KEYPOINTS, MASK, VISIBLE, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Better, Check, Finding, Measure, Table
from withstand.core.findings.pictures import drawn, pictures_of
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.derived.paired import PairedSource
from withstand.evaluation.dense.keypoints.drawing import Lines, skeletons
from withstand.evaluation.dense.keypoints.scores import auc, distances, mask_iou, mean_error, pck
from withstand.evaluation.dense.segmentation.masks import overlaid
from withstand.evaluation.small import small_pictures
from withstand.losses.agreement.heatmaps import highest

AUC, IOU, SCORE, ERROR = "AUC of PCK", "IoU", "mean of AUC and IoU", "mean error"
HEIGHT, TIED = "mean height of bumps", "Spearman, confidence and error"
_UNITS = {SCORE: "ratio", AUC: "ratio", IOU: "ratio", ERROR: "pixels", HEIGHT: "ratio"}
_AT_ONCE = 64
_PUBLISHED = 20 / 128
"""The largest threshold of PCK as a share of the side: 20 of 128 pixels."""


@runtime_checkable
class Locates(Protocol):
    """A method whose networks tell points and masks."""

    def locators(self) -> Mapping[str, nn.Module]:
        """Return networks that give heatmaps `(B, J, H, W)` and mask logits `(B, H, W)`; the last is the method's."""
        ...

    def confidences(self, x: Tensor) -> Tensor:
        """Return how sure the method is of each picture, in [0, 1], `(B,)`."""
        ...

    def collapsed(self) -> str | None:
        """Return in words why that says nothing; "" where it does, None where nobody is asked."""
        ...


class _Told(NamedTuple):
    points: Tensor
    masks: Tensor
    sure: Tensor


@dataclass(frozen=True)
class KeypointJudge(Evaluator):
    """AUC of PCK, mean error in pixels, IoU of masks, and what confidence is worth, before and after adaptation.

    Points whose truth is not known do not count. The mean of AUC and IoU is there where both are.

    Args:
        lines: pairs of points between which lines are drawn.
        masks: whether masks are judged.
        most: largest threshold of PCK in pixels; 20 of 128, the paper's, as a share of the longer side if None.
        shown: pictures that are shown, the worst ones.
        truth: where the truth comes from, in words, where no person told it.
    """

    lines: Lines = ()
    masks: bool = True
    most: float | None = None
    shown: int = 10
    truth: str = ""

    product = "method"

    def __post_init__(self) -> None:
        if self.shown < 1:
            raise ConfigError(f"shown must be at least 1, not {self.shown!r}")
        if self.most is not None and not self.most > 0:
            raise ConfigError(f"most must be above 0 pixels, not {self.most!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.dense.c_gac import CGAC

        masks = torch.arange(64).view(1, 8, 8).repeat(8, 1, 1) // 40
        known = {"keypoints": torch.arange(32.0).view(8, 2, 2) % 8, "mask": masks}
        return Trial(CGAC.example(), PairedSource(small_pictures(8), known), CGAC.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method tells no points; what it learnt from needs none known, what judges it does."""
        return "" if isinstance(subject, Locates) else f"{type(subject).__name__} tells no points"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "keypoints".

        Args:
            subject: a method that `Locates`.
            source: pictures with points, where there is no test.
            test: pictures that are judged.
            control: the method untrained.

        Raises:
            ConfigError: the subject tells no points.
            DataError: no points are known.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise ConfigError(lacking)
        if KEYPOINTS not in judged[[0]].extras:
            raise DataError(f"{judged.name} has no points")
        batch = judged[torch.arange(len(judged))]
        true = batch.extras[KEYPOINTS].cpu()
        known = batch.extras.get(VISIBLE, torch.ones(true.shape[:2], dtype=torch.bool)).cpu()
        if not bool(known.any()):
            raise DataError(f"no point of {judged.name} is known")
        height, width = judged.shape[1:]
        most = self.most if self.most is not None else _PUBLISHED * max(height, width)
        masks = batch.extras[MASK].cpu() if self.masks and MASK in batch.extras else None
        if masks is not None and not bool((masks >= 0).any()):
            masks = None
        ways = dict(subject.locators())
        own = list(ways)[-1]
        told = {name: _told(network, batch.x) for name, network in ways.items()}
        if control is not None:
            told["untrained"] = _told(list(control.locators().values())[-1], batch.x)
        apart = {name: distances(one.points, true, known) for name, one in told.items()}
        overlap = {name: mask_iou(one.masks, masks) for name, one in told.items()} if masks is not None else {}
        scores = {name: _scores(apart[name], overlap.get(name), told[name].sure, most) for name in told}
        sure = _sure(subject, batch.x)
        figures = {
            name: Measure(
                value,
                _UNITS[name],
                None if name == HEIGHT else _way(name),
                of=len(judged),
                control=Measure(scores["untrained"][name], _UNITS[name], None if name == HEIGHT else _way(name))
                if "untrained" in scores
                else None,
            )
            for name, value in scores[own].items()
        }
        each = apart[own].nanmean(1)
        if float(sure.std()) > 0:
            counts = ~each.isnan()
            tied = float(spearmanr(sure[counts].numpy(), each[counts].numpy()).statistic)
            if not np.isnan(tied):
                figures[TIED] = Measure(tied, "correlation", None, of=int(counts.sum()))
        said = subject.collapsed()
        return Finding(
            name="keypoints",
            figures=figures,
            headline=SCORE if SCORE in figures else AUC,
            tables=self._tables(judged, scores, apart[own], overlap.get(own), sure, most),
            checks=()
            if said is None
            else (Check("the teachers are two networks", not said, said or "their weights differ"),),
            protocol={
                "evaluator": describe(self),
                "samples": len(judged),
                "points known": int(known.sum()),
                "truth": self.truth or "as the data tell it",
                "PCK": f"thresholds from 0 to {most:.4g} pixels, 100 of them, of pictures of {height} x {width}",
                "mean error": "over pictures of each point, then over points",
                "IoU": "at 0.5, mean over pictures; those of IoU 0 count, two empty masks are 1",
                "where points are": "the middle of the pixel in row i and column j is (j, i)",
            },
            pictures=self._pictures(judged, told, apart[own], true, known, masks, own),
        )

    def _tables(
        self,
        judged: Source,
        scores: Mapping[str, Mapping[str, float]],
        apart: Tensor,
        overlap: Tensor | None,
        sure: Tensor,
        most: float,
    ) -> dict[str, Table]:
        names = list(next(iter(scores.values())))
        ways = Table(
            ("network", *names),
            tuple((way, *(some[name] for name in names)) for way, some in scores.items()),
            units={name: _UNITS[name] for name in names},
        )
        at = torch.linspace(0, most, 11, dtype=torch.float64)
        curve = Table(
            ("threshold", "PCK"),
            tuple(zip(at.tolist(), pck(apart, at).tolist(), strict=True)),
            units={"threshold": "pixels", "PCK": "share"},
        )
        points = Table(
            ("point", ERROR),
            tuple((str(number), value) for number, value in enumerate(apart.nanmean(0).tolist())),
            units={ERROR: "pixels"},
        )
        rows = worst(apart, self.shown)
        called = [judged.names[row] if judged.names else str(row) for row in rows.tolist()]
        columns: dict[str, list[float]] = {ERROR: apart[rows].nanmean(1).tolist(), "confidence": sure[rows].tolist()}
        units = {ERROR: "pixels", "confidence": "ratio"}
        if overlap is not None:
            columns[IOU], units[IOU] = overlap[rows].tolist(), "ratio"
        bad = Table(("picture", *columns), tuple(zip(called, *columns.values(), strict=True)), units=units)
        return {"networks": ways, "PCK": curve, "points": points, "worst pictures": bad}

    def _pictures(
        self,
        judged: Source,
        told: Mapping[str, _Told],
        apart: Tensor,
        true: Tensor,
        known: Tensor,
        masks: Tensor | None,
        own: str,
    ) -> dict[str, npt.NDArray[np.uint8]]:
        """Return the worst pictures with the true points and masks, and those that each network tells."""
        if not drawn(judged):
            return {}
        rows = worst(apart, self.shown)
        plain = pictures_of(judged, rows)
        shown = {"true points": skeletons(plain, true[rows], known[rows], self.lines)}
        everywhere = torch.ones(len(rows), true.shape[1], dtype=torch.bool)
        for name, one in told.items():
            if name != "untrained":
                shown[f"points, {name}"] = skeletons(plain, one.points[rows], everywhere, self.lines)
        if self.masks:
            if masks is not None:
                shown["true masks"] = overlaid(plain, masks[rows].clamp_min(0))
            shown["masks, " + own] = overlaid(plain, told[own].masks[rows].long())
        return shown


def worst(apart: Tensor, most: int) -> Tensor:
    """Return the pictures with the largest mean error, the worst first; those without a known point are left out."""
    each = apart.nanmean(1)
    order = torch.where(each.isnan(), -torch.inf, each).argsort(descending=True, stable=True)
    return order[: min(most, int((~each.isnan()).sum()))]


def _way(name: str) -> Better:
    return "lower" if name == ERROR else "higher"


def _scores(apart: Tensor, overlap: Tensor | None, heights: Tensor, most: float) -> dict[str, float]:
    area = auc(apart, most)
    found = {AUC: area, ERROR: mean_error(apart), HEIGHT: float(heights.mean())}
    if overlap is None:
        return found
    share = float(overlap.nanmean())
    return {SCORE: (area + share) / 2, AUC: area, IOU: share, **found}


def _told(network: nn.Module, x: Tensor) -> _Told:
    device = device_of_network(network)
    parts: list[_Told] = []
    with Victim(network).held(), torch.no_grad():
        for some in torch.split(x, _AT_ONCE):
            maps, logits = network(unit_range(some).to(device))
            told = highest(maps.float()).cpu()
            parts.append(_Told(told[:, :, :2], (logits > 0).cpu(), told[:, :, 2]))
    return _Told(*(torch.cat([part[place] for part in parts]) for place in range(3)))


def _sure(subject: Any, x: Tensor) -> Tensor:
    device = device_of_network(subject)
    with Victim(subject).held(), torch.no_grad():
        return torch.cat(
            [subject.confidences(unit_range(some).to(device)).double().cpu() for some in torch.split(x, _AT_ONCE)]
        )
