"""Detection: how well a defense tells attacked inputs from clean ones, by attacks that know it and by ones that do not.

It judges any `Defense` that rejects. Attacks that do not know the defense work on its classifier; those that do work on
`Defense.exposed`, and what they find is judged by the defense, whose draws they could not know.

Sizes: `N` judged samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.attacks.adapted.evasion import AdaptivePGD, OrthogonalPGD
from withstand.attacks.attack import InputAttack
from withstand.attacks.named import named
from withstand.attacks.objectives import pick
from withstand.attacks.problem import NoGradient
from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.findings.pictures import drawn
from withstand.core.part import Tree, describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Defense, Evaluator, Source, Trial
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.evaluation.defenses.detection.outcomes import (
    Attempt,
    Judged,
    attack_table,
    cells,
    judge,
    number,
    rate_check,
    roc_table,
    strength_check,
    worst,
)
from withstand.evaluation.defenses.detection.roc import auroc
from withstand.evaluation.robustness.audit_case import ball_name, strips
from withstand.evaluation.small import digit_classifier, doubting, small_digits
from withstand.evaluation.statistics.intervals import Share, shares

PROTOCOL: dict[str, Tree] = {
    "score": "higher is cleaner",
    "AUROC": "clean samples that are classified right against attacked ones that are right when clean and wrong now; "
    "an attack that deceives seldom looks easy to notice, so read it beside the accuracies over all samples",
    "accuracy with rejection": "share of all samples that are right and accepted when clean, and right or rejected "
    "under attack; a clean sample that is rejected is lost. All attacks: of the samples that met those which know the "
    "defense, what not one attack of all defeats",
    "threshold": "from clean samples that are not judged; no attacked ones are needed",
    "what an attacker may know": "attacks that know the defense know classifier, detector and threshold, but not the "
    "numbers that it will draw",
    "interval": "95 %, Wilson",
}


KEPT = "accuracy with rejection"
_SHOWN = {"square": "Square", "deepfool": "DeepFool", "noise": "Noise"}
"""Attacks that are no acronyms."""


@dataclass(frozen=True)
class Detection(Evaluator):
    """Attack what a defense guards, and count what it notices.

    Args:
        ball: how far an input may be moved; untargeted.
        attacks: on the classifier alone, by name (see `attacks.named`).
        adaptive: also run the attacks that know the defense; without them its strength is not known.
        samples: how many samples are judged, drawn by the seed.
        calibration: how many others a threshold may come from, see `clean`.
        known: how many of the judged samples meet the attacks that know the defense, which cost most.
        steps: of those attacks.
        fpr: the false-positive rate at which detection is told.
        pictures: how many attacked pictures are kept.
        seed: of the choice of samples and of every draw.
        batch: samples attacked at once.
    """

    ball: Ball = Ball()  # noqa: RUF009 - a frozen value
    attacks: tuple[str, ...] = ("fgsm", "pgd", "apgd", "square")
    adaptive: bool = True
    samples: int = 500
    calibration: int = 500
    known: int = 64
    steps: int = 30
    fpr: float = 0.05
    pictures: int = 8
    seed: int = 0
    batch: int = 64

    product = "defense"

    def __post_init__(self) -> None:
        if self.ball.targeted or self.ball.eps == 0:
            raise ConfigError(f"detection needs an untargeted ball with eps above 0, not {self.ball!r}")
        self.ball.refuse_tokens("detection")
        self.ball.refuse_l0("detection")
        if not self.attacks:
            raise ConfigError("attacks must name at least one attack on the classifier")
        require_at_least(1, samples=self.samples, calibration=self.calibration, known=self.known, steps=self.steps)
        if not 0 < self.fpr < 1:
            raise ConfigError(f"fpr must lie between 0 and 1, not {self.fpr!r}")
        self.unaware()  # an unknown name is told now

    @classmethod
    def example(cls) -> Self:
        return cls(Ball("linf", 0.1), attacks=("fgsm",), samples=12, calibration=12, known=4, steps=2)

    def example_trial(self) -> Trial:
        return Trial(doubting(digit_classifier()), small_digits())

    def unaware(self) -> dict[str, InputAttack]:
        """Return the attacks on the classifier alone."""
        return {name: named(name, self.ball) for name in self.attacks}

    def aware(self) -> dict[str, InputAttack]:
        """Return the attacks that know the defense."""
        return {
            "adaptive PGD": AdaptivePGD(self.ball, steps=self.steps),
            "orthogonal PGD": OrthogonalPGD(self.ball, steps=self.steps),
            "selective PGD": OrthogonalPGD(self.ball, steps=self.steps, orthogonal=False),
        }

    def clean(self, source: Source) -> Tensor:
        """Return the clean inputs that a threshold may come from: bytes as 0 to 1, none of them judged."""
        return unit_range(source[self._rows(source)[0]].x)

    def _rows(self, source: Source) -> tuple[Tensor, Tensor]:
        """Return which samples calibrate and which are judged; a small source is halved."""
        if len(source) < 2:
            raise DataError(f"detection needs samples to calibrate on and others to judge, not {len(source)} in all")
        order = permutation(len(source), self.seed, "detection")
        judged = min(self.samples, len(source) // 2)
        return order[judged : judged + self.calibration].sort().values, order[:judged]

    def evaluate(
        self,
        subject: Defense,
        source: Source,
        *,
        test: Source | None = None,
        control: Defense | None = None,
        name: str = "defense",
        beside: Mapping[str, Defense] | None = None,
    ) -> Finding:
        """Return the finding "detection".

        Args:
            subject: a defense with a threshold, best from `clean`.
            source: labelled samples.
            test: not used: the source is divided, see `clean`.
            control: not used; see `beside`.
            name: what the subject is called beside others.
            beside: other defenses of the same classifier, compared by the attacks that do not know them.

        Raises:
            DataError: no labels; no sample that is classified right; a defense without a threshold.
        """
        calibration, rows = self._rows(source)
        batch = source[rows].to(device_of_network(subject.victim.model))
        if batch.y is None:
            raise DataError("detection is judged on labelled samples, and the source has no labels")
        x, y = unit_range(batch.x), batch.y
        clean, draws = judge(subject, x, y), Draws(derive(self.seed, "detection"), batch.index)
        if not bool(clean.right.any()):
            raise DataError("the classifier is right on none of the judged samples: there is nothing to guard")
        attempts = [
            Attempt(_SHOWN.get(way, way.upper()), False, clean, judge(subject, found, y), found)
            for way, attack in self.unaware().items()
            for found in [attack(subject.victim, x, y, generator=draws.child(way), batch=self.batch).x]
        ]
        compared = self._compared({name: subject, **beside}, attempts, x, y) if beside else {}
        checks = [rate_check(clean, self.fpr, len(calibration))]
        if self.adaptive:
            few = slice(min(self.known, len(x)))
            surface = subject.exposed()
            checks.append(slope_check(surface, x[few], y[few]))
            if checks[-1].passed is not False:
                for way, attack in self.aware().items():
                    found = attack(surface, x[few], y[few], generator=draws[few].child(way), batch=self.batch).x
                    attempts.append(Attempt(way, True, clean.take(few), judge(subject, found, y[few]), found))
        shown = self._pictures(subject.victim, x, y, attempts[0], source.classes) if drawn(source) else ({}, {})
        pictures, notes = shown
        right = clean.score[clean.right]
        return Finding(
            name="detection",
            figures=self._figures(clean, attempts),
            headline=self._headline(attempts),
            tables={
                "attacks": attack_table(clean, attempts, self.fpr),
                "ROC by attack": roc_table({one.name: (right, one.worse.score[one.deceived]) for one in attempts}),
                **compared,
                **notes,
            },
            checks=(*checks, strength_check(attempts)),
            protocol={
                "detection": describe(self),
                "ball": {"norm": self.ball.norm, "eps": self.ball.eps},
                "samples": len(rows),
                "samples that calibrate": len(calibration),
                "source": source.fingerprint(),
                "defense": describe(subject),
                "attacks that know the defense": {way: describe(attack) for way, attack in self.aware().items()}
                if self.adaptive
                else None,
                **PROTOCOL,
            },
            pictures=pictures,
        )

    def _headline(self, attempts: list[Attempt]) -> str:
        """Return what the accuracy under these attacks is called."""
        which = "all attacks" if any(one.aware for one in attempts) else "attacks that do not know it"
        return f"{KEPT}, {which}, {ball_name(self.ball.norm, self.ball.eps)}"

    def _figures(self, clean: Judged, attempts: list[Attempt]) -> dict[str, Measure]:
        head = ball_name(self.ball.norm, self.ball.eps)
        right = clean.score[clean.right]
        blind = [one for one in attempts if not one.aware]
        bare = worst(blind, lambda one: one.clean.right & one.worse.right)
        left = Share.of(worst(blind, lambda one: one.handled))
        figures = {
            "clean accuracy": Share.of(clean.right).measure(),
            "clean accuracy with rejection": Share.of(clean.right & clean.accepted).measure(),
            f"accuracy without rejection, {head}": Share.of(bare).measure(),
            self._headline(blind): left.measure(),
        }
        if len(blind) < len(attempts):
            figures[self._headline(attempts)] = Share.of(worst(attempts, lambda one: one.handled)).measure()
        for one in attempts:
            area = number(auroc(right, one.worse.score[one.deceived]))
            if area is not None:
                figures[f"AUROC, {one.name}"] = Measure(area, "share", "higher", of=int(one.deceived.sum()))
        return figures

    def _compared(
        self, defenses: Mapping[str, Defense], attempts: list[Attempt], x: Tensor, y: Tensor
    ) -> dict[str, Table]:
        """Return the AUROC of each detector by attacks that know none of them, and their ROC curves."""
        clean = {name: judge(defense, x, y).score for name, defense in defenses.items()}
        rows: list[tuple[Cell, ...]] = []
        curves = {}
        for one in attempts:
            kept = one.deceived
            if one.aware or not bool(kept.any()):
                continue
            pairs = {
                name: (clean[name][one.clean.right], judge(defense, one.x[kept], y[kept]).score)
                for name, defense in defenses.items()
            }
            rows.append((one.name, int(kept.sum()), *(auroc(*pair) for pair in pairs.values())))
            curves[f"ROC by detector, {one.name}"] = roc_table(pairs)
        areas = Table(("attack", "deceived", *defenses), tuple(rows), units=shares(*defenses))
        return {"AUROC by detector": areas, **curves}

    def _pictures(
        self, victim: Victim, x: Tensor, y: Tensor, attempt: Attempt, classes: tuple[str, ...]
    ) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, Table]]:
        """Return some pictures that deceive the classifier, noticed or not, and what stands below them."""
        rows = attempt.deceived.nonzero().squeeze(1)[: self.pictures]
        pictures = strips(victim, x[rows], attempt.x[rows])
        if not pictures:
            return {}, {}
        told = ["accepted" if accepted else "rejected" for accepted in attempt.worse.accepted[rows].tolist()]
        truth, predicted = cells(classes, y[rows]), cells(classes, attempt.worse.predicted[rows])
        columns = ("label", f"predicted under {attempt.name}", "by the defense")
        return pictures, {"pictures": Table(columns, tuple(zip(truth, predicted, told, strict=True)))}


def slope_check(surface: Victim, x: Tensor, y: Tensor) -> Check:
    """Check that the detector's gradient reaches the input: without it an adaptive attack is blind.

    Args:
        surface: as `Defense.exposed` gives it.
        x: inputs.
        y: their labels.
    """
    name = "the detector's gradient reaches the input"
    x = surface.check(x).detach()
    moved = []
    try:
        with surface.held(), torch.enable_grad():
            for start in range(0, len(x), 64):
                part = x[start : start + 64].clone().requires_grad_(True)
                appeal = pick(surface(part), "appeal")
                worse = appeal.scatter(1, y[start : start + 64, None], -torch.inf).amax(1)
                slope = surface.slope(worse, part)
                if slope is None:
                    raise NoGradient
                moved.append((slope != 0).flatten(1).any(1))
    except NoGradient:
        return Check(name, False, "there is none: the attacks that know the defense could not be run")
    reached = torch.cat(moved).double().mean().item()
    return Check(name, reached > 0.9, f"it is not zero for {reached:.1%} of {len(x)} samples")
