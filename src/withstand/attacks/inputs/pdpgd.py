"""PDPGD, primal-dual proximal gradient descent (Matyasko and Chau, 2021): the nearest point as a constrained problem.

The change is moved down the victim's loss by proximal Adam (Melchior et al., 2019), the norm is lowered by its proximal
operator, and a multiplier for each input weighs one against the other: up after a failure, down after a success.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from withstand.attacks.inputs.boundary import needs_classes
from withstand.attacks.inputs.nearest import Closest, MinimalNorm, at_least_one, span_of
from withstand.attacks.objectives import AttackLoss, Margin, Objective
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm, as_rows, per_sample

_BETAS, _TINY = (0.9, 0.999), 1e-8
_L1 = Ball("l1")


@dataclass(frozen=True)
class PDPGD(MinimalNorm):
    """Descend on the softplus of the margin's shortfall and on the norm, with a multiplier that learns their weights.

    Changes are reckoned in shares of the input range. The norm is lowered by its proximal operator in the metric of
    Adam's step, by some fixed-point steps, which ask the victim for nothing.

    Args:
        ball: Linf, L2 or L1; how much of what is found counts.
        objective: what is raised; it has to be 0 on the boundary, as the margin is.
        steps: gradient steps.
        pace: the first step size.
        last_pace: the last step size over the first; it falls exponentially.
        first_share: the weight of the norm over that of the loss at first.
        least_share: the least of either over the other.
        dual_pace: the first step size of the multiplier's logarithm.
        last_dual_pace: the last one over the first; it falls in a line.
        average: of the old weights in their moving average.
        inner: most fixed-point steps of the proximal operator.
        tolerance: the relative change at which they end.
    """

    objective: Objective | AttackLoss = Margin()  # noqa: RUF009 - a frozen value
    steps: int = 500
    pace: float = 0.1
    last_pace: float = 0.01
    first_share: float = 0.01
    least_share: float = 1e-6
    dual_pace: float = 0.1
    last_dual_pace: float = 0.1
    average: float = 0.9
    inner: int = 5
    tolerance: float = 0.01

    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        needs_classes(self.objective)
        at_least_one(steps=self.steps, inner=self.inner)
        shares = (self.last_pace, self.first_share, self.least_share, self.last_dual_pace)
        if min(self.pace, self.dual_pace) <= 0 or not all(0 < share <= 1 for share in shares):
            raise ConfigError(
                "PDPGD needs pace and dual_pace above 0 and last_pace, first_share, least_share and last_dual_pace in "
                f"(0, 1], not {self.pace}, {self.dual_pace} and {', '.join(map(str, shares))}"
            )
        if not 0 <= self.average < 1 or not self.tolerance > 0:
            raise ConfigError(
                f"average must lie in [0, 1) and tolerance be above 0, not {self.average} and {self.tolerance}"
            )

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        closest, span = Closest(problem), span_of(problem)
        rows = closest.open()
        if not len(rows):
            return closest.x
        part = problem.take(rows)
        low, high = ((end - part.x) / span for end in (part.victim.low, part.victim.high))
        delta = torch.zeros_like(part.x) if start is None else (start[rows] - part.x) / span
        mean, square = torch.zeros_like(delta), torch.zeros_like(delta)
        # The norm's weight and the loss's are the softmax of 0 and this.
        weight = torch.full((len(rows),), -math.log(self.first_share), dtype=delta.dtype, device=delta.device)
        loss_share = weight.sigmoid()
        for step in range(self.steps):
            x = part.x + span * delta
            gain, success, slope = part.gradient(x)
            closest.update(rows[success], x[success])
            slope = -span * slope * per_sample((-gain).sigmoid(), slope)
            slope = slope if part.mask is None else slope * part.mask
            mean.lerp_(slope, 1 - _BETAS[0])
            square.lerp_(slope.square(), 1 - _BETAS[1])
            metric = square.sqrt() / (1 - _BETAS[1] ** (step + 1)) ** 0.5 + _TINY
            pace = self.pace * self.last_pace ** (step / self.steps)
            aim = (delta - pace / (1 - _BETAS[0] ** (step + 1)) * mean / metric).clamp(low, high)
            widest = as_rows(metric).amax(1)
            shrink = (1 - loss_share) / loss_share * pace / widest
            delta = self._lowered(aim, metric / per_sample(widest, metric), shrink, low, high)
            left = (self.steps - 1 - step) / max(1, self.steps - 1)
            dual_pace = self.dual_pace * (left * (1 - self.last_dual_pace) + self.last_dual_pace)
            most = -math.log(self.least_share)
            weight = (weight + dual_pace * (-gain).sign()).clamp(-most, most)
            loss_share = loss_share.lerp(weight.sigmoid(), 1 - self.average)
        closest.last(rows, part.x + span * delta)
        return closest.x

    def _lowered(self, aim: Tensor, metric: Tensor, shrink: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return changes near to those aimed at, in a metric, whose norm is lowered: the proximal operator's point.

        Args:
            aim: changes `(N, ...)`.
            metric: of each entry, the largest of a sample 1.
            shrink: what the norm counts, `(N,)`.
            low: least changes.
            high: largest changes.
        """
        moved = aim
        far = torch.ones(len(aim), dtype=torch.bool, device=aim.device)
        for _ in range(self.inner):
            new = self._proximal(moved - metric * (moved - aim), shrink).clamp(low, high)
            new = torch.where(per_sample(far, new).bool(), new, moved)
            apart, size = (as_rows(value).norm(dim=1) for value in (new - moved, new))
            moved, far = new, apart > self.tolerance * size
            if not bool(far.any()):
                break
        return moved

    def _proximal(self, delta: Tensor, shrink: Tensor) -> Tensor:
        """Return the minimiser of `|z - delta|^2 / 2 + shrink |z|` in the ball's norm."""
        if self.ball.norm == "l1":
            return (delta.abs() - per_sample(shrink, delta)).clamp_min(0).copysign(delta)
        if self.ball.norm == "l2":
            size = as_rows(delta).norm(dim=1).clamp_min(torch.finfo(delta.dtype).tiny)
            return delta * per_sample((1 - shrink / size).clamp_min(0), delta)
        return delta - _L1.project(delta, shrink)
