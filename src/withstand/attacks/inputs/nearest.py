"""Minimal-norm attacks: they seek the nearest point that meets the goal, and ask for no radius.

A ball is only where their result is looked at: `at(eps)` counts those within eps, and `nearest` gives the distances
themselves, from one run for every radius.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.problem import Problem
from withstand.core.errors import require_at_least
from withstand.core.random import Draws
from withstand.core.roles import Attacked
from withstand.core.threat import per_sample
from withstand.core.victims.victim import Victim

EVERYWHERE = 1e30
"""A radius beyond which no input lies, in any norm."""


@dataclass(frozen=True)
class MinimalNorm(InputAttack):
    """Base of attacks whose search does not hang on eps: the nearest point found is the result, whatever the ball.

    Where that point lies outside the ball, the result is drawn back into it, and is hardly ever a success there.
    """

    def everywhere(self) -> Self:
        """Return the attack in a ball that holds every input, with nothing left out for the sake of a radius."""
        return self.at(EVERYWHERE)

    def nearest(
        self,
        victim: Victim,
        x: Tensor,
        y: Tensor | None = None,
        *,
        generator: Draws | torch.Generator | int | None = None,
        start: Tensor | None = None,
        mask: Tensor | None = None,
        batch: int = 64,
    ) -> Attacked:
        """Return the nearest point found of each sample at which the goal is met; `norm` is its distance.

        It is an upper bound of the distance to the victim's boundary. Where `success` is False no such point was found,
        and the distance says nothing.

        Args:
            victim: as for a call, like everything else.
        """
        found = self.everywhere()(victim, x, y, generator=generator, start=start, mask=mask, batch=batch)
        return replace(found, norm=distances(self, found, x))

    def settled(self, problem: Problem, found: Tensor) -> Tensor:
        """Return what the search found, to the bit where it lies in the ball: it is only just across the boundary."""
        confined = problem.confine(found)
        if problem.x.device.type == "mps":  # it has no float64 to reckon in
            return confined
        away = problem.ball.size(found.double() - problem.x.double())
        return torch.where(per_sample(away <= problem.ball.eps, found).bool(), found, confined)


def distances(attack: InputAttack, found: Attacked, x: Tensor) -> Tensor:
    """Return how far the points that an attack found are from the clean inputs, `(N,)`, in full precision."""
    precise = torch.float32 if x.device.type == "mps" else torch.float64
    return attack.ball.size(found.x.to(precise) - x.to(found.x.device, precise))


def span_of(problem: Problem) -> float:
    """Return the unit of steps: the width of the input range, or 1 where it has no ends."""
    return 1.0 if math.isinf(problem.victim.span) else problem.victim.span


def farthest(problem: Problem) -> Tensor:
    """Return the distance of the farthest point of the range, `(N,)`."""
    low, high = problem.victim.low, problem.victim.high
    return problem.ball.size(torch.maximum(problem.x - low, high - problem.x))


def at_least_one(**counts: int) -> None:
    """Refuse counts below 1.

    Raises:
        ConfigError: with the argument's name.
    """
    require_at_least(1, **counts)


class Closest:
    """The closest point found on the wrong side of a boundary, and its distance; without one, the last point."""

    def __init__(self, problem: Problem, success: Tensor | None = None) -> None:
        self.problem = problem
        self.x = problem.x.clone()
        success = problem.values(self.x)[1] if success is None else success
        self.size = torch.where(success, 0.0, torch.inf).double()

    def open(self, limit: float = 0.0) -> Tensor:
        """Return the places of samples without a point within a distance."""
        return (self.size > limit).nonzero().squeeze(1)

    def update(self, rows: Tensor, x: Tensor) -> None:
        """Keep those of some points on the wrong side that are closer than what is held."""
        size = self.problem.ball.size(x - self.problem.x[rows]).double()
        better = size < self.size[rows]
        self.x[rows[better]], self.size[rows[better]] = x[better], size[better]

    def last(self, rows: Tensor, x: Tensor) -> None:
        """Keep points of samples that never came to the wrong side."""
        never = self.size[rows].isinf()
        self.x[rows[never]] = x[never]
