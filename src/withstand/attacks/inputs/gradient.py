"""Attacks that climb the gradient: FGSM (Goodfellow et al., 2015) and PGD (Madry et al., 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError, above, require_at_least
from withstand.core.random import Draws


@dataclass(frozen=True)
class FGSM(InputAttack):
    """One step of length eps from the clean input, along the gradient's sign (Linf) or direction (L2)."""

    tokens = True

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        x = from_clean(problem) if start is None else start
        return problem.step(x, problem.gradient(x)[2], self.ball.eps)


@dataclass(frozen=True)
class PGD(InputAttack):
    """Steps of constant length along the gradient's sign (Linf) or direction (L2), projected after each.

    Args:
        ball: Linf or L2.
        objective: as for every attack.
        steps: gradient steps in each restart.
        step_size: a step's length as a share of eps; None for 2.5 / steps (Madry et al.).
        restarts: independent tries; the best point of all is kept.
        random_start: begin at a uniform point of the ball, else at the clean input.
        keep_best: return the best point seen: a successful one first, then by objective. Otherwise the last
            one, as in the paper.
        drop_finished: leave a sample alone once its goal is met. The same successes in less time; the
            objective may stay lower there.
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    keep_best: bool = True
    drop_finished: bool = False

    tokens = True

    def __post_init__(self) -> None:
        if self.ball.norm == "l1":
            raise ConfigError(
                "PGD takes norm 'linf' or 'l2': its L1 steps move one entry each and get stuck at the range"
            )
        require_at_least(1, steps=self.steps, restarts=self.restarts)
        if self.step_size is not None and self.steps * self.step_size < 1:
            raise ConfigError(
                f"{self.steps} steps of {self.step_size:.3g} eps cannot cross the ball: step_size is a share of eps, "
                f"at least {above(1 / self.steps)} here (None chooses {2.5 / self.steps:.3g})"
            )
        if self.restarts > 1 and not self.random_start:
            raise ConfigError("restarts without random_start would all be the same")
        if not self.keep_best and (self.restarts > 1 or self.drop_finished):
            raise ConfigError("keep_best=False returns the last point of one run: no restarts, no drop_finished")

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        best = Best(problem)
        for restart in range(self.restarts):
            rows = best.open() if self.drop_finished else problem.rows
            if not len(rows):
                break
            part = problem.take(rows)
            if restart == 0 and start is not None:
                x = start
            elif self.random_start:
                x = part.confine(part.x + self.ball.sample(part.x, draws.child(restart)[rows], part.mask))
            else:
                x = from_clean(part)
            self._climb(part, x, best)
        return best.x

    def _climb(self, problem: Problem, x: Tensor, best: "Best") -> None:
        """Run one restart, and leave what it found in `best`."""
        length = self.ball.eps * (2.5 / self.steps if self.step_size is None else self.step_size)
        for _ in range(self.steps):
            gain, success, gradient = problem.gradient(x)
            if self.keep_best:
                best.update(problem, x, gain, success)
            if self.drop_finished and bool(success.any()):
                left = ~success
                problem, x, gradient = problem.take(left), x[left], gradient[left]
                if not len(x):
                    return
            x = problem.step(x, gradient, length)
        if self.keep_best:
            best.update(problem, x, *problem.values(x))
        else:
            best.x[problem.rows] = x


class Best:
    """The best point seen of each sample of a chunk: one that meets the goal, then the highest gain."""

    def __init__(self, problem: Problem) -> None:
        self.x = problem.x.clone()
        self.gain = torch.full_like(problem.rows, -torch.inf, dtype=torch.float64)
        self.success = torch.zeros_like(problem.rows, dtype=torch.bool)

    def open(self) -> Tensor:
        """Return the places of the samples whose goal is not met."""
        return (~self.success).nonzero().squeeze(1)

    def update(self, problem: Problem, x: Tensor, gain: Tensor, success: Tensor) -> None:
        """Keep the rows of `x` that are better than what is held."""
        rows = problem.rows
        held, level = self.success[rows], success == self.success[rows]
        better = (success & ~held) | (level & (gain > self.gain[rows]))
        rows = rows[better]
        self.x[rows], self.gain[rows], self.success[rows] = x[better], gain[better].double(), success[better]


def from_clean(problem: Problem) -> Tensor:
    """Return the clean inputs as a start, where they are not a stationary point."""
    if problem.flat:
        raise ConfigError(
            "the distance from the clean embedding has no gradient on the clean input: use PGD with random_start, "
            "give y, or a start"
        )
    return problem.x
