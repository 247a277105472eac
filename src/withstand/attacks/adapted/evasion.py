"""Attacks on a classifier and its detector at once: the adaptive ones that a detector has to face.

They need the surface of `Defense.exposed`: a dict with "logits", "lead" (accepted from 0 on) and "appeal" (a smooth
stand-in for the score, by class). The expectation over the detector's draws is the surface's own: it averages over
draws that are fresh at every point. A victim that gives bare logits has no detector, and is attacked as a classifier.

Sizes: `N` samples, `C` classes.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import Best
from withstand.attacks.objectives import AttackLoss, Margin, Objective, pick
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.core.threat import Ball, as_rows
from withstand.core.victims.victim import Outputs


@dataclass(frozen=True)
class Unnoticed(Margin):
    """The margin; its goal is met where the input is also accepted: "lead" is at least 0."""

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        hit = super().reached(outputs, y, targeted=targeted)
        return hit & (pick(outputs, "lead") >= 0) if _guarded(outputs) else hit


@dataclass(frozen=True)
class _Evasion(InputAttack):
    """Base: steps towards one wrong class a sample, by the two gradients; the best point seen is kept.

    Best is a point that deceives the classifier, then the one with the largest lead. The official attacks aim at the
    class after the label; here it is the wrong class that classifier and detector find least unlikely.
    """

    ball: Ball = Ball()  # noqa: RUF009 - a frozen value
    objective: Objective | AttackLoss = Unnoticed()
    steps: int = 50
    step_size: float | None = None
    loss: Literal["cross-entropy", "margin"] = "cross-entropy"

    def __post_init__(self) -> None:
        if self.ball.norm == "l1":
            raise ConfigError("attacks on detectors take norm 'linf' or 'l2'")
        if self.steps < 1:
            raise ConfigError(f"steps must be at least 1, not {self.steps}")
        if self.step_size is not None and not self.step_size > 0:
            raise ConfigError(f"step_size is a share of eps above 0, not {self.step_size!r}")
        if self.loss not in (known := get_args(_Evasion.__annotations__["loss"])):
            raise ConfigError(f"loss {self.loss!r} is unknown: {nearest(str(self.loss), known)}")

    @abstractmethod
    def _direction(self, deceived: Tensor, deceive: Tensor, persuade: Tensor) -> Tensor:
        """Return where to step, in units of the step size.

        Args:
            deceived: whether the classifier is deceived already, as the attack has it, bool `(N,)`.
            deceive: the gradient of what deceives the classifier, shaped like the inputs.
            persuade: the gradient of the wanted class's appeal; 0 without a detector.
        """

    def _deceived(self, outputs: Outputs, label: Tensor, wanted: Tensor) -> Tensor:
        """Return whether the classifier is deceived by enough, bool `(N,)`."""
        return _margin(outputs, wanted) > 0

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        label, wanted = self._aim(problem)
        length = self.ball.eps * (2.5 / self.steps if self.step_size is None else self.step_size)
        x, best = problem.x if start is None else start, Best(problem)
        for _ in range(self.steps):
            with torch.enable_grad():
                x = x.detach().requires_grad_(True)
                outputs = problem.outputs(x)
                margin = _margin(outputs, wanted)
                guarded = _guarded(outputs)
                rise = margin if self.loss == "margin" else _log_share(outputs, wanted)
                deceive = problem.slope(rise, x, keep_graph=guarded)
                if guarded:
                    persuade = problem.slope(pick(outputs, "appeal").gather(1, wanted[:, None]).squeeze(1), x)
                else:
                    persuade = torch.zeros_like(deceive)
            x = x.detach()
            self._keep(problem, best, x, outputs, margin)
            deceived = self._deceived(outputs, label, wanted)
            x = problem.confine(x + length * self._direction(deceived, deceive, persuade))
        with torch.no_grad():
            outputs = problem.outputs(x)
            self._keep(problem, best, x, outputs, _margin(outputs, wanted))
        return best.x

    def _keep(self, problem: Problem, best: Best, x: Tensor, outputs: Outputs, margin: Tensor) -> None:
        gain = pick(outputs, "lead") if _guarded(outputs) else margin
        best.update(problem, x, gain.detach(), margin.detach() > 0)

    def _aim(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the label, and the class to reach: the chosen one, or the wrong one that is least unlikely."""
        with torch.no_grad():
            outputs = problem.outputs(problem.x)
            problem.objective.check(outputs, problem.y)
            likely = pick(outputs, "logits").log_softmax(1)
            if self.ball.targeted:
                return likely.argmax(1), problem.y
            if _guarded(outputs):
                likely = likely + pick(outputs, "appeal")
            return problem.y, likely.scatter(1, problem.y[:, None], -torch.inf).argmax(1)


@dataclass(frozen=True)
class AdaptivePGD(_Evasion):
    """Steps along both gradients at once, each brought to unit length: the sum of their signs in Linf.

    The adaptive attack of the official BEYOND code (He et al., 2024), which takes 50 steps of 0.064 eps along each.

    Args:
        ball: Linf or L2.
        objective: what is reported; the steps have their own.
        steps: gradient steps.
        step_size: a step's length along each gradient as a share of eps; None for 2.5 / steps.
        loss: what deceives the classifier: the wanted class's "cross-entropy", as in the official code, or its
            "margin" over the others, whose gradient does not fade where the softmax is saturated.
    """

    def _direction(self, deceived: Tensor, deceive: Tensor, persuade: Tensor) -> Tensor:
        return self.ball.direction(deceive) + self.ball.direction(persuade)


@dataclass(frozen=True)
class OrthogonalPGD(_Evasion):
    """Steps along one gradient at a time (Bryniarski et al., Evading adversarial example detection defenses, 2022).

    The classifier's until it is deceived, then the detector's. BEYOND is attacked with 1000 steps of 0.032 eps by its
    authors.

    Args:
        ball: Linf or L2.
        objective: what is reported; the steps have their own.
        steps: gradient steps.
        step_size: a step's length as a share of eps; None for 2.5 / steps.
        loss: what deceives the classifier. "cross-entropy" is the official attack: it is deceived when the wanted
            class leads with `confidence` added to the label's logit. "margin" climbs the wanted class's margin over
            all others, until that exceeds `confidence`.
        orthogonal: take from each gradient its part along the other, so that a step for one does not undo the other;
            otherwise the "selective" attack.
        confidence: in logits.
    """

    orthogonal: bool = True
    confidence: float = 0.05

    def _deceived(self, outputs: Outputs, label: Tensor, wanted: Tensor) -> Tensor:
        if self.loss == "margin":
            return _margin(outputs, wanted) > self.confidence
        logits = pick(outputs, "logits").detach()
        handicap = torch.full_like(logits[:, :1], self.confidence)
        return logits.scatter_add(1, label[:, None], handicap).argmax(1) == wanted

    def _direction(self, deceived: Tensor, deceive: Tensor, persuade: Tensor) -> Tensor:
        first, second = deceive, persuade
        if self.orthogonal:
            first, second = without(deceive, persuade), without(persuade, deceive)
        # Without a detector nothing is left to do for a sample that is deceived.
        return self.ball.direction(torch.where(deceived.view(-1, *[1] * (deceive.dim() - 1)), second, first))


def without(gradient: Tensor, other: Tensor) -> Tensor:
    """Return each sample's gradient less its projection on another one, orthogonal to it; itself where that is 0.

    Args:
        gradient: `(N, ...)`.
        other: `(N, ...)`.
    """
    ours, theirs = as_rows(gradient).double(), as_rows(other).double()
    # Brought to length 1 by the largest entry first, so that tiny gradients do not vanish when squared.
    theirs = theirs / theirs.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    square = theirs.square().sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    kept = ours - (ours * theirs).sum(1, keepdim=True) / square * theirs
    return kept.to(gradient.dtype).view_as(gradient)


def _guarded(outputs: Outputs) -> bool:
    return isinstance(outputs, Mapping) and "appeal" in outputs


def _log_share(outputs: Outputs, wanted: Tensor) -> Tensor:
    """Return the wanted class's log-probability, `(N,)`."""
    return pick(outputs, "logits").log_softmax(1).gather(1, wanted[:, None]).squeeze(1)


def _margin(outputs: Outputs, wanted: Tensor) -> Tensor:
    """Return by how much the wanted class's logit leads all others, `(N,)`."""
    logits = pick(outputs, "logits")
    own = logits.gather(1, wanted[:, None]).squeeze(1)
    return own - logits.scatter(1, wanted[:, None], -torch.inf).amax(1)
