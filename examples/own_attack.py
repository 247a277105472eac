"""An attack of your own: one search in a few lines; checking, balls, draws and judging are what all attacks share.

python examples/own_attack.py
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import withstand as ws
from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.problem import Problem
from withstand.core.random import Draws
from withstand.core.threat import Ball


@dataclass(frozen=True)
class Signs(InputAttack):
    """Draw corners of an Linf ball, and keep for each input the one that raises the objective most.

    Args:
        ball: how far an input may be moved.
        objective: what is raised.
        tries: corners that are drawn.
    """

    norms = ("linf",)

    tries: int = 20

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        """Return the worst corners found."""
        best = problem.x if start is None else start
        value, _ = problem.values(best)
        for number in range(self.tries):
            corner = draws.child(number).uniform(problem.x[0].numel()).view_as(problem.x) - 0.5
            tried = problem.confine(problem.x + self.ball.eps * corner.sign())
            found, _ = problem.values(tried)
            better = found > value
            best = torch.where(better.view(-1, *[1] * (best.dim() - 1)), tried, best)
            value = torch.where(better, found, value)
        return best


def main(samples: int = 200) -> tuple[int, int]:
    """Attack a small network, and return how many answers this search changed, and PGD within the same ball."""
    torch.manual_seed(0)
    victim = ws.Victim(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    x = torch.rand(samples, 1, 8, 8)
    y, ball = victim.output(x).argmax(1), Ball("linf", 0.1)
    drawn, climbed = (int(attack(victim, x, y, generator=0).success.sum()) for attack in (Signs(ball), PGD(ball)))
    print(f"of {samples} answers {drawn} changed at drawn corners, {climbed} under PGD")
    return drawn, climbed


if __name__ == "__main__":
    main()
