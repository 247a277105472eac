"""FMN, the fast minimum-norm attack (Pintor et al., 2021), in L0, L1, L2 and Linf."""

import math
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from withstand.attacks.inputs.boundary import distance, needs_classes
from withstand.attacks.inputs.nearest import Closest, MinimalNorm, at_least_one, farthest, span_of
from withstand.attacks.objectives import AttackLoss, Margin, Objective
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm

_L2 = Ball("l2")


@dataclass(frozen=True)
class FMN(MinimalNorm):
    """Climb the margin inside a ball of the sample's own, which shrinks after a success and grows after a failure.

    Until a first success that ball reaches to the linearised boundary. It may stay there, where the range cuts every
    step short of a boundary that a plane foretells to be near: on scikit-learn's digits that finds nothing for two of
    three in L2, and `growth=0.02` finds all. In every norm the step is along the gradient, at unit L2 length.
    The last point of the steps is not put to the victim, as in the authors' code.

    Args:
        ball: any norm; how much of what is found counts.
        objective: what is raised; it has to be 0 on the boundary, as the margin is.
        steps: gradient steps.
        pace: the first step's length, as a share of the input range (alpha of the paper); the last is a hundredth.
        change: the part by which the ball grows or shrinks at first (gamma).
        last_change: and at last.
        growth: by which part the ball grows at least at each step before a first success; None for the paper's, where
            it may stay.
    """

    objective: Objective | AttackLoss = Margin()  # noqa: RUF009 - a frozen value
    steps: int = 1000
    pace: float = 1.0
    change: float = 0.05
    last_change: float = 0.001
    growth: float | None = None

    norms: ClassVar[tuple[Norm, ...]] = get_args(Norm)

    def __post_init__(self) -> None:
        needs_classes(self.objective)
        at_least_one(steps=self.steps)
        if not 0 < self.last_change <= self.change < 1 or not self.pace > 0 or (self.growth or 0) < 0:
            raise ConfigError(
                "FMN needs pace above 0, 0 < last_change <= change < 1 and growth of 0 or more, "
                f"not {self.pace}, {self.last_change}, {self.change} and {self.growth}"
            )

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        closest, span = Closest(problem), span_of(problem)
        low, high = problem.victim.low, problem.victim.high
        rows = closest.open()
        if not len(rows):
            return closest.x
        part = problem.take(rows)
        x, most = part.x if start is None else start[rows], farthest(part)
        radius = self.ball.size(x - part.x).clamp_min(1) if self.ball.norm == "l0" else torch.full_like(most, torch.inf)
        for step in range(self.steps):
            cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
            change = self.last_change + (self.change - self.last_change) * cosine
            pace = self.pace * span * (0.01 + 0.99 * cosine)
            gain, success, slope = part.gradient(x)
            closest.update(rows[success], x[success])
            best = closest.size[rows].to(most)
            if self.ball.norm == "l0":
                fewer = torch.minimum(torch.minimum(radius - 1, (radius * (1 - change)).floor()), best)
                more = torch.maximum(radius + 1, (radius * (1 + change)).floor())
                radius = torch.where(success, fewer, more).clamp_min(0)
            else:
                to_boundary = distance(gain[:, None], slope[:, None], self.ball.norm).squeeze(1).to(most)
                unseen = self.ball.size(x - part.x) + to_boundary
                if self.growth is not None and step:
                    unseen = torch.maximum(unseen, radius * (1 + self.growth))
                missed = torch.where(best.isinf(), unseen, radius * (1 + change))
                radius = torch.where(success, torch.minimum(radius * (1 - change), best), missed)
            radius = torch.minimum(radius, most)
            delta = self.ball.project(torch.add(x - part.x, _L2.direction(slope), alpha=pace), radius)
            x = (part.x + delta).clamp(low, high)
        closest.last(rows, x)
        return closest.x
