"""The complete search that fits: input splits where the input has few dimensions, ReLU splits else."""

import math
from dataclasses import replace
from functools import partial

from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.verification.bounds.crown import MEMORY
from withstand.verification.network.network import Network
from withstand.verification.search.falsify import Breaks, Replay
from withstand.verification.search.input_split import search_inputs
from withstand.verification.search.relu_split import search_relus
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property
from withstand.verification.specification.subject import Subject
from withstand.verification.specification.verdict import CLOCK, Clock, Verdict

FEW = 12
"""Input dimensions up to which boxes are split and not ReLUs."""


def decide(
    network: Network,
    region: Region,
    wanted: Property,
    *,
    replay: Replay | None = None,
    breaks: Breaks | None = None,
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
        breaks: judges points in place of the property and `replay`.
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
        return search_inputs(network, region, wanted, replay=replay, breaks=breaks, timeout=timeout, clock=clock)
    return search_relus(
        network, region, wanted, replay=replay, breaks=breaks, timeout=timeout, memory=memory, clock=clock
    )


def search(
    subject: Subject, ball: Ball, row: int, *, timeout: float, memory: int = MEMORY, clock: Clock = CLOCK
) -> Verdict:
    """Decide one sample of a classifier, which the attack engine has not broken."""
    wanted = Property.margins(int(subject.y[row]), subject.network.classes)
    # A margin that the model's own arithmetic cannot tell from a tie is not proven; only what the model itself gets
    # wrong is broken.
    wanted = replace(wanted, offset=wanted.offset - subject.tie)
    region = subject.region(ball, slice(row, row + 1))
    breaks = partial(subject.breaks, ball=ball, row=row)
    verdict = decide(subject.network, region, wanted, breaks=breaks, timeout=timeout, memory=memory, clock=clock)
    if verdict.counterexample is None:
        return verdict
    return replace(verdict, counterexample=subject.shown(verdict.counterexample[None], ball, row)[0])
