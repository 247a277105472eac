"""Any certifier by its name: bounds, branch and bound, an exact solver or a grid on what bounds and attacks leave."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.crown import MEMORY
from withstand.verification.certify import certified
from withstand.verification.dlv.manipulation import check_count
from withstand.verification.dlv.search import Settings, proven, search
from withstand.verification.exact.milp import solve_milp
from withstand.verification.exact.question import Question
from withstand.verification.exact.smt import solve_smt
from withstand.verification.specification.subject import Subject
from withstand.verification.specification.verdict import CLOCK, Clock, Verdict

Certifier: TypeAlias = Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab", "milp", "smt", "grid"]
SOLVERS = ("milp", "smt", "grid")
"""Those that work on the CPU alone."""
BUDGET = 20_000
"""Cells that a grid may be split into for a proof, for each sample."""


def certify_by(
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
    clock: Clock = CLOCK,
) -> tuple[Verdict, ...]:
    """Return for each sample whether its class holds in all of the ball; see `certify` for what verdicts mean.

    Args:
        model: a classifier in eval mode; a `Victim` brings its range and normalisation.
        x: clean inputs, `(N, *shape)`.
        y: labels; None for the model's own answers.
        ball: what has to be withstood; "milp", "smt" and "grid" take Linf alone.
        method: as for `certify`; or "milp" (SciPy's HiGHS), "smt" (z3, exact rationals; extra `certify`) or "grid"
            (DLV: points of a grid, and bounds of its cells), which are asked about what bounds and attacks leave open.
        timeout: seconds for each sample; all together take at most this times their number, see `certify`.
        features: inputs that a grid steps together, the most prominent ones first; None for all that the ball moves.
        spans: a grid's steps to each side.
        generator: draws or a seed, for the attack.
        clock: by which the time goes.

    Raises:
        ConfigError: what the method does not take; a grid with more points than can be held, with their number.
    """
    if method not in get_args(Certifier):
        raise ConfigError(f"method {method!r} is unknown: {nearest(str(method), get_args(Certifier))}")
    if not timeout > 0:
        raise ConfigError(f"timeout must be above 0 seconds, not {timeout!r}")
    began = clock()
    subject = Subject.of(model, x, y, ball)
    solver = Solver.of(subject, ball, method, features=features, spans=spans)
    verdicts = list(
        certified(
            subject, ball, method="auto" if solver is not None else method, attack=True, timeout=timeout,
            memory=MEMORY, generator=generator, clock=clock, began=began,
        )
    )  # fmt: skip
    if solver is None:
        return tuple(verdicts)
    until = began + timeout * len(verdicts)
    rows = [row for row, verdict in enumerate(verdicts) if verdict.status == "unknown"]
    for place, row in enumerate(rows):
        left = min(timeout, (until - clock()) / (len(rows) - place))
        if left > 0:
            started, found = clock(), solver(ball, row, left)
            margin = max(found.margin, verdicts[row].margin)
            verdicts[row] = replace(found, method=method, margin=margin, seconds=clock() - started)
    return tuple(verdicts)


@dataclass(frozen=True)
class Solver:
    """A solver of the CPU, asked about one sample at a time.

    Attributes:
        subject: the classifier and its samples.
        method: "milp", "smt" or "grid".
        settings: of a grid.
        cells: whether a grid's cells are bounded for a proof.
    """

    subject: Subject
    method: str
    settings: Settings | None = None
    cells: bool = False

    @classmethod
    def of(
        cls, subject: Subject, ball: Ball, method: str, *, features: int | None = None, spans: int = 1
    ) -> "Solver | None":
        """Return the solver of a method; None for what bounds, and branch and bound, decide.

        Raises:
            ConfigError: a ball that is no box, a device, or a grid with more points than can be held.
        """
        if method not in SOLVERS:
            return None
        if ball.norm != "linf":
            raise ConfigError(f"{method} decides boxes, norm linf, not {ball.norm}: bab takes every norm")
        if subject.x.device.type != "cpu":
            raise ConfigError(f"{method} is a solver of the CPU: move the network and its inputs there, or use bab")
        if method != "grid":
            return cls(subject, method)
        wide = subject.x[0].numel() if len(subject.x) else 1
        settings = Settings(features=features or wide, spans=spans, layers=(0,), bounds=None)
        check_count("line", min(settings.features, wide), spans)
        return cls(subject, method, settings, features is None)

    def __call__(self, ball: Ball, row: int, timeout: float) -> Verdict:
        """Return what is found of one sample in a ball."""
        question = _question(self.subject, ball, row)
        if self.settings is not None:
            settings = replace(self.settings, timeout=timeout)
            return _gridded(question, self.subject.x[row], settings, cells=self.cells)
        return (solve_milp if self.method == "milp" else solve_smt)(question, timeout=timeout)


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

    return Question.wins(
        subject.network,
        region.low[0].double(),
        region.high[0].double(),
        int(subject.y[row]),
        model=model,
        dtype=subject.x.dtype,
        tie=subject.tie,
        show=partial(subject.shown, ball=ball, row=row),
    )
