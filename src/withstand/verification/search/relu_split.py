"""Complete search by the signs of ReLUs, many sub-problems at once (beta-CROWN; Wang et al., 2021).

The sub-problems with the lowest bounds are cut in two until all are proven, or a point that breaks the property is met.
What a short search leaves open is searched again from a root whose boxes searches of their own have shrunk, as long
as these make the root's bound better.
"""

import torch
from torch import Tensor

from withstand.verification.bounds.alpha import Ascent
from withstand.verification.bounds.crown import MEMORY, output_bounds, relax_network
from withstand.verification.network.network import Network
from withstand.verification.search.falsify import DOUBTS, Breaks, Replay, by_outputs, doubtful, falsify, first_broken
from withstand.verification.search.intermediate_bounds import refine_bounds
from withstand.verification.search.sub_problems import Splitter
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property
from withstand.verification.specification.verdict import CLOCK, Clock, Late, Status, Verdict, passed

_ROOT = Ascent(steps=40, rate=0.25)
_INNER = Ascent(steps=6, rate=0.2, patience=4)
_STAGES = ((1, 0.12), (16, 0.3), (64, 0.6), (256, 1.0))
"""Leaves of the trees that shrink the root's boxes, and the share of the time at which a stage ends."""
_SHRINK = 0.4
"""Share of a stage that may go into the boxes."""
_WORTH = 0.1
"""Share of its distance from 0 by which the root's bound has to rise for the search to begin again."""


def search_relus(
    network: Network,
    region: Region,
    wanted: Property,
    *,
    replay: Replay | None = None,
    breaks: Breaks | None = None,
    timeout: float = 60.0,
    memory: int = MEMORY,
    attack: bool = True,
    clock: Clock = CLOCK,
) -> Verdict:
    """Decide a property on one region of a network whose activations are ReLUs (others stay relaxed).

    Args:
        network: the captured network, in float64; bounds are computed in float32, rounding paid for.
        region: one region (N = 1).
        wanted: what shall hold.
        replay: the real model, which a counterexample must also break; None for the captured network.
        breaks: judges points in place of the property and `replay`.
        timeout: seconds.
        memory: bytes that one backward pass may hold.
        attack: look for a counterexample first.
        clock: by which the time goes.
    """
    began, breaks, count = clock(), breaks or by_outputs(wanted, replay or network), 0
    late = passed(clock, began + timeout)

    def answer(
        status: Status, *, margin: float = float("-inf"), counterexample: Tensor | None = None, reason: str = ""
    ) -> Verdict:
        return Verdict(status, margin, counterexample, reason, "relu splits", clock() - began, count)

    quick = network.to(torch.float32)
    point = falsify(quick, region, wanted, breaks, late=late) if attack else None
    if point is not None:
        return answer("unsafe", counterexample=point)
    root = relax_network(quick, region.to(torch.float32), memory=memory, late=late)
    weight = wanted.weight[None].to(torch.float32)
    rough = output_bounds(root, weight, memory=memory, late=late)[0] + wanted.offset
    if (least := wanted.least(rough[None]).item()) > 0:
        return answer("safe", margin=least)
    search, shrinking = _Search(Splitter(root, wanted.weight, wanted.offset, memory=memory), wanted, rough), True
    tried = _Tried(quick, wanted, region, breaks)
    for leaves, share in _STAGES:
        if shrinking:
            seconds = _SHRINK * (began + share * timeout - clock())
            refine_bounds(root, seconds=seconds, leaves=leaves, memory=memory, clock=clock)
            tighter = output_bounds(root, weight, memory=memory, late=late)[0] + wanted.offset
            better = torch.maximum(rough, tighter)
            gain = wanted.least(better[None]) - wanted.least(rough[None])
            # Where better boxes change little the search goes on as it is, and they are sought no longer.
            shrinking = leaves == 1 or bool(gain > _WORTH * wanted.least(rough[None]).abs())
            rough = better
            if shrinking:
                count += search.count
                search = _Search(Splitter(root, wanted.weight, wanted.offset, memory=memory), wanted, rough)
        point = search.run(passed(clock, began + share * timeout), tried)
        if point is not None or not search.open or tried.doubts >= DOUBTS:
            break
    count += search.count
    if point is not None:
        return answer("unsafe", counterexample=point)
    if not search.open and not search.stuck:
        return answer("safe", margin=search.least)
    if search.open and tried.doubts >= DOUBTS:
        return answer("unknown", margin=search.worst, reason=doubtful(tried.doubts))
    if search.open:
        return answer(
            "unknown",
            margin=search.worst,
            reason=f"time-out after {timeout:.3g} s"
            + (
                f": {count} sub-problems bounded, {search.open} open"
                if count
                else ", which bounds of the whole region took: it was not split"
            ),
        )
    return answer(
        "unknown",
        reason=f"{search.stuck} sub-problems stay open, cut wherever they can be: their bounds are not exact",
    )


class _Search:
    """A search that can be gone on with.

    Args:
        splitter: bounds sub-problems of the property's inequalities.
        wanted: the property: of each group one inequality has to be proven.
        rough: what is known of each inequality, `(K,)`.
    """

    def __init__(self, splitter: Splitter, wanted: Property, rough: Tensor) -> None:
        self.splitter = splitter
        margin = wanted.per_group(rough[None])[0]
        hardest = [rough.masked_fill(wanted.group != group, -torch.inf).argmax() for group in range(wanted.groups)]
        row = torch.stack(hardest)[~(margin > 0)]  # what is no number is not proven
        self.least = margin[margin > 0].min().item() if bool((margin > 0).any()) else float("inf")
        """The smallest proven bound."""
        self.count = self.stuck = 0
        self._fresh = splitter.whole(row, rough[row])
        self._open = self._fresh.take(row[:0])
        self._ascent = _ROOT

    @property
    def open(self) -> int:
        """The number of sub-problems that are neither proven nor stuck."""
        return len(self._open.row) + len(self._fresh.row)

    @property
    def worst(self) -> float:
        """The lowest bound of those."""
        return torch.cat([self._open.bound, self._fresh.bound]).min().item()

    def run(self, late: Late, tried: "_Tried") -> Tensor | None:
        """Search until time is up, nothing is open, or a point that breaks the property is met, which is returned.

        Args:
            late: tells whether time is up.
            tried: shows the points that are met to the real model.
        """
        batch = self.splitter.batch
        while self.open and not late() and tried.doubts < DOUBTS:
            if not len(self._fresh.row):
                order = self._open.bound.argsort()
                self._fresh = self._open.take(order[: batch // 2]).split()
                self._open = self._open.take(order[batch // 2 :])
            every = torch.arange(len(self._fresh.row))
            done, corner = self.splitter.bounded(self._fresh.take(every[:batch]), self._ascent, late)
            self._fresh = self._fresh.take(every[batch:])
            if not len(self._fresh.row):
                self._ascent = _INNER
            self.count += len(done.row)
            point = tried(corner)
            if point is not None:
                return point
            proven = done.bound > 0
            if bool(proven.any()):
                self.least = min(self.least, done.bound[proven].min().item())
            whole = ~proven & (done.cut < 0)
            self.stuck += int(whole.sum())
            self._open = self._open.join(done.take((~proven & ~whole).nonzero().squeeze(1)))
        return None


class _Tried:
    """Shows points to the real model, and counts those that break the captured network alone."""

    def __init__(self, network: Network, wanted: Property, region: Region, breaks: Breaks) -> None:
        self.network, self.wanted, self.region, self.breaks = network, wanted, region, breaks
        self.doubts = 0

    def __call__(self, points: Tensor) -> Tensor | None:
        """Return the first of some points of the box that breaks the property on the real model."""
        points = torch.minimum(torch.maximum(points.double(), self.region.low), self.region.high)
        with torch.no_grad():
            values = self.wanted.least(self.wanted.values(self.network(points)))
        found = first_broken(points, values, self.breaks)
        self.doubts += found is None and bool((values <= 0).any())
        return found
