"""Sigma-zero (Cinà et al., 2025): few changed entries, by a smooth count of them and a threshold that adapts."""

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


@dataclass(frozen=True)
class SigmaZero(MinimalNorm):
    """Lower the margin's shortfall and a smooth count of changed entries by Adam, and cut off small changes.

    The count is the mean of `d^2 / (d^2 + sigma)` over a sample's entries; gradients are brought to largest entry 1.
    Changes below a threshold become 0 after each step; the threshold grows after a success and falls after a failure.
    A wanted class is sought in the same way, which the paper leaves out. Changes are reckoned in shares of the range.

    Args:
        ball: L0; how much of what is found counts.
        objective: what is raised; it has to be 0 on the boundary, as the margin is.
        steps: gradient steps.
        pace: the first step size; the last is a tenth.
        sigma: how sharp the smooth count is.
        threshold: the first one.
        change: by which part of the step size the threshold moves at each step.
    """

    ball: Ball = Ball("l0", 10)  # noqa: RUF009 - a frozen value
    objective: Objective | AttackLoss = Margin()  # noqa: RUF009 - a frozen value
    steps: int = 1000
    pace: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    change: float = 0.01

    norms: ClassVar[tuple[Norm, ...]] = ("l0",)

    def __post_init__(self) -> None:
        needs_classes(self.objective)
        at_least_one(steps=self.steps)
        if min(self.pace, self.sigma, self.change) <= 0 or not 0 <= self.threshold <= 1:
            raise ConfigError(
                "sigma-zero needs pace, sigma and change above 0 and a threshold in [0, 1], "
                f"not {self.pace}, {self.sigma}, {self.change} and {self.threshold}"
            )

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        closest, span = Closest(problem), span_of(problem)
        low, high = problem.victim.low, problem.victim.high
        rows = closest.open()
        if not len(rows):
            return closest.x
        part = problem.take(rows)
        x = part.x if start is None else start[rows]
        entries, pace = max(1, part.x[0].numel()), self.pace
        mean, square = torch.zeros_like(x), torch.zeros_like(x)
        bound = torch.full((len(x),), self.threshold, dtype=x.dtype, device=x.device)
        for step in range(self.steps):
            gain, success, slope = part.gradient(x)
            closest.update(rows[success], x[success])
            delta = (x - part.x) / span
            slope = -slope * span * per_sample(gain <= 0, slope)
            slope += 2 * self.sigma * delta / (delta.square() + self.sigma).square() / entries
            slope = slope / per_sample(as_rows(slope).abs().amax(1).clamp_min(1e-12), slope)
            slope = slope if part.mask is None else slope * part.mask
            mean.lerp_(slope, 1 - _BETAS[0])
            square.lerp_(slope.square(), 1 - _BETAS[1])
            size = square.sqrt() / (1 - _BETAS[1] ** (step + 1)) ** 0.5 + _TINY
            delta = delta - pace / (1 - _BETAS[0] ** (step + 1)) * mean / size
            x = (part.x + span * delta).clamp(low, high)
            pace = self.pace * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            bound = (bound + self.change * pace * torch.where(success, 1.0, -1.0)).clamp(0, 1)
            small = (x - part.x).abs() < per_sample(bound, x) * span
            x = torch.where(small, part.x, x)
        closest.last(rows, x)
        return closest.x
