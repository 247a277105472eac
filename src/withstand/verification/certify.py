"""Certify a classifier on samples: cheap bounds first, then attacks, dearer bounds and search on what is left."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.objectives import CrossEntropy
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.crown import MEMORY, check_method
from withstand.verification.bounds.margins import least_margin
from withstand.verification.search.branch_and_bound import search
from withstand.verification.specification.subject import Subject
from withstand.verification.specification.verdict import CLOCK, Clock, Late, Verdict, never, passed

CertifyMethod = Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab"]

_CHEAP = ("ibp", "crown", "alpha-crown")
_STAGES = {"auto": _CHEAP, "bab": (*_CHEAP, "bab")}
"""Methods that are several bounds, each on what the ones before it left open."""


def certify(
    model: nn.Module | Victim,
    x: Tensor,
    y: Tensor | None = None,
    ball: Ball = Ball(),  # noqa: B008 - a frozen value
    *,
    method: CertifyMethod = "auto",
    attack: bool = True,
    timeout: float = 60.0,
    memory: int = MEMORY,
    generator: Draws | int | None = None,
    clock: Clock = CLOCK,
) -> tuple[Verdict, ...]:
    """Return for each sample whether its class holds in all of the ball, clipped to the valid range.

    "safe" is proven in exact arithmetic for the model's weights. "unsafe" comes with an input of the ball that the
    model itself gets wrong. Bounds alone can't tell more than "unknown".

    Args:
        model: a classifier in eval mode; a `Victim` brings its range and normalisation.
        x: clean inputs, `(N, *shape)`, in the victim's range.
        y: labels, `(N,)`; None for the model's own answers.
        ball: what has to be withstood.
        method: "ibp", "crown-ibp", "crown" or "alpha-crown"; "auto" is IBP, CROWN and optimised slopes, each on what
            is left; "bab" goes on with branch and bound.
        attack: look for counterexamples first, by APGD.
        timeout: seconds for each sample; what one does not need, others may not have, but all together take at most
            this times their number. The attack's steps are made in any case.
        memory: bytes that one backward pass may hold.
        generator: draws or a seed, for the attack.
        clock: by which the time goes.

    Raises:
        ConfigError: an unknown method, a model in train mode, an operation without bounds.
        DataError: inputs outside the range, labels that are no classes.
    """
    check_method(method, get_args(CertifyMethod))
    if not timeout > 0:
        raise ConfigError(f"timeout must be above 0 seconds, not {timeout!r}")
    began = clock()
    return certified(
        Subject.of(model, x, y, ball), ball, method=method, attack=attack, timeout=timeout, memory=memory,
        generator=generator, clock=clock, began=began,
    )  # fmt: skip


def certified(
    subject: Subject,
    ball: Ball,
    *,
    method: str,
    attack: bool,
    timeout: float,
    memory: int,
    generator: Draws | int | None,
    clock: Clock,
    began: float,
) -> tuple[Verdict, ...]:
    """Certify a subject as `certify` does a model; its time began to go at `began`."""
    count = len(subject.x)
    until = began + timeout * count
    late = passed(clock, until)
    margin = torch.full((count,), -torch.inf, dtype=torch.float64, device=subject.x.device)
    verdicts: list[Verdict | None] = [None] * count
    for row in (~subject.right).nonzero().flatten().tolist():
        verdicts[row] = Verdict(
            "unsafe", counterexample=subject.x[row].clone(), reason="wrong before any change", method="clean"
        )
    attacked = False
    for stage in _STAGES.get(method, (method,)):
        rows = _open(verdicts, margin)
        if not len(rows):
            break
        if stage == "bab":
            for place, row in enumerate(rows.tolist()):
                left = min(timeout, (until - clock()) / (len(rows) - place))
                if left > 0:
                    verdicts[row] = search(subject, ball, row, timeout=left, memory=memory, clock=clock)
            continue
        started = clock()
        found = _bounds(subject, ball, rows, stage, memory, late)
        margin[rows] = torch.maximum(margin[rows], found)
        each = (clock() - started) / len(rows)
        for row in rows[margin[rows] > subject.tie].tolist():
            verdicts[row] = Verdict("safe", margin[row].item(), method=stage, seconds=each)
        if attack and stage != "ibp" and not attacked:
            attacked = _falsify(subject, ball, verdicts, margin, generator, clock)
    if attack and not attacked:
        _falsify(subject, ball, verdicts, margin, generator, clock)
    each = (clock() - began) / max(1, count)
    ended = f"time-out after {timeout:.3g} s a sample: " if late() else ""
    return tuple(
        verdict
        or Verdict(
            "unknown",
            margin[row].item(),
            reason=f"{ended}{method} bounds the margin by {margin[row]:.3g} only"
            + (", and APGD found nothing" if attack else ""),
            method=method,
            seconds=each,
        )
        for row, verdict in enumerate(verdicts)
    )


def _open(verdicts: list[Verdict | None], like: Tensor) -> Tensor:
    rows = [row for row, verdict in enumerate(verdicts) if verdict is None]
    return torch.tensor(rows, dtype=torch.long, device=like.device)


def proven_rows(
    subject: Subject,
    ball: Ball,
    rows: Tensor,
    method: str,
    *,
    eps: Tensor | None = None,
    memory: int = MEMORY,
    late: Late = never,
) -> Tensor:
    """Return which of some samples a method's bounds prove, each in a ball of its own radius if given, bool."""
    proven = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for stage in _STAGES.get(method, (method,)):
        left = (~proven).nonzero().squeeze(1)
        if not len(left) or late():
            break
        radii = None if eps is None else eps[left]
        proven[left] = _bounds(subject, ball, rows[left], stage, memory, late, radii) > subject.tie
    return proven


def _bounds(
    subject: Subject, ball: Ball, rows: Tensor, method: str, memory: int, late: Late, eps: Tensor | None = None
) -> Tensor:
    region = subject.region(ball, rows, eps)
    weight = subject.weight[rows]
    return least_margin(subject.network, region, weight, method, target=subject.tie, memory=memory, late=late)


def _falsify(
    subject: Subject,
    ball: Ball,
    verdicts: list[Verdict | None],
    margin: Tensor,
    generator: Draws | int | None,
    clock: Clock,
) -> bool:
    """Attack what is open, success being judged by the model itself, sample by sample; return that it was done."""
    rows = _open(verdicts, margin)
    if not len(rows) or ball.eps == 0:
        return True
    started = clock()
    draws = generator[rows] if isinstance(generator, Draws) else generator
    attack = APGD(ball, CrossEntropy(), steps=50, drop_finished=True)
    found = attack(subject.victim, subject.x[rows], subject.y[rows], generator=draws)
    each = (clock() - started) / len(rows)
    for place, row in enumerate(rows.tolist()):
        # Asked alone: what is wrong in a batch alone is wrong by rounding.
        if bool(found.success[place]) and int(subject.answers(found.x[place : place + 1])) != int(subject.y[row]):
            verdicts[row] = Verdict(
                "unsafe", margin[row].item(), counterexample=found.x[place], method="attack", seconds=each
            )
    return True
