"""The certificate: on which samples a classifier is proven to hold, on which it is broken, and what nobody knows.

Sizes: `N` samples.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median, median_high
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.curve import Curve, curve
from withstand.attacks.objectives import Margin
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.core.findings.pictures import across_classes, drawn
from withstand.core.part import Tree, describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.threat import Ball
from withstand.core.victims.scale import Scale
from withstand.core.victims.victim import Outputs, Victim
from withstand.evaluation.provenance import traced
from withstand.evaluation.robustness.audit_case import (
    ball_facts,
    ball_name,
    eps_cells,
    eps_columns,
    eps_units,
    radius_check,
    strips,
)
from withstand.evaluation.robustness.classifiers.plausible import plausible
from withstand.evaluation.small import digit_classifier, small_digits
from withstand.evaluation.statistics.intervals import Share, shares
from withstand.verification.network.capture import capture
from withstand.verification.radius import proven_radii
from withstand.verification.solvers import Certifier, certify_by
from withstand.verification.specification.verdict import Verdict


@dataclass(frozen=True)
class Certificate(Evaluator):
    """Prove or break a classifier's answers within a ball, and draw both over radii.

    Args:
        ball: the threat model, untargeted.
        method: how proofs are sought at the ball's radius; see `withstand.verification.solvers`.
        samples: how many samples are certified, drawn by the seed as an audit draws them.
        radii: points of the curves, up to twice the ball's radius; that radius itself is always one.
        halvings: of the bisection, by the same method, that finds each sample's largest proven radius.
        timeout: seconds for each sample's verdict, and as many for its radius; see `withstand.verification.solvers`.
        features: inputs that a grid steps together; None for all.
        spans: a grid's steps to each side.
        pictures: how many counterexamples are kept.
        seed: of the choice of samples and of the attacks.
    """

    ball: Ball = Ball("linf", 2 / 255)  # noqa: RUF009 - a frozen value
    method: Certifier = "auto"
    samples: int = 100
    radii: int = 8
    halvings: int = 8
    timeout: float = 10.0
    features: int | None = None
    spans: int = 1
    pictures: int = 8
    seed: int = 0

    product = "classifier"

    def __post_init__(self) -> None:
        self.ball.refuse_tokens("a certificate")
        self.ball.refuse_l0("a certificate")
        if self.ball.targeted or self.ball.eps == 0:
            raise ConfigError(f"a certificate needs an untargeted ball with eps above 0, not {self.ball!r}")
        require_at_least(
            1, samples=self.samples, radii=self.radii, halvings=self.halvings, features=self.features, spans=self.spans
        )
        if not self.timeout > 0:
            raise ConfigError(f"timeout must be above 0 seconds, not {self.timeout!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(Ball("linf", 0.02), "ibp", samples=8, radii=2, halvings=2)

    def example_trial(self) -> Trial:
        return Trial(digit_classifier(), small_digits())

    def evaluate(
        self,
        subject: Victim | Callable[[Tensor], Outputs] | nn.Module,
        source: Source,
        *,
        test: Source | None = None,
        control: Victim | Callable[[Tensor], Outputs] | nn.Module | None = None,
    ) -> Finding:
        """Return the finding "certificate".

        Args:
            subject: a classifier in eval mode whose operations have bounds, or a victim of one.
            source: labelled samples; bytes are read as 0 to 1.
            test: samples to certify in place of the source's.
            control: not used: a proof needs none.

        Raises:
            DataError: no samples, no labels, inputs outside the range.
            ConfigError: an operation without bounds.
        """
        victim, source = subject if isinstance(subject, Victim) else Victim(subject), source if test is None else test
        if not len(source):
            raise DataError("a certificate needs samples, and the source is empty")
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        batch = source[rows].to(device_of_network(victim.model))
        if batch.y is None:
            raise DataError("a certificate is about right answers, and the source has no labels")
        x = victim.ready(batch.x)
        draws = Draws(derive(self.seed, "certificate"), batch.index)
        verdicts = certify_by(
            victim,
            x,
            batch.y,
            self.ball,
            method=self.method,
            timeout=self.timeout,
            features=self.features,
            spans=self.spans,
            generator=draws.child("attack"),
        )
        steps = (2 * self.ball.eps * step / self.radii for step in range(1, self.radii + 1))
        grid = tuple(sorted({*steps, self.ball.eps, 2 * self.ball.eps}))
        proven = proven_radii(
            victim, x, batch.y, self.ball, verdicts, most=grid[-1], method=self.method, steps=self.halvings,
            timeout=self.timeout, features=self.features, spans=self.spans,
        ).cpu()  # fmt: skip
        attack = APGD(self.ball, Margin(), steps=30, drop_finished=True)
        broken = curve(attack, victim, x, batch.y, eps=grid, generator=draws.child("curve"))
        broken = _closer(broken, victim, x, batch.y, Ball(self.ball.norm, grid[-1]), draws.child("closest")).cpu()
        pictures, notes = self._pictures(victim, x, batch.y, verdicts) if drawn(source) else ({}, {})
        head = ball_name(self.ball.norm, self.ball.eps, victim.scale)
        return Finding(
            name="certificate",
            figures=self._figures(verdicts, proven, broken, grid[-1], victim.scale),
            headline=f"proven share, {head}",
            tables={
                f"proven and attacked accuracy against eps, {self.ball.norm}": self._curves(
                    grid, proven, broken, victim.scale
                ),
                "verdicts": _by_method(verdicts),
                "samples": _by_sample(rows, verdicts, proven, broken),
                **notes,
            },
            checks=(
                *radius_check(self.ball, victim),
                plausible(victim, x, batch.y, source.classes),
                *_checks(self.ball, verdicts, proven, broken),
                *_left_out(victim, x),
            ),
            protocol={
                "certificate": describe(self),
                "ball": ball_facts(self.ball, victim),
                **traced(victim, source, rows, x, batch.y, asked=self.samples),
                "proven": "share of all samples whose label wins in all of the ball, in exact arithmetic for the "
                "model's weights",
                "broken": "share with an input of the ball that the model itself gets wrong, clean errors included",
                "undecided": "neither: the true robust accuracy lies between proven and proven + undecided",
                "curves": f"largest proven radius by {self.halvings} halvings with {self.method}, as the verdicts; "
                "smallest radius broken by APGD on the margin and FAB; none above "
                f"{grid[-1]:.4g} was tried",
                "headline": {"number": f"proven share, {head}", "ball": head, **_others(head)},
                "interval": "95 %, Wilson",
            },
            pictures=pictures,
        )

    def _figures(
        self, verdicts: tuple[Verdict, ...], proven: Tensor, broken: Curve, most: float, scale: Scale
    ) -> dict[str, Measure]:
        head = ball_name(self.ball.norm, self.ball.eps, scale)
        figures = {"clean accuracy": Share.of(broken.holds(0)).measure()}
        for name, status in (("proven", "safe"), ("broken", "unsafe"), ("undecided", "unknown")):
            found = Share.of(torch.tensor([verdict.status == status for verdict in verdicts]))
            figures[f"{name} share, {head}"] = found.measure("higher" if status == "safe" else "lower")
        right = broken.holds(0)
        if bool(right.any()):
            # Beyond the last radius nothing was tried: a sample that reaches it is only known to have no smaller one.
            for name, radius, open_ in (
                ("proven", proven, proven >= most),
                ("broken", broken.radius, broken.holds(most)),
            ):
                middle = median(radius[right].clamp_max(most).tolist())
                reached = median_high(open_[right].tolist())
                words = f"median {name} radius" + (", at least" if reached else "")
                figures[words] = Measure(middle, "radius", "higher", of=int(right.sum()))
        return figures

    def _curves(self, grid: tuple[float, ...], proven: Tensor, broken: Curve, scale: Scale) -> Table:
        rows = []
        for eps in (0.0, *grid):
            safe = broken.holds(0) if eps == 0 else proven >= eps
            cells = eps_cells(self.ball.norm, eps, scale)
            rows.append((*cells, Share.of(safe).value, Share.of(broken.holds(eps)).value))
        names = ("proven accuracy", "accuracy under attack")
        return Table(
            (*eps_columns(self.ball.norm, scale), *names),
            tuple(rows),
            x="eps",
            units=eps_units(self.ball.norm, scale) | shares(*names),
        )

    def _pictures(
        self, victim: Victim, x: Tensor, y: Tensor, verdicts: tuple[Verdict, ...]
    ) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, Table]]:
        """Return counterexamples to samples that were right, and what stands below them."""
        rows = [row for row, one in enumerate(verdicts) if one.counterexample is not None and one.method != "clean"]
        rows = across_classes(torch.tensor(rows, dtype=torch.int64), y.cpu(), self.pictures).tolist()
        if not rows:
            return {}, {}
        found = torch.stack([worse for row in rows if (worse := verdicts[row].counterexample) is not None])
        pictures = strips(victim, x[rows], found.to(x))
        with victim.held(), torch.no_grad():
            predicted = victim.output(found.to(x)).argmax(1).tolist()
        notes = tuple(
            (label, wrong, verdicts[row].method)
            for label, wrong, row in zip(y[rows].tolist(), predicted, rows, strict=True)
        )
        return pictures, {"pictures": Table(("label", "predicted", "found by"), notes)} if pictures else {}


def _others(head: str) -> dict[str, Tree]:
    """Return the names of the figures that the proven share is read beside."""
    return {name: f"{name} share, {head}" for name in ("broken", "undecided")}


def _left_out(victim: Victim, x: Tensor) -> tuple[Check, ...]:
    """Return what the certified network leaves out of the model, said in a check each."""
    with victim.held():
        notes = capture(victim, x[:1], check=False).notes
    return tuple(Check("the certified network answers as the model does", True, note) for note in notes)


def _closer(broken: Curve, victim: Victim, x: Tensor, y: Tensor, ball: Ball, draws: Draws) -> Curve:
    """Return the curve with each sample's radius lowered to the nearest counterexample that FAB finds within the ball.

    A curve's own radii are those that were tried; FAB seeks the distance itself.
    """
    rows = (broken.radius > 0).nonzero().squeeze(1)
    if not len(rows):
        return broken
    found = FAB(ball, steps=20)(victim, x[rows], y[rows], generator=draws[rows])
    nearer = found.success & (found.norm < broken.radius[rows])
    radius, nearest = broken.radius.clone(), broken.x.clone()
    radius[rows[nearer]] = found.norm[nearer].to(radius)
    nearest[rows[nearer]] = found.x[nearer].to(nearest)
    return replace(broken, radius=radius, x=nearest)


def _by_method(verdicts: tuple[Verdict, ...]) -> Table:
    spent: dict[tuple[str, str], list[float]] = {}
    for verdict in verdicts:
        spent.setdefault((verdict.status, verdict.method), []).append(verdict.seconds)
    order = sorted(spent, key=lambda key: (("safe", "unsafe", "unknown").index(key[0]), key[1]))
    rows = tuple((*key, len(spent[key]), round(sum(spent[key]), 3)) for key in order)
    return Table(("verdict", "by", "samples", "seconds"), rows, units={"seconds": "seconds"})


def _by_sample(rows: Tensor, verdicts: tuple[Verdict, ...], proven: Tensor, broken: Curve) -> Table:
    """Return each sample's verdict and radii; an infinite broken radius is one that no attack reached."""
    cells = tuple(
        (row, verdict.status, verdict.method, safe, None if worse == float("inf") else worse)
        for row, verdict, safe, worse in zip(
            rows.tolist(), verdicts, proven.tolist(), broken.radius.tolist(), strict=True
        )
    )
    radii = ("largest proven radius", "smallest broken radius")
    return Table(("sample", "verdict", "by", *radii), cells, units=dict.fromkeys(radii, "radius"))


def _checks(ball: Ball, verdicts: tuple[Verdict, ...], proven: Tensor, broken: Curve) -> tuple[Check, ...]:
    safe = torch.tensor([verdict.status == "safe" for verdict in verdicts])
    contradicted = int((safe & (broken.radius <= ball.eps)).sum()) + int((proven > broken.radius).sum())
    unknown = [verdict for verdict in verdicts if verdict.status == "unknown"]
    return (
        Check(
            "no attack breaks what is proven",
            contradicted == 0,
            f"{contradicted} of {len(verdicts)} proofs are contradicted by an attack",
        ),
        Check(
            "every sample is decided",
            None if unknown else True,
            f"{len(unknown)} of {len(verdicts)} are not" + (f": {unknown[0].reason}" if unknown else ""),
        ),
    )
