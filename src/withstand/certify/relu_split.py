"""Complete search by the signs of ReLUs, many sub-problems at once (beta-CROWN; Wang et al., 2021).

A sub-problem fixes the signs of some ReLUs' inputs, bounds one function with optimised slopes and multipliers, and
is cut in two at the ReLU whose relaxation costs the bound most. Sizes: `R` sub-problems, `U` ReLUs in doubt.
"""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.certify.activation import ReLU
from withstand.certify.bounds.alpha import Ascent, Climbed, climb
from withstand.certify.bounds.backward import Relaxed
from withstand.certify.bounds.crown import MEMORY, output_bounds, relax_network, rows_at_once, take
from withstand.certify.bounds.interval import Box
from withstand.certify.bounds.relaxation import Lines, relu
from withstand.certify.box import Region
from withstand.certify.falsify import Replay, falsify
from withstand.certify.input_split import confirm
from withstand.certify.network import Network
from withstand.certify.property import Property
from withstand.certify.verdict import Verdict

_ROOT = Ascent(steps=40, rate=0.25)
_INNER = Ascent(steps=12, rate=0.15, patience=4)


@dataclass
class _Problems:
    """Sub-problems: signs, slopes and multipliers `(R, U)`, rows of the property, bounds, where to cut next `(R,)`."""

    sign: Tensor
    slope: Tensor
    pull: Tensor
    row: Tensor
    bound: Tensor
    cut: Tensor

    def take(self, index: Tensor) -> "_Problems":
        return _Problems(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def join(self, other: "_Problems") -> "_Problems":
        names = self.__dataclass_fields__
        return _Problems(*(torch.cat([getattr(self, name), getattr(other, name)]) for name in names))


class _Search:
    """One region and property, with the root's relaxation."""

    def __init__(self, network: Network, region: Region, wanted: Property, memory: int) -> None:
        self.network, self.wanted = network, wanted
        self.root = relax_network(network, region.to(network.dtype), memory=memory)
        self.weight = wanted.weight.to(network.dtype)
        self.batch = max(2, min(256, rows_at_once(network, memory) // 4))
        self.places: dict[int, Tensor] = {}
        """By ReLU node, the flat places of the entries in doubt."""
        for place, node in enumerate(network.nodes):
            if isinstance(node.operation, ReLU):
                box = self.root.boxes[node.inputs[0]]
                where = ((box.low < 0) & (box.high > 0)).flatten().nonzero().squeeze(1)
                if len(where):
                    self.places[place] = where
        self.doubtful = sum(len(where) for where in self.places.values())

    def bounds_of(self, problems: _Problems, ascent: Ascent) -> tuple[_Problems, Tensor]:
        """Bound sub-problems; return them with bounds and cuts, and points where the bounds are lowest."""
        relaxed, splits, pulls = self._pose(problems)
        climbed = climb(
            relaxed,
            self.weight[problems.row],
            ascent,
            splits=splits,
            pulls=pulls,
            target=-self.wanted.offset[problems.row],
        )
        bound = torch.maximum(problems.bound, climbed.bound + self.wanted.offset[problems.row])
        slope, pull, score = problems.slope.clone(), torch.zeros_like(problems.pull), []
        first = 0
        for place, where in self.places.items():
            span = slice(first, first + len(where))
            first += len(where)
            if place in climbed.slopes:
                slope[:, span] = climbed.slopes[place].flatten(1)[:, where]
            if place in climbed.pulls:
                pull[:, span] = climbed.pulls[place].flatten(1)[:, where]
            score.append(self._costs(place, where, relaxed, climbed))
        costs = torch.cat(score, 1).masked_fill(problems.sign != 0, -1.0)
        best, cut = costs.max(1)
        cut = torch.where(best < 0, -1, cut)
        assert climbed.slope is not None
        region = relaxed.region
        corner = torch.where(climbed.slope > 0, region.low, region.high)
        return _Problems(problems.sign, slope, pull, problems.row, bound, cut), corner

    def _pose(self, problems: _Problems) -> tuple[Relaxed, dict[int, Tensor], dict[int, Tensor]]:
        """Return the relaxation with each sub-problem's signs put in."""
        relaxed = take(self.root, torch.zeros(len(problems.row), dtype=torch.long))
        splits, pulls = {}, {}
        first = 0
        for place, where in self.places.items():
            span = slice(first, first + len(where))
            first += len(where)
            (source,) = self.network.nodes[place].inputs
            box = relaxed.boxes[source]
            sign = torch.zeros(box.low.shape, dtype=torch.int8).flatten(1)
            sign[:, where] = problems.sign[:, span]
            sign = sign.view(box.low.shape)
            low, high = box.low.clone(), box.high.clone()
            low[sign > 0] = low[sign > 0].clamp_min(0)
            high[sign < 0] = high[sign < 0].clamp_max(0)
            operation = self.network.nodes[place].operation
            assert isinstance(operation, ReLU)
            relaxed.boxes[source] = Box(low, high)
            lines = relu(low, high, operation.slope)
            slopes = lines.low_slope.flatten(1).clone()
            still = (low < 0) & (high > 0)
            old = problems.slope[:, span]
            slopes[:, where] = torch.where(still.flatten(1)[:, where] & ~old.isnan(), old, slopes[:, where])
            relaxed.lines[place] = replace(lines, low_slope=slopes.view(low.shape))
            splits[place] = sign
            pull = torch.zeros_like(low).flatten(1)
            pull[:, where] = problems.pull[:, span]
            pulls[place] = pull.view(low.shape)
        return relaxed, splits, pulls

    def _costs(self, place: int, where: Tensor, relaxed: Relaxed, climbed: Climbed) -> Tensor:
        """Return what each ReLU's relaxation costs the bound, `(R, len(where))`; 0 where it costs nothing."""
        (source,) = self.network.nodes[place].inputs
        low, high = (value.flatten(1)[:, where] for value in (relaxed.boxes[source].low, relaxed.boxes[source].high))
        lines = relaxed.lines[place]
        assert isinstance(lines, Lines)
        if place not in climbed.seen:
            return torch.zeros_like(low)
        weight = climbed.seen[place].flatten(1)[:, where]
        slope = climbed.slopes[place].flatten(1)[:, where] if place in climbed.slopes else torch.zeros_like(low)
        above = -weight.clamp_max(0) * lines.high_shift.flatten(1)[:, where]
        below = weight.clamp_min(0) * torch.minimum(-slope * low, (1 - slope) * high)
        cost = torch.where((low < 0) & (high > 0), above + below, 0)
        # A ReLU that costs nothing now may still be cut when nothing else is left.
        return torch.where((low < 0) & (high > 0), cost, -1.0)


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
    began = time.monotonic()
    replay = replay or network
    count = 0
    point = falsify(network, region, wanted) if attack else None
    if point is not None and (shown := confirm(point, wanted, replay)) is not None:
        return Verdict("unsafe", counterexample=shown, method="relu splits", seconds=time.monotonic() - began)
    search = _Search(network.to(torch.float32), region, wanted, memory)
    rough = output_bounds(search.root, search.weight[None], memory=memory) + wanted.offset
    margin = wanted.per_group(rough)[0]
    rows = [
        rough[0].masked_fill(wanted.group != group, -torch.inf).argmax()
        for group in range(wanted.groups)
        if margin[group] <= 0
    ]
    least = margin[margin > 0].min().item() if bool((margin > 0).any()) else float("inf")

    def answer(status: str, **said: object) -> Verdict:
        return Verdict(status, method="relu splits", seconds=time.monotonic() - began, steps=count, **said)  # type: ignore[arg-type]

    if not rows:
        return answer("safe", margin=least)
    row = torch.stack(rows)
    wide = (len(row), search.doubtful)
    open_ = _Problems(
        torch.zeros(wide, dtype=torch.int8),
        torch.full(wide, torch.nan),
        torch.zeros(wide),
        row,
        rough[0, row],
        torch.full((len(row),), -1),
    )
    fresh, ascent, stuck = open_, _ROOT, 0
    open_ = open_.take(torch.zeros(0, dtype=torch.long))
    while len(fresh.row):
        pieces: list[_Problems] = []
        for part in torch.split(torch.arange(len(fresh.row)), search.batch):
            if pieces and time.monotonic() - began > timeout:
                # What was not reached stays open, with its parent's bound.
                pieces.append(fresh.take(torch.arange(int(part[0]), len(fresh.row))))
                break
            piece, corner = search.bounds_of(fresh.take(part), ascent)
            pieces.append(piece)
            point = _breaking(network, wanted, corner.double(), region)
            if point is not None and (shown := confirm(point, wanted, replay)) is not None:
                return answer("unsafe", counterexample=shown)
        done = pieces[0]
        for piece in pieces[1:]:
            done = done.join(piece)
        count += len(done.row)
        ascent = _INNER
        proven = done.bound > 0
        if bool(proven.any()):
            least = min(least, done.bound[proven].min().item())
        late = time.monotonic() - began > timeout
        whole = ~proven & (done.cut < 0) & (not late)
        stuck += int(whole.sum())
        open_ = open_.join(done.take((~proven & ~whole).nonzero().squeeze(1)))
        if late and len(open_.row):
            return answer(
                "unknown",
                margin=open_.bound.min().item(),
                reason=f"time-out after {timeout:.3g} s: {count} sub-problems looked at, {len(open_.row)} open",
            )
        if not len(open_.row):
            break
        order = open_.bound.argsort()
        fresh = _split(open_.take(order[: search.batch // 2]))
        open_ = open_.take(order[search.batch // 2 :])
    if stuck:
        return answer(
            "unknown", reason=f"{stuck} sub-problems with every sign fixed stay open: the bound is not exact there"
        )
    return answer("safe", margin=least)


def _split(problems: _Problems) -> _Problems:
    """Return both children of each sub-problem."""
    index = torch.arange(len(problems.row))
    up, down = (replace(problems, sign=problems.sign.clone()) for _ in range(2))
    up.sign[index, problems.cut] = 1
    down.sign[index, problems.cut] = -1
    return up.join(down)


def _breaking(network: Network, wanted: Property, corner: Tensor, region: Region) -> Tensor | None:
    """Return the first of the points that lies in the region and breaks the property on the captured network."""
    corner = torch.minimum(torch.maximum(corner, region.low), region.high)
    if region.center is not None:
        return None  # a corner of the box is no point of the ball
    with torch.no_grad():
        found = (wanted.least(wanted.values(network(corner))) <= 0).nonzero()
    return corner[found[0, 0]] if len(found) else None
