"""Bounds in the service of attacks: samples that are proven need not be attacked. Sizes: `N` samples."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.crown import MEMORY, check_method
from withstand.verification.bounds.margins import METHODS, least_margin
from withstand.verification.certify import proven_rows
from withstand.verification.specification.subject import Subject
from withstand.verification.specification.verdict import CLOCK, Clock, Late, never, passed


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
        with victim.held():  # in eval mode, as every attack meets its victim
            subject = Subject.of(victim, x, y, ball)
        proven = torch.zeros_like(subject.right)
        for method in dict.fromkeys(("ibp", self.method)):
            rows = (subject.right & ~proven).nonzero().squeeze(1)
            if not len(rows):
                break
            region = subject.region(ball, rows)
            margin = least_margin(
                subject.network, region, subject.weight[rows], method, target=subject.tie, memory=self.memory
            )
            proven[rows] = margin > subject.tie
        return proven


def certified_radius(
    model: nn.Module | Victim,
    x: Tensor,
    y: Tensor | None = None,
    ball: Ball = Ball(),  # noqa: B008 - a frozen value
    *,
    method: Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown"] = "crown",
    steps: int = 10,
    timeout: float = float("inf"),
    memory: int = MEMORY,
    clock: Clock = CLOCK,
) -> Tensor:
    """Return for each sample the largest radius found in which it is proven to hold, float64 `(N,)`.

    Bisection between 0 and the ball's radius; a sample that is wrong has radius 0. What is returned is proven, and
    the method fails at some radius at most `eps / 2^steps` larger, unless time was up before.

    Args:
        model: a classifier in eval mode.
        x: clean inputs, `(N, *shape)`.
        y: labels; None for the model's own answers.
        ball: its norm, and the largest radius to be tried.
        method: the bound; "auto" is IBP, CROWN and optimised slopes, each on what is left.
        steps: halvings.
        timeout: seconds for each sample; all together take at most this times their number.
        memory: bytes that one backward pass may hold.
        clock: by which the time goes.
    """
    check_method(method, ("auto", *METHODS))
    if steps < 1 or ball.eps <= 0:
        raise ConfigError(f"bisection needs steps of at least 1 and a radius above 0, not {steps} and {ball.eps:g}")
    if not timeout > 0:
        raise ConfigError(f"timeout must be above 0 seconds, not {timeout!r}")
    late = passed(clock, clock() + timeout * len(x))
    subject = Subject.of(model, x, y, ball)
    holds = partial(proven_rows, subject, ball, method=method, memory=memory, late=late)
    rows = subject.right.nonzero().squeeze(1)
    proven = torch.zeros(len(x), dtype=torch.float64, device=subject.x.device)
    failed = torch.full_like(proven, ball.eps)
    # The whole radius first: many samples need no bisection.
    whole = holds(rows)
    proven[rows[whole]] = ball.eps
    halve(lambda rows, eps: holds(rows, eps=eps), rows[~whole], proven, failed, steps=steps, late=late)
    return proven


Holds = Callable[[Tensor, Tensor], Tensor]
"""Tells of samples, by their places `(M,)`, which are proven in balls of radii `(M,)`, bool `(M,)`."""


def halve(holds: Holds, rows: Tensor, proven: Tensor, failed: Tensor, *, steps: int, late: Late = never) -> None:
    """Bring some samples' proven radii and those that were not proven nearer to each other, by bisection.

    Args:
        holds: the method.
        rows: the samples, by their places `(M,)`.
        proven: proven radii `(N,)`, which are raised.
        failed: radii `(N,)` at which the method failed, which are lowered.
        steps: halvings.
        late: once it says so, radii stay as they are.
    """
    for _ in range(steps):
        if not len(rows) or late():
            break
        eps = (proven[rows] + failed[rows]) / 2
        held = holds(rows, eps)
        proven[rows] = torch.where(held, eps, proven[rows])
        failed[rows] = torch.where(held, failed[rows], eps)
