"""The complete search that fits: input splits where the input has few dimensions, ReLU splits else."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.verification.bounds.crown import MEMORY
from withstand.verification.box import Region
from withstand.verification.falsify import Replay
from withstand.verification.input_split import search_inputs
from withstand.verification.network import Network
from withstand.verification.property import Property
from withstand.verification.relu_split import search_relus
from withstand.verification.subject import TIE, Subject
from withstand.verification.verdict import CLOCK, Clock, Verdict

FEW = 12
"""Input dimensions up to which boxes are split and not ReLUs."""


def decide(
    network: Network,
    region: Region,
    wanted: Property,
    *,
    replay: Replay | None = None,
    timeout: float = 60.0,
    memory: int = MEMORY,
    clock: Clock = CLOCK,
) -> Verdict:
    """Decide whether a property holds in all of one region (N = 1).

    Args:
        network: the captured network, in float64.
        region: the inputs.
        wanted: what shall hold.
        replay: the real model's outputs, by which a counterexample is confirmed; None for the captured network.
        timeout: seconds.
        memory: bytes that one backward pass may hold.
        clock: by which the time goes.

    Raises:
        ConfigError: a time-out of 0, or more than one region.
    """
    if not timeout > 0:
        raise ConfigError(f"timeout must be above 0 seconds, not {timeout!r}")
    if len(region) != 1:
        raise ConfigError(f"a search decides one region at a time, not {len(region)}")
    if math.prod(network.shape) <= FEW and region.center is None:
        return search_inputs(network, region, wanted, replay=replay, timeout=timeout, clock=clock)
    return search_relus(network, region, wanted, replay=replay, timeout=timeout, memory=memory, clock=clock)


def search(
    subject: Subject, ball: Ball, row: int, *, timeout: float, memory: int = MEMORY, clock: Clock = CLOCK
) -> Verdict:
    """Decide one sample of a classifier, which the attack engine has not broken."""
    wanted = Property.margins(int(subject.y[row]), subject.network.classes)
    region = subject.region(ball, slice(row, row + 1))
    given = subject.x.dtype

    def replay(point: Tensor) -> Tensor:
        with subject.victim.held(), torch.no_grad():
            return subject.victim.output(point.to(given).clamp(subject.victim.low, subject.victim.high))

    # A margin that float32 cannot tell from a tie is neither proven nor broken.
    wanted = replace(wanted, offset=wanted.offset - TIE)
    verdict = decide(subject.network, region, wanted, replay=replay, timeout=timeout, memory=memory, clock=clock)
    point = verdict.counterexample
    if point is None:
        return verdict
    point = point.to(given).clamp(subject.victim.low, subject.victim.high)
    if int(replay(point[None]).argmax()) == int(subject.y[row]):
        return replace(
            verdict, status="unknown", counterexample=None, reason=f"a margin within {TIE:g} of a tie is met"
        )
    return replace(verdict, counterexample=point)
