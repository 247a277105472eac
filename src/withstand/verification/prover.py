"""Bounds in the service of attacks: samples that are proven need not be attacked. Sizes: `N` samples."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.core.victim import Victim
from withstand.verification.bounds.crown import MEMORY, check_method
from withstand.verification.margins import METHODS, least_margin
from withstand.verification.subject import TIE, Subject


@dataclass(frozen=True)
class Prover:
    """What AutoAttack takes as its `prover`: `(victim, x, y, ball) -> bool (N,)`.

    Args:
        method: "ibp", "crown-ibp", "crown" or "alpha-crown"; each is preceded by the cheaper "ibp".
        memory: bytes that one backward pass may hold.
    """

    method: Literal["ibp", "crown-ibp", "crown", "alpha-crown"] = "crown"
    memory: int = MEMORY

    def __post_init__(self) -> None:
        check_method(self.method, METHODS)

    def __call__(self, victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
        """Return which samples are right in all of the ball, clipped to the victim's range.

        Raises:
            ConfigError: a model in train mode, or an operation without bounds.
        """
        subject = _eval_subject(victim, x, y)
        proven = torch.zeros_like(subject.right)
        for method in dict.fromkeys(("ibp", self.method)):
            rows = (subject.right & ~proven).nonzero().squeeze(1)
            if not len(rows):
                break
            region = subject.region(ball, rows)
            margin = least_margin(subject.network, region, subject.weight[rows], method, target=TIE, memory=self.memory)
            proven[rows] = margin > TIE
        return proven


def _eval_subject(victim: Victim, x: Tensor, y: Tensor) -> Subject:
    """Return the subject in eval mode, as every attack meets its victim."""
    with victim.held():
        return Subject.of(victim, x, y)


def certified_radius(
    model: nn.Module | Victim,
    x: Tensor,
    y: Tensor | None = None,
    ball: Ball = Ball(),  # noqa: B008 - a frozen value
    *,
    method: Literal["ibp", "crown-ibp", "crown", "alpha-crown"] = "crown",
    steps: int = 10,
    memory: int = MEMORY,
) -> Tensor:
    """Return for each sample the largest radius found in which it is proven to hold, float64 `(N,)`.

    Bisection between 0 and the ball's radius; a sample that is wrong has radius 0. What is returned is proven, and
    the method fails at some radius at most `eps / 2^steps` larger.

    Args:
        model: a classifier in eval mode.
        x: clean inputs, `(N, *shape)`.
        y: labels; None for the model's own answers.
        ball: its norm, and the largest radius to be tried.
        method: the bound.
        steps: halvings.
        memory: bytes that one backward pass may hold.
    """
    check_method(method, METHODS)
    if steps < 1 or ball.eps <= 0:
        raise ConfigError(f"bisection needs steps of at least 1 and a radius above 0, not {steps} and {ball.eps:g}")
    subject = Subject.of(model, x, y)
    proven = torch.zeros(len(x), dtype=torch.float64, device=subject.x.device)
    failed = torch.full_like(proven, ball.eps)
    rows = subject.right.nonzero().squeeze(1)
    for step in range(steps + 1):
        if not len(rows):
            break
        # The whole radius first: many samples need no bisection.
        eps = failed[rows] if step == 0 else (proven[rows] + failed[rows]) / 2
        region = subject.region(ball, rows, eps)
        holds = least_margin(subject.network, region, subject.weight[rows], method, target=TIE, memory=memory) > TIE
        proven[rows] = torch.where(holds, eps, proven[rows])
        if step == 0:
            rows = rows[~holds]
        else:
            failed[rows] = torch.where(holds, failed[rows], eps)
    return proven
