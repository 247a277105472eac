"""Largest proven radii by the method that gave the verdicts, so that a curve and its headline never disagree.

Sizes: `N` samples.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.certify import proven_rows
from withstand.verification.prover import halve
from withstand.verification.search.branch_and_bound import search
from withstand.verification.solvers import Certifier, Solver
from withstand.verification.specification.subject import Subject
from withstand.verification.specification.verdict import CLOCK, Clock, Verdict, passed


def proven_radii(
    model: nn.Module | Victim,
    x: Tensor,
    y: Tensor,
    ball: Ball,
    verdicts: tuple[Verdict, ...],
    *,
    most: float,
    method: Certifier = "auto",
    steps: int = 8,
    timeout: float = 60.0,
    features: int | None = None,
    spans: int = 1,
    clock: Clock = CLOCK,
) -> Tensor:
    """Return each sample's largest proven radius, float64 `(N,)`: at least the ball's where its verdict is safe.

    What is not proven in the ball is sought below its radius, what is, above: the share of radii from the ball's on
    is that of the safe verdicts. A sample that is wrong has radius 0.

    Args:
        model: what `certify_by` gave the verdicts of.
        x: clean inputs, `(N, *shape)`.
        y: labels `(N,)`.
        ball: the verdicts' ball.
        verdicts: one a sample.
        most: the largest radius to be tried, at least the ball's.
        method: the verdicts' method.
        steps: halvings.
        timeout: seconds for each sample; all together take at most this times their number.
        features: see `certify_by`.
        spans: see `certify_by`.
        clock: by which the time goes.
    """
    if steps < 1 or most < ball.eps or not timeout > 0:
        raise ConfigError(
            f"bisection needs steps of at least 1, a radius of at least the ball's {ball.eps:g} and time, "
            f"not {steps}, {most:g} and {timeout!r} s"
        )
    until = clock() + timeout * len(x)
    late = passed(clock, until)
    subject = Subject.of(model, x, y, replace(ball, eps=most))
    solver = Solver.of(subject, ball, method, features=features, spans=spans)
    bounds = "auto" if solver is not None or method == "bab" else method

    def holds(rows: Tensor, eps: Tensor) -> Tensor:
        held = proven_rows(subject, ball, rows, bounds, eps=eps, late=late)
        if bounds == method:
            return held
        for place in (~held).nonzero().flatten().tolist():
            left = min(timeout, until - clock()) / steps
            if left <= 0:
                break
            tried, row = replace(ball, eps=float(eps[place])), int(rows[place])
            if solver is not None:
                found = solver(tried, row, left)
            else:
                found = search(subject, tried, row, timeout=left, clock=clock)
            held[place] = found.status == "safe"
        return held

    safe = torch.tensor([verdict.status == "safe" for verdict in verdicts], device=subject.x.device)
    nothing = torch.zeros(len(x), dtype=torch.float64, device=safe.device)
    proven, failed = nothing.masked_fill(safe, ball.eps), (nothing + ball.eps).masked_fill(safe, most)
    rows = safe.nonzero().squeeze(1)
    if len(rows) and most > ball.eps and not late():
        whole = holds(rows, torch.full_like(proven[rows], most))
        proven[rows[whole]] = most
    rows = (subject.right & (proven < failed)).nonzero().squeeze(1)
    halve(holds, rows, proven, failed, steps=steps, late=late)
    return proven
