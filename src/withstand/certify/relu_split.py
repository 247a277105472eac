"""Complete search by the signs of ReLUs, many sub-problems at once (beta-CROWN; Wang et al., 2021).

The sub-problems with the lowest bounds are cut in two until all are proven, or a point that breaks the property is met.
What a first, short search leaves open is searched again from a root whose boxes a search of its own has shrunk.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.certify.bounds.alpha import Ascent
from withstand.certify.bounds.crown import MEMORY, output_bounds, relax_network
from withstand.certify.box import Region
from withstand.certify.falsify import Replay, falsify
from withstand.certify.input_split import confirm
from withstand.certify.network import Network
from withstand.certify.property import Property
from withstand.certify.sub_problems import Splitter, SubProblems
from withstand.certify.tighten import tighten
from withstand.certify.verdict import Verdict

_ROOT = Ascent(steps=40, rate=0.25)
_INNER = Ascent(steps=6, rate=0.2, patience=4)
_FIRST = 0.1
"""Share of the time that is searched from a root with optimised slopes."""
_SHRINK = 0.3
"""Share of the time then given to the root's boxes."""
_LEAVES = 64


@dataclass
class _Outcome:
    """What a search came to: a counterexample, open sub-problems, or neither."""

    point: Tensor | None = None
    least: float = float("inf")
    count: int = 0
    open: int = 0
    stuck: int = 0
    worst: float = float("inf")


def search_relus(
    network: Network,
    region: Region,
    wanted: Property,
    *,
    replay: Replay | None = None,
    timeout: float = 60.0,
    memory: int = MEMORY,
    attack: bool = True,
) -> Verdict:
    """Decide a property on one region of a network whose activations are ReLUs (others stay relaxed).

    Args:
        network: the captured network, in float64; bounds are computed in float32, rounding paid for.
        region: one region (N = 1).
        wanted: what shall hold.
        replay: the real model, which a counterexample must also break; None for the captured network.
        timeout: seconds.
        memory: bytes that one backward pass may hold.
        attack: look for a counterexample first.
    """
    began, replay, count = time.monotonic(), replay or network, 0

    def answer(status: str, **said: object) -> Verdict:
        return Verdict(status, method="relu splits", seconds=time.monotonic() - began, steps=count, **said)  # type: ignore[arg-type]

    point = falsify(network, region, wanted) if attack else None
    if point is not None and (shown := confirm(point, wanted, replay)) is not None:
        return answer("unsafe", counterexample=shown)
    quick = network.to(torch.float32)
    root = relax_network(quick, region.to(torch.float32), memory=memory)
    weight = wanted.weight[None].to(torch.float32)
    rough = output_bounds(root, weight, memory=memory)[0] + wanted.offset
    if (least := wanted.least(rough[None]).item()) > 0:
        return answer("safe", margin=least)
    # A short search from better boxes, then a long one from the best.
    for leaves, share in ((1, _FIRST), (_LEAVES, 1.0)):
        now = time.monotonic()
        tighten(root, seconds=_SHRINK * (began + timeout - now), leaves=leaves, memory=memory)
        rough = torch.maximum(rough, output_bounds(root, weight, memory=memory)[0] + wanted.offset)
        until = min(began + timeout, now + share * timeout)
        splitter = Splitter(root, wanted.weight, wanted.offset, memory=memory)
        found = _searched(splitter, wanted, rough, until, lambda x: _shown(quick, wanted, x, region, replay))
        count += found.count
        if found.point is not None:
            return answer("unsafe", counterexample=found.point)
        if not found.open and not found.stuck:
            return answer("safe", margin=found.least)
        if not found.open:
            break
    if found.open:
        return answer(
            "unknown",
            margin=found.worst,
            reason=f"time-out after {timeout:.3g} s: {count} sub-problems looked at, {found.open} open",
        )
    return answer(
        "unknown", reason=f"{found.stuck} sub-problems with every sign fixed stay open: the bound is not exact there"
    )


def _searched(
    splitter: Splitter, wanted: Property, rough: Tensor, until: float, breaks: Callable[[Tensor], Tensor | None]
) -> _Outcome:
    """Search until a time.

    Args:
        splitter: bounds sub-problems of the property's inequalities.
        wanted: the property: of each group one inequality has to be proven.
        rough: what is known of each inequality, `(K,)`.
        until: on the monotonic clock.
        breaks: tells of points `(B, *shape)` one that breaks the property, if any does.
    """
    outcome, margin = _Outcome(), wanted.per_group(rough[None])[0]
    if bool((margin > 0).any()):
        outcome.least = margin[margin > 0].min().item()
    hardest = [rough.masked_fill(wanted.group != group, -torch.inf).argmax() for group in range(wanted.groups)]
    rows = [row for row, value in zip(hardest, margin.tolist(), strict=True) if value <= 0]
    if not rows:
        return outcome
    row = torch.stack(rows)
    fresh, ascent = SubProblems.whole(row, rough[row], splitter.doubtful), _ROOT
    open_ = fresh.take(row[:0])
    while len(fresh.row):
        pieces: list[SubProblems] = []
        for part in torch.split(torch.arange(len(fresh.row)), splitter.batch):
            if pieces and time.monotonic() > until:
                # What was not reached stays open, with its parent's bound.
                pieces.append(fresh.take(torch.arange(int(part[0]), len(fresh.row))))
                break
            piece, corner = splitter.bounded(fresh.take(part), ascent)
            pieces.append(piece)
            outcome.point = breaks(corner)
            if outcome.point is not None:
                return outcome
        done = pieces[0].join(*pieces[1:])
        ascent, late = _INNER, time.monotonic() > until
        outcome.count += len(done.row)
        proven = done.bound > 0
        if bool(proven.any()):
            outcome.least = min(outcome.least, done.bound[proven].min().item())
        whole = ~proven & (done.cut < 0) & (not late)
        outcome.stuck += int(whole.sum())
        open_ = open_.join(done.take((~proven & ~whole).nonzero().squeeze(1)))
        if late or not len(open_.row):
            break
        order = open_.bound.argsort()
        fresh = open_.take(order[: splitter.batch // 2]).split()
        open_ = open_.take(order[splitter.batch // 2 :])
    outcome.open = len(open_.row)
    outcome.worst = open_.bound.min().item() if outcome.open else outcome.worst
    return outcome


def _shown(network: Network, wanted: Property, corner: Tensor, region: Region, replay: Replay) -> Tensor | None:
    """Return the first of some corners that lies in the region, if it breaks the property on the real model too."""
    if region.center is not None:
        return None  # a corner of the box is no point of the ball
    corner = torch.minimum(torch.maximum(corner.double(), region.low), region.high)
    with torch.no_grad():
        found = (wanted.least(wanted.values(network(corner))) <= 0).nonzero()
    return confirm(corner[found[0, 0]], wanted, replay) if len(found) else None
