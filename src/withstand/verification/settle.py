"""Any certifier by its name: bounds, branch and bound, an exact solver or a grid on what bounds and attacks leave."""

import time
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.core.threat import Ball
from withstand.core.victim import Victim
from withstand.verification.certify import Method, certify
from withstand.verification.dlv.manipulation import check_count
from withstand.verification.dlv.search import Settings, proven, search
from withstand.verification.exact.milp import solve_milp
from withstand.verification.exact.question import Question
from withstand.verification.exact.smt import solve_smt
from withstand.verification.subject import Subject
from withstand.verification.verdict import Verdict

Certifier: TypeAlias = Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab", "milp", "smt", "grid"]
SOLVERS = ("milp", "smt", "grid")
"""Those that work on the CPU alone."""
BUDGET = 20_000
"""Cells that a grid may be split into for a proof, for each sample."""


def settle(
    model: nn.Module | Victim,
    x: Tensor,
    y: Tensor | None = None,
    ball: Ball = Ball(),  # noqa: B008 - a frozen value
    *,
    method: Certifier = "auto",
    timeout: float = 60.0,
    features: int | None = None,
    spans: int = 1,
    generator: Draws | int | None = None,
) -> tuple[Verdict, ...]:
    """Return for each sample whether its class holds in all of the ball; see `certify` for what verdicts mean.

    Args:
        model: a classifier in eval mode; a `Victim` brings its range and normalisation.
        x: clean inputs, `(N, *shape)`.
        y: labels; None for the model's own answers.
        ball: what has to be withstood; "milp", "smt" and "grid" take Linf alone.
        method: as for `certify`; or "milp" (SciPy's HiGHS), "smt" (z3, exact rationals; extra `certify`) or "grid"
            (DLV: points of a grid, and bounds of its cells), which are asked about what bounds and attacks leave open.
        timeout: seconds of search for each sample.
        features: inputs that a grid steps together, the most prominent ones first; None for all that the ball moves.
        spans: a grid's steps to each side.
        generator: draws or a seed, for the attack.

    Raises:
        ConfigError: what the method does not take; a grid with more points than can be held, with their number.
    """
    if method not in get_args(Certifier):
        raise ConfigError(f"method {method!r} is unknown: {nearest(str(method), get_args(Certifier))}")
    if method in get_args(Method):
        return certify(model, x, y, ball, method=method, timeout=timeout, generator=generator)  # type: ignore[arg-type]
    if ball.norm != "linf":
        raise ConfigError(f"{method} decides boxes, norm linf, not {ball.norm}: bab takes every norm")
    if x.device.type != "cpu":
        raise ConfigError(f"{method} is a solver of the CPU: move the network and its inputs there, or use bab")
    subject = Subject.of(model, x, y)
    settings = None
    if method == "grid":
        wide = x[0].numel() if len(x) else 1
        settings = Settings(features=features or wide, spans=spans, layers=(0,), bounds=None, timeout=timeout)
        check_count("line", min(settings.features, wide), spans)
    verdicts = list(certify(model, x, y, ball, method="auto", generator=generator))
    for row, verdict in enumerate(verdicts):
        if verdict.status == "unknown":
            began, question = time.monotonic(), _question(subject, ball, row)
            if settings is not None:
                found = _gridded(question, subject.x[row], settings, cells=features is None)
            else:
                found = (solve_milp if method == "milp" else solve_smt)(question, timeout=timeout)
            margin = max(found.margin, verdict.margin)
            verdicts[row] = replace(found, method=method, margin=margin, seconds=time.monotonic() - began)
    return tuple(verdicts)


def _gridded(question: Question, center: Tensor, settings: Settings, *, cells: bool) -> Verdict:
    """Return what a grid finds, and with `cells`, whether bounds of the cells between its points make a proof of it."""
    began = time.monotonic()
    found = search(question, center, settings)
    left = settings.timeout - (time.monotonic() - began)
    if found.status == "no_counterexample_on_grid" and cells and left > 0:
        whole = proven(question, center, budget=BUDGET, timeout=left)
        found = replace(found, reason=whole.reason) if whole.status == "unknown" else whole
    return found.verdict()


def _question(subject: Subject, ball: Ball, row: int) -> Question:
    region = subject.region(ball, slice(row, row + 1))

    def model(x: Tensor) -> Tensor:
        with subject.victim.held(), torch.no_grad():
            return subject.victim.output(x.clamp(subject.victim.low, subject.victim.high))

    label, dtype = int(subject.y[row]), subject.x.dtype
    low, high = region.low[0].double(), region.high[0].double()
    return Question.wins(subject.network, low, high, label, model=model, dtype=dtype)
