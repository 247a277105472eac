"""Answer a competition's instance: every case decided by attack, bounds and search within one time limit."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.exchange.instance import TOLERANCE, Instance
from withstand.verification.exchange.onnx_runtime import check
from withstand.verification.exchange.probabilities import Head, on_inputs
from withstand.verification.exchange.specification import Case
from withstand.verification.network.capture import capture
from withstand.verification.network.network import Network, Node
from withstand.verification.network.operation import Rearrange
from withstand.verification.search.branch_and_bound import decide
from withstand.verification.specification.box import Region
from withstand.verification.specification.verdict import CLOCK, Clock, Verdict

_TIES = 4
"""A proof has to exceed so many times the largest difference seen between onnxruntime's outputs and the network's."""
_TELLING = 1e-6
"""Probabilities below tell of their logits mostly rounding."""


def solve(instance: Instance, *, timeout: float = 60.0, clock: Clock = CLOCK) -> Verdict:
    """Return whether the property holds in all of its boxes.

    "safe" is proven in exact arithmetic for the file's weights, and for the inputs that its precision has closest to
    those that are fixed where it has no number. "unsafe" comes with an input in the file's precision that onnxruntime
    was shown, and says so in its reason.

    Args:
        instance: network and property.
        timeout: seconds for the whole instance.
        clock: by which the time goes.

    Raises:
        ConfigError: a time-out of 0, an operation without bounds, a property of probabilities that has none, or a
            captured network that differs from onnxruntime's.
    """
    if not timeout > 0:
        raise ConfigError(f"timeout must be above 0 seconds, not {timeout!r}")
    began = clock()
    for x, y, case in zip(instance.x, instance.y, instance.drawn, strict=True):
        if instance.broken(x, y, case=case):
            return Verdict(
                "unsafe", counterexample=x, reason=instance.said(x), method="sampling", seconds=clock() - began
            )
    network, head, off = _captured(instance)
    eps = torch.finfo(instance.network.dtype).eps

    margin, steps, open_, method = float("inf"), 0, "", "nothing satisfies the file"
    for case in instance.specification.cases:
        left = timeout - (clock() - began)
        if left <= 0:
            open_ = open_ or f"out of time after {timeout:.3g} s, before every case was looked at"
            break
        on_logits = on_inputs(case, head, eps) if head else case
        if not on_logits.unsafe:
            continue  # no probabilities are like that
        wanted = on_logits.wanted()
        # What onnxruntime's arithmetic may not tell from a counterexample is not proven.
        wanted = replace(wanted, offset=wanted.offset - _TIES * off * wanted.weight.abs().sum(1))
        region, why_not = _region(instance, case)
        breaks = partial(_breaks, instance, case)
        found = decide(network, region, wanted, breaks=breaks, timeout=left, clock=clock)
        steps += found.steps
        if found.counterexample is not None:
            point = instance.rounded(found.counterexample[None], case)[0]
            spent = clock() - began
            return replace(found, counterexample=point, reason=instance.said(point), seconds=spent, steps=steps)
        margin, method = min(margin, found.margin), found.method
        if found.status != "safe":
            open_ = open_ or why_not or found.reason
            if head and open_.startswith("at "):
                open_ = f"a bound on probabilities is not exact: {open_}"
    spent = clock() - began
    if open_:
        return Verdict("unknown", margin, reason=open_, method=method, seconds=spent, steps=steps)
    return Verdict("safe", margin, method=method, seconds=spent, steps=steps)


def _captured(instance: Instance) -> tuple[Network, Head | None, float]:
    """Return what bounds are computed of, held against onnxruntime; the softmax it leaves out; how far it is off."""
    network = capture(instance.network, torch.zeros(1, *instance.network.shape, dtype=instance.network.dtype))
    head: Head | None = None
    for note in network.notes:
        head = "softmax" if note.startswith("softmax") else "log-softmax" if note.startswith("log-softmax") else head
    shape, size = network.nodes[-1].shape, instance.specification.outputs
    if head and shape[-1] != size:
        raise ConfigError(f"the network ends in several {head}es, of {shape[-1]} of its {size} outputs each")
    if len(shape) != 1:
        flat = Node(Rearrange(shape=(size,)), (len(network.nodes) - 1,), (size,), "flat")
        network = replace(network, nodes=(*network.nodes, flat))
    with torch.no_grad():
        found = torch.cat([network(part.double()) for part in torch.split(instance.x, 16)])
    eps, title, y = torch.finfo(instance.network.dtype).eps, instance.network.title, instance.y.double()
    final = found.softmax(1) if head == "softmax" else found.log_softmax(1) if head == "log-softmax" else found
    check(final, y, instance.noise, eps, f"{title}, captured,")
    if head == "softmax":  # in the logits' own terms
        final, y = (torch.where(y > _TELLING, side.log(), 0.0) for side in (final, y))
    return network, head, (final - y).abs().max().item()


def _region(instance: Instance, case: Case) -> tuple[Region, str]:
    """Return a case's box, with the inputs in it that stand for those that the file's precision does not have."""
    shape = instance.network.shape
    low, high = case.low.view(1, *shape), case.high.view(1, *shape)
    least, most = (instance.rounded(side, case).double() for side in (low, high))
    off = max((low - least).max().item(), (most - high).max().item())
    if off > TOLERANCE:
        precision = str(instance.network.dtype).removeprefix("torch.")
        return Region.box(low, high), f"{precision} has no number within {TOLERANCE:g} of the inputs"
    return Region.box(torch.minimum(low, least), torch.maximum(high, most)), ""


def _breaks(instance: Instance, case: Case, x: Tensor) -> Tensor:
    """Return which points `(N, *shape)` are counterexamples for onnxruntime, bool `(N,)`."""
    return torch.tensor([instance.broken(point, case=case) for point in instance.rounded(x, case)], dtype=torch.bool)
