"""Sub-problems of a region, each with smaller boxes before some activations, bounded many at once.

A ReLU's input is cut at 0, a smooth activation's anywhere, again and again. A sub-problem bounds one function with
optimised lines, and with multipliers for what the cuts tell (beta-CROWN; Wang et al., 2021; GenBaB; Shi et al., 2024).
Where it is to be cut is chosen by what each activation's relaxation costs the bound (Bunel et al., 2020), and among
the dearest few by bounding both halves (De Palma et al., 2021). Sizes: `R` sub-problems, `U` activations in doubt.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from withstand.verification.bounds.alpha import BOTH, Ascent, Climbed, climb
from withstand.verification.bounds.backward import Relaxed, Rows, lower_bounds
from withstand.verification.bounds.crown import MEMORY, rows_at_once, take
from withstand.verification.bounds.curved import curved, retouched
from withstand.verification.bounds.interval import Box
from withstand.verification.bounds.lines import Lines, Relaxation
from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.bounds.relaxation import relu
from withstand.verification.bounds.rounding import full_precision
from withstand.verification.network.activation import Activation, Curve, ReLU
from withstand.verification.specification.verdict import Late, never

_CANDIDATES = 4
"""Activations of which both halves are bounded before one is chosen to be cut at."""
_NARROW = 1e-3
"""Width, as a share of 1 or of its ends' size, below which a smooth activation's lines owe more to rounding."""


@dataclass
class SubProblems:
    """R sub-problems.

    Attributes:
        low: the smallest input of each activation in doubt, `(R, U)`.
        high: the largest.
        free: what was best of a ReLU's slope, or of the two tangents of a smooth activation; NaN where nothing is
            known, `(R, U, 2)`.
        pull: the multipliers that were best, `(R, U)`.
        row: which function is bounded, `(R,)`.
        bound: a proven lower bound of it, float64 `(R,)`.
        cut: which activation to cut at next, `(R,)`; -1 where none is left.
        point: where its input is to be cut, `(R,)`.
    """

    low: Tensor
    high: Tensor
    free: Tensor
    pull: Tensor
    row: Tensor
    bound: Tensor
    cut: Tensor
    point: Tensor

    def take(self, index: Tensor) -> "SubProblems":
        """Return some of them."""
        return SubProblems(*(getattr(self, field.name)[index] for field in fields(self)))

    def join(self, *others: "SubProblems") -> "SubProblems":
        """Return these and others."""
        every = (self, *others)
        return SubProblems(*(torch.cat([getattr(one, field.name) for one in every]) for field in fields(self)))

    def split(self) -> "SubProblems":
        """Return both halves of each: all upper ones, then all lower ones."""
        index = torch.arange(len(self.row))
        up, down = replace(self, low=self.low.clone()), replace(self, high=self.high.clone())
        up.low[index, self.cut] = self.point
        down.high[index, self.cut] = self.point
        return up.join(down)


class Splitter:
    """Bounds sub-problems of one region.

    Args:
        root: the relaxation of one region (N = 1), in float32; nodes up to `start` are enough.
        weight: the functions, `(K, *shape of the node)`.
        offset: what is added to each, float64 `(K,)`.
        start: the node that the functions are of; None for the output.
        enough: functions above it are proven, and neither raised nor cut any further.
        memory: bytes that one backward pass may hold.
    """

    def __init__(
        self,
        root: Relaxed,
        weight: Tensor,
        offset: Tensor,
        *,
        start: int | None = None,
        enough: float = 0.0,
        memory: int = MEMORY,
    ) -> None:
        self.network, self.enough = root.network, enough
        self.start = len(self.network.nodes) - 1 if start is None else start
        lines = {place: found for place, found in root.lines.items() if place <= self.start}
        self.root = Relaxed(self.network, root.region, root.boxes[: self.start + 1], lines, most=dict(root.most))
        self.weight, self.offset = weight.to(self.network.dtype), offset
        self.batch = max(2, min(256, rows_at_once(self.network, memory) // 4))
        self.places: dict[int, Tensor] = {}
        """By node, the flat places of the entries in doubt."""
        for place in lines:
            node = self.network.nodes[place]
            if isinstance(node.operation, ReLU | Curve):
                where = doubtful(node.operation, root.boxes[node.inputs[0]]).flatten().nonzero().squeeze(1)
                if len(where):
                    self.places[place] = where

    def whole(self, row: Tensor, bound: Tensor) -> SubProblems:
        """Return the problems in which nothing is cut, with what is known of their functions, `(R,)`."""
        boxes = {place: self.root.boxes[self._source(place)] for place in self.places}
        ends = [
            torch.cat(
                [value.flatten()[self.places[place]] for place, value in side.items()] or [self.weight.new_zeros(0)]
            )
            for side in (
                {place: box.low for place, box in boxes.items()},
                {place: box.high for place, box in boxes.items()},
            )
        ]
        low, high = (end.expand(len(row), -1).clone() for end in ends)
        nothing = torch.full_like(low, torch.nan)
        free, cut = torch.stack([nothing, nothing], 2), torch.full_like(row, -1)
        return SubProblems(low, high, free, torch.zeros_like(low), row, bound, cut, torch.zeros_like(row).to(low))

    def bounded(self, problems: SubProblems, ascent: Ascent, late: Late = never) -> tuple[SubProblems, Tensor]:
        """Return the sub-problems with bounds and cuts, and the corners of the box where their bounds are lowest.

        Once `late` says so, lines are optimised no further and the cuts are the dearest.
        """
        relaxed, sides, pulls = self._pose(problems)
        offset = self.offset[problems.row]
        climbed = climb(
            relaxed,
            self.weight[problems.row],
            ascent,
            sides=sides,
            pulls=pulls,
            target=self.enough - offset,
            start=self.start,
            late=late,
        )
        bound = torch.maximum(problems.bound, climbed.bound + offset)
        free, pull = problems.free.clone(), torch.zeros_like(problems.pull)
        score, points = torch.full_like(pull, -1.0), torch.zeros_like(pull)
        for place, where, span in self._spans():
            for which, chosen in enumerate(climbed.free.get(place, ())):
                free[:, span, which] = rows_of(chosen)[:, where].to(free)
            if place in climbed.pulls:
                pull[:, span] = rows_of(climbed.pulls[place])[:, where]
            score[:, span], points[:, span] = self._costs(place, where, relaxed, climbed)
        found = replace(
            problems, free=free, pull=pull, bound=bound, cut=torch.full_like(problems.row, -1),
            point=torch.zeros_like(problems.point),
        )  # fmt: skip
        open_ = ((bound <= self.enough) & (score >= 0).any(1)).nonzero().squeeze(1)
        if len(open_):
            dearest = score[open_].argmax(1)
            if not late():
                dearest = self._chosen(found.take(open_), score[open_], points[open_])
            found.cut[open_], found.point[open_] = dearest, points[open_, dearest]
        assert climbed.slope is not None
        return found, relaxed.region.lowest(climbed.slope)

    def _chosen(self, problems: SubProblems, costs: Tensor, points: Tensor) -> Tensor:
        """Return where to cut: of the dearest few, the activation whose worse half has the better bound, `(R,)`."""
        few = min(_CANDIDATES, costs.shape[1])
        score, places = costs.topk(few, 1)
        each = torch.arange(len(problems.row)).repeat_interleave(few)
        at = points.gather(1, places).flatten()
        halves = replace(problems.take(each), cut=places.flatten(), point=at).split()
        parts = []
        for index in torch.split(torch.arange(len(halves.row)), 4 * self.batch):
            part = halves.take(index)
            relaxed, _, pulls = self._pose(part)
            relaxed.pull = pulls
            with full_precision(), torch.no_grad():
                parts.append(lower_bounds(relaxed, self.start, self.weight[part.row], Rows()) + self.offset[part.row])
        up, down = torch.cat(parts).view(2, len(problems.row), few)
        worse = torch.minimum(up, down) + 1e-3 * torch.maximum(up, down).clamp_max(0)
        return places.gather(1, worse.masked_fill(score < 0, -torch.inf).argmax(1, keepdim=True)).squeeze(1)

    def _spans(self) -> Iterator[tuple[int, Tensor, slice]]:
        """Give each node, its entries in doubt, and which of the U columns are theirs."""
        first = 0
        for place, where in self.places.items():
            yield place, where, slice(first, first + len(where))
            first += len(where)

    def _source(self, place: int) -> int:
        (source,) = self.network.nodes[place].inputs
        return source

    def _pose(self, problems: SubProblems) -> tuple[Relaxed, dict[int, Tensor], dict[int, Tensor]]:
        """Return the relaxation with each sub-problem's boxes, where they are cut, and the multipliers, by node."""
        relaxed = take(self.root, torch.zeros(len(problems.row), dtype=torch.long))
        sides, pulls = {}, {}
        for place, where, span in self._spans():
            source = self._source(place)
            box = relaxed.boxes[source]
            first, last = rows_of(box.low)[:, where], rows_of(box.high)[:, where]
            low, high = torch.maximum(first, problems.low[:, span]), torch.minimum(last, problems.high[:, span])
            root = self.root.boxes[source]
            risen, fallen = (low > root.low.flatten()[where]), (high < root.high.flatten()[where])
            side = risen.to(torch.int8) - fallen.to(torch.int8)
            sides[place] = _put(
                torch.zeros_like(box.low, dtype=torch.int8), where, side.masked_fill(risen & fallen, BOTH)
            )
            pulls[place] = _put(torch.zeros_like(box.low), where, problems.pull[:, span])
            relaxed.boxes[source] = Box(_put(box.low, where, low), _put(box.high, where, high))
            relaxed.lines[place] = self._lines(place, where, relaxed, risen | fallen, problems.free[:, span])
        return relaxed, sides, pulls

    def _lines(self, place: int, where: Tensor, relaxed: Relaxed, cut: Tensor, free: Tensor) -> Lines:
        """Return a node's lines in the sub-problems' boxes, at some entries as they were best before.

        Args:
            place: the node.
            where: its entries in doubt, flat.
            relaxed: with the sub-problems' boxes.
            cut: where these are smaller than the region's, `(R, len(where))`.
            free: what was best, `(R, len(where), 2)`; NaN where nothing is known.
        """
        operation, old = self._bent(place, relaxed.lines[place])
        box = relaxed.boxes[self._source(place)]
        if isinstance(operation, ReLU):
            lines = relu(box.low, box.high, operation.slope)
            slopes = rows_of(lines.low_slope)[:, where]
            split = rows_of(doubtful(operation, box))[:, where]
            slopes = torch.where(split & ~free[..., 0].isnan(), free[..., 0], slopes)
            return replace(lines, low_slope=_put(lines.low_slope, where, slopes))
        rows = torch.arange(len(cut))[:, None]
        shape = box.low.shape[1:]
        at = tuple(part.expand_as(cut) for part in (rows, *(torch.unravel_index(where, shape) if shape else ())))
        low, high, few = box.low[at], box.high[at], old.entries(at)
        if bool(cut.any()):
            new = cut.nonzero(as_tuple=True)
            few = few.put(new, curved(operation, low[new], high[new]))
        assert few.tangents is not None
        best = zip(free.to(low.dtype).unbind(-1), few.tangents.touch, strict=True)
        below, above = (torch.where(known.isnan(), now, known.to(now)) for known, now in best)
        return old.put(at, retouched(operation, low, high, few, (below, above)))

    def _bent(self, place: int, lines: Relaxation) -> tuple[ReLU | Curve, Lines]:
        """Return a node's activation and its lines."""
        operation = self.network.nodes[place].operation
        if not isinstance(operation, ReLU | Curve) or not isinstance(lines, Lines):
            raise TypeError(f"node {place}, a {type(operation).__name__}, cannot be split by its input")
        return operation, lines

    def _costs(self, place: int, where: Tensor, relaxed: Relaxed, climbed: Climbed) -> tuple[Tensor, Tensor]:
        """Return what each activation's relaxation costs the bound, below 0 where it can't be cut, and where to cut it.

        Both are `(R, len(where))`.
        """
        operation, lines = self._bent(place, climbed.lines.get(place, relaxed.lines[place]))
        box = relaxed.boxes[self._source(place)]
        low, high = rows_of(box.low)[:, where], rows_of(box.high)[:, where]
        if place not in climbed.seen:
            return torch.zeros_like(low), torch.zeros_like(low)
        weight = rows_of(climbed.seen[place])[:, where]
        low_shift = torch.zeros_like(box.low) if lines.low_shift is None else lines.low_shift
        flat = (lines.low_slope, low_shift, lines.high_slope, lines.high_shift)
        slope, shift, steep, top = (rows_of(part.detach())[:, where] for part in flat)
        doubt = doubtful(operation, Box(low, high))
        if isinstance(operation, ReLU):
            point = torch.zeros_like(low)
            above, below = top, torch.minimum(-slope * low, (1 - slope) * high)
        else:
            point = (low + high) / 2
            above, below = torch.zeros_like(low), torch.zeros_like(low)
            for x in (low, point, high):
                value = operation.forward(x)
                above = torch.maximum(above, steep * x + top - value)
                below = torch.maximum(below, value - slope * x - shift)
        cost = weight.clamp_min(0) * below - weight.clamp_max(0) * above
        # An activation that costs nothing now may still be cut when nothing else is left.
        return torch.where(doubt, cost.clamp_min(0), -1.0), point


def doubtful(operation: Activation, box: Box) -> Tensor:
    """Return which entries of an activation's input are worth a cut."""
    if isinstance(operation, ReLU):
        return (box.low < 0) & (box.high > 0)
    return box.high - box.low > _NARROW * torch.maximum(box.low.abs(), box.high.abs()).clamp_min(1)


def _put(values: Tensor, where: Tensor, few: Tensor) -> Tensor:
    """Return values `(R, *shape)` with those at some flat places in place of theirs."""
    flat = rows_of(values).clone()
    flat[:, where] = few
    return flat.view(values.shape)
