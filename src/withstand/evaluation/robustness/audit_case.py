"""What the audits of accuracy and of embeddings share: the case, names and columns, and the pictures shown."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.checks import Climb
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import AttackLoss, Objective
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Check
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import Tree
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.scale import Scale
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.stages import Stages

CHECKED = 100
"""Samples on which the believability checks run, at most."""

PLAIN = Scale()
"""Of pictures in [0, 1]."""

LEARNT = "the learnt attack"
"""What an attack that was learnt beforehand is called in findings."""


@dataclass(frozen=True)
class Case:
    """A victim, the samples it is audited on, and how.

    Attributes:
        victim: the model.
        x: samples in the victim's range, `(N, ...)`.
        y: labels `(N,)`, or None.
        classes: their names; may be empty.
        draws: each sample's own stream.
        ball: the threat model that headlines.
        radii: ascending radii by norm, the headline's first.
        steps: gradient steps of each attack at each radius.
        restarts: of each attack at each radius.
        pictures: how many attacked pictures are shown.
        batch: samples attacked at once.
        protocol: what is already settled.
        stages: is told which run of an attack begins; None where nobody is.
    """

    victim: Victim
    x: Tensor
    y: Tensor | None
    classes: tuple[str, ...]
    draws: Draws
    ball: Ball
    radii: Mapping[Norm, tuple[float, ...]]
    steps: int
    restarts: int
    pictures: int
    batch: int
    protocol: Mapping[str, Tree]
    stages: Stages | None = None

    def before(self, attacks: Mapping[str, InputAttack], norm: Norm) -> Callable[[int, float, int, float], None] | None:
        """Return what a curve tells before each run of its attacks; None where nobody is told."""
        stages = self.stages
        if stages is None:
            return None
        named = list(attacks.items())

        def tell(place: int, eps: float, left: int, share: float) -> None:
            name, attack = named[place]
            stages.begin(attack, name, ball_name(norm, eps, self.victim.scale), left, share)

        return tell

    @property
    def labels(self) -> Tensor:
        """The labels, where accuracy is audited.

        Raises:
            DataError: there are none.
        """
        if self.y is None:
            raise DataError("an audit of accuracy needs labels")
        return self.y

    def climb(self, objective: Objective | AttackLoss, norm: Norm, *, drop_finished: bool) -> Climb:
        """Return the attack that draws the curve of one norm: PGD, or APGD in L1."""
        kind = APGD if norm == "l1" else PGD
        ball = replace(self.ball, norm=norm)
        return kind(ball, objective, steps=self.steps, restarts=self.restarts, drop_finished=drop_finished)

    def quick(self, norm: Norm) -> str:
        """Return what that attack is called, with its number of steps: "PGD-20"."""
        return f"{'APGD' if norm == 'l1' else 'PGD'}-{self.steps}"

    def few(self) -> "Case":
        """Return the case of the samples that the believability checks use."""
        y = None if self.y is None else self.y[:CHECKED]
        return replace(self, x=self.x[:CHECKED], y=y, draws=self.draws[slice(CHECKED)])


def learnt_runs(case: Case, learnt: InputAttack, objective: Objective) -> Iterator[tuple[InputAttack, Tensor, Tensor]]:
    """Run a learnt attack at every radius of the headline's norm; give it there, what it made and what succeeded.

    Raises:
        ConfigError: it aims at wanted outputs.
        DataError: it was learnt on samples of another shape.
    """
    if learnt.ball.targeted:
        raise ConfigError(f"this {type(learnt).__name__} aims at wanted outputs, and an audit has none")
    for eps in case.radii[case.ball.norm]:
        attack = replace(learnt, ball=replace(case.ball, eps=eps), objective=objective)
        found = attack(case.victim, case.x, case.y, generator=case.draws.child("learnt"), batch=case.batch)
        yield attack, found.x, found.success


def ball_name(norm: Norm, eps: float, scale: Scale = PLAIN) -> str:
    """Return a ball as it is called in findings: "linf 8/255", "l2 0.5"; "linf 5 %" of rows, "linf 8" of any range."""
    return f"{norm} {scale.told(norm, eps)}"


def eps_columns(norm: Norm, scale: Scale = PLAIN) -> tuple[str, ...]:
    """Return the headings of a table over radii; those of pictures are told as k/255 too."""
    return ("eps", "k/255") if norm == "linf" and scale.unit == "k/255" else ("eps",)


def eps_units(norm: Norm, scale: Scale = PLAIN) -> dict[str, str]:
    """Return the unit of the radii in such a table."""
    return {"eps": scale.unit if norm == "linf" else "radius"}


def eps_cells(norm: Norm, eps: float, scale: Scale = PLAIN) -> tuple[str | float, ...]:
    """Return the cells under `eps_columns`."""
    return (eps, scale.of_range(eps)) if norm == "linf" and scale.unit == "k/255" else (eps,)


def ball_facts(ball: Ball, victim: Victim) -> dict[str, Tree]:
    """Return a finding's facts of its threat model: norm, radius in input units, and as a share of their range."""
    facts: dict[str, Tree] = {"norm": ball.norm, "eps": ball.eps, "input range": [victim.low, victim.high]}
    if victim.span not in (1, math.inf) and ball.norm == "linf":
        facts["share of the range"] = victim.scale.of_range(ball.eps / victim.span)
    return facts


def radius_check(ball: Ball, victim: Victim) -> tuple[Check, ...]:
    """Check that the radius is not one meant for another input range; nothing where it fits."""
    if not victim.loses(ball.eps, ball.norm):
        return ()
    words = f"{ball.eps:.4g} is next to nothing of inputs from {victim.low:g} to {victim.high:g}"
    return (Check("the radius is in input units", False, f"{words}: {ball.eps * victim.span:.4g} may be meant"),)


def strips(victim: Victim, clean: Tensor, attacked: Tensor) -> dict[str, npt.NDArray[np.uint8]]:
    """Return clean and attacked pictures and their magnified difference, uint8 `(N, H, W, C)`.

    Each picture's largest change is magnified to about half the range, on grey; the strip's name says how often.
    Samples that are not pictures give none.
    """
    if clean.dim() != 4 or clean.shape[1] not in (1, 3) or not len(clean):
        return {}
    span = victim.high - victim.low
    change = (attacked - clean) / span
    largest = change.abs().flatten(1).amax(1).clamp_min(1e-3)
    factors = (0.5 / largest).int().clamp_min(1)
    low, high = int(factors.min()), int(factors.max())
    factor = f"x{low}" if low == high else f"x{low} to x{high}"
    shown = {
        "clean": (clean - victim.low) / span,
        "adversarial": (attacked - victim.low) / span,
        f"difference (magnified {factor})": 0.5 + factors.view(-1, 1, 1, 1) * change,
    }
    return {name: as_bytes(pictures) for name, pictures in shown.items()}
