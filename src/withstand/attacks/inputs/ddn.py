"""DDN, decoupled direction and norm (Rony et al., 2019): the gradient gives the direction, success the length."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from withstand.attacks.inputs.nearest import Closest, MinimalNorm, at_least_one, farthest, span_of
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm, as_rows, per_sample


@dataclass(frozen=True)
class DDN(MinimalNorm):
    """Step along the gradient, then set the length: a little shorter after a success, a little longer after a failure.

    The last point of the steps is not put to the victim, as in the authors' code: `steps` passes forward and back, and
    one on the clean inputs. Nothing is rounded to 8 bits on the way, which they do by an option.

    Args:
        ball: L2; how much of what is found counts.
        objective: what is raised; the cross-entropy in the paper.
        steps: gradient steps.
        change: the part by which the length changes at each step (gamma of the paper).
        first: the length after the first step, before it is changed, as a share of the input range.
    """

    ball: Ball = Ball("l2", 0.5)  # noqa: RUF009 - a frozen value
    steps: int = 1000
    change: float = 0.05
    first: float = 1.0

    norms: ClassVar[tuple[Norm, ...]] = ("l2",)

    def __post_init__(self) -> None:
        at_least_one(steps=self.steps)
        if not 0 < self.change < 1 or not self.first > 0:
            raise ConfigError(f"change is a part between 0 and 1 and first above 0, not {self.change} and {self.first}")

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        closest, span = Closest(problem), span_of(problem)
        low, high = problem.victim.low, problem.victim.high
        rows = closest.open()
        if not len(rows):
            return closest.x
        part = problem.take(rows)
        x = part.x if start is None else start[rows]
        most = farthest(part)
        length = torch.full_like(most, self.first * span)
        for step in range(self.steps):
            _, success, slope = part.gradient(x)
            closest.update(rows[success], x[success])
            heading = self.ball.direction(slope)
            still = as_rows(heading).abs().amax(1) == 0
            if bool(still.any()):  # anywhere is better than to stay
                noise = draws.child(step)[rows].normal(*x.shape[1:]).to(x)
                noise = noise if part.mask is None else noise * part.mask
                heading = torch.where(per_sample(still, x).bool(), self.ball.direction(noise), heading)
            pace = 0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2
            delta = self.ball.direction(x - part.x + pace * span * heading)
            length = torch.minimum(length * torch.where(success, 1 - self.change, 1 + self.change), most)
            x = (part.x + delta * per_sample(length, x)).clamp(low, high)
        closest.last(rows, x)
        return closest.x
