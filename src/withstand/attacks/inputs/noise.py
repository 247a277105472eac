"""Noise: random perturbations of full size, the control that every attack must beat."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.problem import Problem
from withstand.core.random import Draws


@dataclass(frozen=True)
class Noise(InputAttack):
    """One random point on the ball's surface: random signs (Linf), a uniform direction (L2, L1)."""

    tokens = True

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        delta = self.ball.sample(problem.x, draws, problem.mask)
        if self.ball.norm == "linf":
            return problem.confine(problem.x + self.ball.eps * torch.where(delta < 0, -1.0, 1.0).to(delta))
        return problem.confine(problem.x + self.ball.to_surface(delta))
