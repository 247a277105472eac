"""Answer a competition's instance: every case decided by attack, bounds and search within one time limit."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.box import Region, inward
from withstand.verification.branch_and_bound import decide
from withstand.verification.capture import capture
from withstand.verification.exchange.instance import Instance
from withstand.verification.verdict import CLOCK, Clock, Verdict


def solve(instance: Instance, *, timeout: float = 60.0, clock: Clock = CLOCK) -> Verdict:
    """Return whether the property holds in all of its boxes.

    Args:
        instance: network and property.
        timeout: seconds for the whole instance.
        clock: by which the time goes.

    Raises:
        ConfigError: a time-out of 0, or an operation without bounds.
    """
    if not timeout > 0:
        raise ConfigError(f"timeout must be above 0 seconds, not {timeout!r}")
    began = clock()
    shape = instance.network.shape
    network = capture(instance.network, torch.zeros(1, *shape))

    margin, steps, open_, method = float("inf"), 0, "", "no input satisfies the file"
    for case in instance.specification.cases:
        region = Region.box(case.low.view(1, *shape), case.high.view(1, *shape))
        shown = partial(inward, low=region.low, high=region.high, dtype=torch.float32)

        def replay(x: Tensor, shown: Callable[[Tensor], Tensor] = shown) -> Tensor:
            with torch.no_grad():
                found: Tensor = instance.network(shown(x))
            return found.flatten(1)

        left = timeout - (clock() - began)
        if left <= 0:
            open_ = open_ or "out of time before every case was looked at"
            break
        found = decide(network, region, case.wanted(), replay=replay, timeout=left, clock=clock)
        steps += found.steps
        spent = clock() - began
        if found.counterexample is not None and instance.broken(point := shown(found.counterexample[None])[0]):
            return replace(found, counterexample=point, seconds=spent, steps=steps)
        margin, method = min(margin, found.margin), found.method
        if found.status != "safe":
            open_ = open_ or found.reason or "the counterexample that was found is none for the file's own network"
    spent = clock() - began
    if open_:
        return Verdict("unknown", margin, reason=open_, method=method, seconds=spent, steps=steps)
    return Verdict("safe", margin, method=method, seconds=spent, steps=steps)
