"""Any certifier by its name: bounds, branch and bound, or an exact solver on what bounds and attacks leave open."""

import time
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.certify.certify import Method, certify
from withstand.certify.exact.milp import solve_milp
from withstand.certify.exact.question import Question
from withstand.certify.exact.smt import solve_smt
from withstand.certify.subject import Subject
from withstand.certify.verdict import Verdict
from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.core.threat import Ball
from withstand.core.victim import Victim

Certifier: TypeAlias = Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab", "milp", "smt"]


def settle(
    model: nn.Module | Victim,
    x: Tensor,
    y: Tensor | None = None,
    ball: Ball = Ball(),  # noqa: B008 - a frozen value
    *,
    method: Certifier = "auto",
    timeout: float = 60.0,
    generator: Draws | int | None = None,
) -> tuple[Verdict, ...]:
    """Return for each sample whether its class holds in all of the ball; see `certify` for what verdicts mean.

    Args:
        model: a classifier in eval mode; a `Victim` brings its range and normalisation.
        x: clean inputs, `(N, *shape)`.
        y: labels; None for the model's own answers.
        ball: what has to be withstood; "milp" and "smt" take Linf alone.
        method: as for `certify`; or "milp" (SciPy's HiGHS) or "smt" (z3, exact rationals; extra `certify`), which
            are asked about what bounds and attacks leave open.
        timeout: seconds of search for each sample.
        generator: draws or a seed, for the attack.
    """
    if method not in get_args(Certifier):
        raise ConfigError(f"method {method!r} is unknown: {nearest(str(method), get_args(Certifier))}")
    if method in get_args(Method):
        return certify(model, x, y, ball, method=method, timeout=timeout, generator=generator)  # type: ignore[arg-type]
    if ball.norm != "linf":
        raise ConfigError(f"{method} decides boxes, norm linf, not {ball.norm}: bab takes every norm")
    verdicts = list(certify(model, x, y, ball, method="auto", generator=generator))
    subject = Subject.of(model, x, y)
    solve = solve_milp if method == "milp" else solve_smt
    for row, verdict in enumerate(verdicts):
        if verdict.status == "unknown":
            began = time.monotonic()
            found = solve(_question(subject, ball, row), timeout=timeout)
            margin = max(found.margin, verdict.margin)
            verdicts[row] = replace(found, method=method, margin=margin, seconds=time.monotonic() - began)
    return tuple(verdicts)


def _question(subject: Subject, ball: Ball, row: int) -> Question:
    region = subject.region(ball, slice(row, row + 1))

    def model(x: Tensor) -> Tensor:
        with subject.victim.held(), torch.no_grad():
            return subject.victim.output(x.clamp(subject.victim.low, subject.victim.high))

    label, dtype = int(subject.y[row]), subject.x.dtype
    low, high = region.low[0].double(), region.high[0].double()
    return Question.wins(subject.network, low, high, label, model=model, dtype=dtype)
