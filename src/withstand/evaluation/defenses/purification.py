"""Purification: what a guard that cleans inputs, or adapts to them, is worth against attackers who know ever more.

The number that counts is the white-box one: the attacker knows filter and victim, goes back by the filter's own slopes
and straight through it (BPDA), and averages over draws of his own where it draws (EOT). All other numbers stand beside
it. A guard whose own slopes lead nowhere, while other ways round them break it, hides gradients (Athalye, Carlini and
Wagner, Obfuscated gradients give a false sense of security, 2018).

Sizes: `N` judged samples. Accuracies are shares of all of them, clean errors included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.square import Square
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import CrossEntropy, Margin
from withstand.attacks.paired import at_least, outdone, stronger
from withstand.attacks.problem import NoGradient
from withstand.attacks.single_passes import same_twice
from withstand.core.batch import as_structured
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.core.findings.norms import norms
from withstand.core.findings.pictures import across_classes
from withstand.core.part import Tree, describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Defense, Evaluator, Source, Trial
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit_case import ball_facts, ball_name, radius_check, strips
from withstand.evaluation.robustness.classifiers.plausible import skilled
from withstand.evaluation.small import digit_classifier, rounding, small_digits
from withstand.evaluation.statistics.intervals import Share, columns, shares

NOISE, BLACK, GREY, WHITE = "noise", "black-box", "grey-box", "white-box"
EXACT, AROUND = "its own slopes", "straight through"
"""The two ways back through a guard."""

KNOWS = {
    NOISE: "nothing: random changes of full size",
    BLACK: "the guarded outputs",
    GREY: "the bare victim",
    WHITE: "guard and victim",
}

PROTOCOL: dict[str, Tree] = {
    "attackers": dict(KNOWS),
    "white-box accuracy": "share of all samples that are right on the clean input and under every attack of all",
    "draws": "what an attack finds is judged by the guard, whose own draws it could not know",
    "interval": "95 %, Wilson",
}


@dataclass(frozen=True)
class Attempt:
    """What one attack found, and what the guard makes of it.

    Attributes:
        name: of the attack.
        by: who ran it: a key of `KNOWS`.
        way: how it went back through the guard: `EXACT`, `AROUND`, or "" where it did not.
        x: what it found.
        right: whether the guarded prediction is right on it, bool `(N,)`.
    """

    name: str
    by: str
    way: str
    x: Tensor
    right: Tensor


@dataclass(frozen=True)
class Purification(Evaluator):
    """Attack a guard that rejects nothing, from outside, from the bare victim, and knowing all.

    Args:
        ball: how far an input may be moved; untargeted.
        samples: how many samples are judged, drawn by the seed.
        steps: of each attack by gradients, APGD on the cross-entropy and on the margin.
        queries: of the black-box attack, Square.
        pictures: how many attacked pictures are kept.
        seed: of the choice of samples and of every draw.
        batch: samples attacked at once.
    """

    ball: Ball = Ball()  # noqa: RUF009 - a frozen value
    samples: int = 200
    steps: int = 40
    queries: int = 500
    pictures: int = 8
    seed: int = 0
    batch: int = 64

    product = "defense"

    def __post_init__(self) -> None:
        self.ball.refuse_l0("purification")
        if self.ball.targeted or self.ball.eps == 0:
            raise ConfigError(f"purification is judged in an untargeted ball with eps above 0, not {self.ball!r}")
        require_at_least(1, samples=self.samples, steps=self.steps, queries=self.queries, batch=self.batch)

    @classmethod
    def example(cls) -> Self:
        return cls(Ball("linf", 0.1), samples=16, steps=2, queries=3)

    def example_trial(self) -> Trial:
        return Trial(rounding(digit_classifier()), small_digits())

    def evaluate(
        self, subject: Defense, source: Source, *, test: Source | None = None, control: Defense | None = None
    ) -> Finding:
        """Return the finding "purification".

        Args:
            subject: a guard that rejects nothing.
            source: labelled samples.
            test: others to judge on.
            control: not used: the bare victim stands beside the guard.

        Raises:
            DataError: no labels, a guard that rejects inputs, or a victim that is right on no sample.
        """
        data = source if test is None else test
        rows = permutation(len(data), self.seed, "purification")[: self.samples]
        if not len(rows):
            raise DataError("there are no samples to judge on")
        batch = data[rows].to(device_of_network(subject.victim.model))
        if batch.y is None:
            raise DataError("purification is judged on labelled samples, and the source has no labels")
        if as_structured(batch.x) is not None:
            raise DataError(f"{type(batch.x).__name__} are no tensor that a ball fits round")
        x, y = subject.victim.ready(batch.x), batch.y
        told, bare = _told(subject, x, y), _bare(subject.victim, x, y)
        right = told.argmax(1) == y
        if not bool(bare.any()):
            raise DataError("the victim is right on none of the judged samples: there is nothing to guard")
        draws = Draws(derive(self.seed, "purification"), batch.index)
        attempts, silent = self._attempts(subject, x, y, draws)
        grey = [one for one in attempts if one.by == GREY]
        alone = worst([bare, *(_bare(subject.victim, one.x, y) for one in grey)])
        judged = Verdict(right, bare, alone, y == y.mode().values, tuple(attempts))
        ways: list[Tree] = [*sorted({one.way for one in attempts if one.way})]
        head = ball_name(self.ball.norm, self.ball.eps, subject.victim.scale)
        return Finding(
            name="purification",
            figures=_figures(judged, head),
            headline=_called(WHITE, head),
            tables={"attacks": _table(judged)},
            checks=(
                *radius_check(self.ball, subject.victim),
                _skilled(told, y, data.classes),
                judged.useful_check(),
                judged.honest_check(silent),
                judged.strength_check(),
                same_twice(subject.exposed(), x[: self.batch]),
            ),
            protocol={
                "purification": describe(self),
                **ball_facts(self.ball, subject.victim),
                "samples": len(rows),
                "samples given": len(data),
                "source": data.fingerprint(),
                "defense": describe(subject),
                "ways back": ways,
                **PROTOCOL,
                "verdict": judged.sentence(head),
            },
            pictures=self._pictures(subject, x, y, judged),
        )

    def climbers(self) -> dict[str, InputAttack]:
        """Return the attacks by gradients, by name."""
        return {
            f"APGD-{self.steps}, cross-entropy": APGD(self.ball, CrossEntropy(), steps=self.steps),
            f"APGD-{self.steps}, margin": APGD(self.ball, Margin(), steps=self.steps),
        }

    def _attempts(self, guard: Defense, x: Tensor, y: Tensor, draws: Draws) -> tuple[list[Attempt], list[str]]:
        """Return what every attack found, and the ways back on which there is no gradient."""
        changes = not torch.equal(guard(x).x_used, x)
        surfaces = [(EXACT, guard.exposed("exact" if changes else None))]
        surfaces += [(AROUND, guard.exposed("straight-through"))] if changes else []
        square = Square(self.ball, queries=self.queries)
        plan: list[tuple[str, InputAttack, str, str, Victim]] = [
            ("Noise", Noise(self.ball), NOISE, "", guard.victim),
            (f"Square-{self.queries}", square, BLACK, "", guard.exposed()),
            *((name, attack, GREY, "", guard.victim) for name, attack in self.climbers().items()),
            *((name, attack, WHITE, way, on) for way, on in surfaces for name, attack in self.climbers().items()),
        ]
        attempts, silent = [], []
        for name, attack, by, way, victim in plan:
            # Inputs that are adapted to together are attacked together.
            size = len(x) if victim.together else self.batch
            try:
                found = attack(victim, x, y, generator=draws.child(f"{by} {way} {name}"), batch=size).x
            except NoGradient:
                silent.append(way or by)
                continue
            attempts.append(Attempt(name, by, way, found, _right(guard, found, y)))
        return attempts, silent

    def _pictures(self, guard: Defense, x: Tensor, y: Tensor, judged: "Verdict") -> dict[str, npt.NDArray[np.uint8]]:
        """Return some pictures that break the guard: clean, attacked, and as the victim sees the attacked one."""
        for one in sorted(judged.attempts, key=lambda one: int(one.right.sum())):
            rows = across_classes((judged.right & ~one.right).nonzero().squeeze(1), y, self.pictures)
            if one.by != NOISE and len(rows):
                shown = strips(guard.victim, x[rows], one.x[rows])
                seen = guard(one.x).x_used[rows]  # of all: an adapter's inputs belong together
                return shown | ({"as the victim sees it": strips(guard.victim, seen, seen)["clean"]} if shown else {})
        return {}


@dataclass(frozen=True)
class Verdict:
    """What is right, sample by sample, bool `(N,)`, and what follows.

    Attributes:
        right: under the guard, on clean inputs.
        bare: without it, on clean inputs.
        alone: without it, under the attacks on the bare victim.
        alike: if every sample is given the most frequent label, which no attack changes.
        attempts: what all attacks found.
    """

    right: Tensor
    bare: Tensor
    alone: Tensor
    alike: Tensor
    attempts: tuple[Attempt, ...]

    def holds(self, by: str) -> Tensor:
        """Return which samples hold against one attacker; against the white-box one, under every attack."""
        return worst([self.right, *(one.right for one in self.attempts if by in (one.by, WHITE))])

    def broken(self, *ways: str) -> Tensor:
        """Return which samples some of the attacks break: those that went back so, or that are by these attackers."""
        kept = [one.right for one in self.attempts if one.way in ways or (not one.way and one.by in ways)]
        return self.right & ~worst([self.right, *kept])

    @property
    def helps(self) -> bool | None:
        """Whether more holds against an attacker who knows the guard than without it; None if chance may do it."""
        return stronger(~self.alone, ~self.holds(WHITE))

    @property
    def useful(self) -> bool | None:
        """Whether the guard helps, and more holds than if all get one label: who is blind cannot be attacked."""
        return stronger(~self.alike, ~self.holds(WHITE)) if self.helps is True else self.helps

    @property
    def hides(self) -> bool:
        """Whether the guard's own slopes find less than ways round them do, beyond chance."""
        return outdone(self.broken(EXACT), self.broken(AROUND, GREY, BLACK))

    def sentence(self, head: str) -> str:
        """Return what the guard is worth, the white-box number first."""
        white = (
            f"White-box accuracy {Share.of(self.holds(WHITE))} within {norms(head)}, {Share.of(self.alone)} without it"
        )
        if self.hides and self.helps is not True:
            return f"{white}: the guard only hides gradients."
        if self.helps is None:
            return f"{white}: {len(self.right)} samples cannot tell whether the guard helps."
        if self.helps and self.useful is not True:
            return (
                f"{white}: more than the bare victim withstands, but not clearly more than one answer for all would, "
                f"{Share.of(self.alike).value:.1%}."
            )
        if not self.helps:
            return f"{white}: the guard withstands no more than the bare victim does."
        hidden = " Its own slopes mislead; the number is by attacks that go round them." if self.hides else ""
        return f"{white}: the guard withstands more than the bare victim does.{hidden}"

    def useful_check(self) -> Check:
        """Check that the guard helps against an attacker who knows it, and does so by more than being blind."""
        detail = (
            f"{int(self.holds(WHITE).sum())} of {len(self.right)} samples hold, {int(self.alone.sum())} without it, "
            f"{int(self.alike.sum())} if all get one label"
        )
        return Check("it withstands more than the bare victim, even when the attacker knows it", self.useful, detail)

    def honest_check(self, silent: Sequence[str]) -> Check:
        """Check that the guard does more than hide gradients.

        Args:
            silent: ways back on which there is no gradient at all.
        """
        own, round_them = (int(self.broken(*ways).sum()) for ways in ((EXACT,), (AROUND, GREY, BLACK)))
        first = "it has no slopes of its own" if EXACT in silent else f"by its own slopes {own} samples break"
        detail = f"{first}, by ways round them {round_them} of {int(self.right.sum())}"
        return Check("it does more than hide gradients", not self.hides or self.helps is True, detail)

    def strength_check(self) -> Check:
        """Check that attacks which know the guard do at least what random noise does."""
        known, noise = self.broken(EXACT, AROUND), self.broken(NOISE)
        detail = f"they break {int(known.sum())} samples, noise {int(noise.sum())}"
        return Check("attacks that know the guard do at least what noise does", at_least(known, noise), detail)


def worst(conditions: Sequence[Tensor]) -> Tensor:
    """Return which samples meet every condition, bool `(N,)`."""
    return reduce(torch.logical_and, conditions)


def _skilled(told: Tensor, y: Tensor, classes: Sequence[str]) -> Check:
    """Check that clean samples are still told apart behind the guard."""
    found = skilled(told, y, classes, why="the guard takes away all that the victim goes by")
    return replace(found, name="behind the guard the clean accuracy is plausible")


def _right(guard: Defense, x: Tensor, y: Tensor) -> Tensor:
    return _told(guard, x, y).argmax(1) == y


def _told(guard: Defense, x: Tensor, y: Tensor) -> Tensor:
    """Return the logits `(N, C)` behind a guard."""
    outcome = guard(x)
    if outcome.accepted is not None or outcome.score is not None:
        raise DataError(f"{type(guard).__name__} scores or rejects inputs: judge it by Detection")
    CrossEntropy().check(outcome.logits, y)
    return outcome.logits


def _bare(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    with victim.held(), torch.no_grad():
        parts = [victim.output(x[start : start + 256].clone()) for start in range(0, len(x), 256)]
    return torch.cat(parts).argmax(1) == y


def _called(by: str, head: str) -> str:
    return f"accuracy under noise, {head}" if by == NOISE else f"{by} accuracy, {head}"


def _figures(judged: Verdict, head: str) -> dict[str, Measure]:
    found = {_called(by, head): judged.holds(by) for by in (WHITE, GREY, BLACK, NOISE)}
    found |= {"clean accuracy": judged.right, "clean accuracy without the guard": judged.bare}
    found[f"accuracy without the guard, {head}"] = judged.alone
    return {name: Share.of(holds).measure() for name, holds in found.items()}


def _table(judged: Verdict) -> Table:
    heads = ("attack", "the attacker knows", "goes back by", *columns("accuracy"))
    rows = tuple(
        (one.name, KNOWS[one.by], one.way or "-", *Share.of(judged.right & one.right).cells) for one in judged.attempts
    )
    return Table(heads, rows, units=shares(*heads[3:]))
