"""DeepFool (Moosavi-Dezfooli et al., 2016): plain steps across the nearest linearised boundary."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.attacks.inputs.boundary import class_gaps, distance, needs_classes, strongest_rivals
from withstand.attacks.inputs.nearest import MinimalNorm
from withstand.attacks.objectives import AttackLoss, Margin, Objective
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError, require_at_least
from withstand.core.random import Draws


@dataclass(frozen=True)
class DeepFool(MinimalNorm):
    """Step onto the nearest linearised boundary until the prediction changes, then a little further.

    A quick estimate of the distance to the boundary; FAB finds shorter ways. Each step is clipped to the range,
    and what was clipped is left to the next. A sample counts as broken only where its way is within eps.

    Args:
        ball: any norm.
        objective: judges the result, and names the victim's output; the search uses logits alone.
        steps: at most.
        overshoot: by how much the whole way is lengthened.
        candidates: how many of the likeliest other classes are looked at.
    """

    objective: Objective | AttackLoss = Margin()  # noqa: RUF009 - a frozen value
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 9

    def __post_init__(self) -> None:
        needs_classes(self.objective)
        require_at_least(1, steps=self.steps, candidates=self.candidates)
        if self.overshoot < 0:
            raise ConfigError(f"overshoot is a share of the way, at least 0, not {self.overshoot}")

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        found = problem.x.clone()
        rivals = None if self.ball.targeted else strongest_rivals(problem, self.candidates)
        low, high = problem.victim.low, problem.victim.high
        x = problem.x if start is None else start
        for _ in range(self.steps):
            further = (x + self.overshoot * (x - problem.x)).clamp(low, high)
            left = ~problem.values(further)[1]
            found[problem.rows] = further
            if not bool(left.any()):
                return found
            problem, x = problem.take(left), x[left]
            rivals = None if rivals is None else rivals[left]
            gaps, slopes = class_gaps(problem, x, rivals)
            lengths = distance(gaps, slopes, self.ball.norm)
            row, nearest = torch.arange(len(x), device=x.device), lengths.argmin(1)
            length = lengths[row, nearest].to(x).view(-1, *[1] * (x.dim() - 1))
            heading = self.ball.direction(slopes[row, nearest])
            x = (x + length * heading).clamp(low, high)
        found[problem.rows] = (x + self.overshoot * (x - problem.x)).clamp(low, high)
        return found
