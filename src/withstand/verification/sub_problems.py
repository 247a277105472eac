"""Sub-problems of a region, each with the signs of some ReLUs' inputs fixed, bounded many at once.

A sub-problem bounds one function with optimised slopes, and with multipliers for the signs (beta-CROWN; Wang et al.,
2021). Where it is to be cut is chosen by what each ReLU's relaxation costs the bound (Bunel et al., 2020), and among
the dearest few by bounding both halves (De Palma et al., 2021). Sizes: `R` sub-problems, `U` ReLUs in doubt.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.verification.activation import ReLU
from withstand.verification.bounds.alpha import Ascent, Climbed, climb
from withstand.verification.bounds.backward import Relaxed, Rows, lower_bounds
from withstand.verification.bounds.crown import MEMORY, rows_at_once, take
from withstand.verification.bounds.interval import Box
from withstand.verification.bounds.relaxation import Lines, relu
from withstand.verification.bounds.rounding import full_precision
from withstand.verification.verdict import Late, never

_CANDIDATES = 4
"""ReLUs of which both halves are bounded before one is chosen to be cut at."""


@dataclass
class SubProblems:
    """R sub-problems.

    Attributes:
        sign: int8 `(R, U)`, 1 where a ReLU's input is at least 0, -1 where at most 0, 0 where it is free.
        slope: the lower slopes that were best, NaN where none is known, `(R, U)`.
        pull: the multipliers that were best, `(R, U)`.
        row: which function is bounded, `(R,)`.
        bound: a proven lower bound of it, float64 `(R,)`.
        cut: which ReLU to cut at next, `(R,)`; -1 where none is left.
    """

    sign: Tensor
    slope: Tensor
    pull: Tensor
    row: Tensor
    bound: Tensor
    cut: Tensor

    @classmethod
    def whole(cls, row: Tensor, bound: Tensor, splitter: "Splitter") -> "SubProblems":
        """Return the problems in which no sign is fixed, in the splitter's precision: a rounded slope is none."""
        wide, dtype = (len(row), splitter.doubtful), splitter.network.dtype
        sign, none = torch.zeros(wide, dtype=torch.int8), torch.full_like(row, -1)
        slope, pull = torch.full(wide, torch.nan, dtype=dtype), torch.zeros(wide, dtype=dtype)
        return cls(sign, slope, pull, row, bound, none)

    def take(self, index: Tensor) -> "SubProblems":
        """Return some of them."""
        return SubProblems(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def join(self, *others: "SubProblems") -> "SubProblems":
        """Return these and others."""
        names = self.__dataclass_fields__
        return SubProblems(*(torch.cat([getattr(one, name) for one in (self, *others)]) for name in names))

    def split(self) -> "SubProblems":
        """Return both halves of each: all upper ones, then all lower ones."""
        index = torch.arange(len(self.row))
        up, down = (replace(self, sign=self.sign.clone()) for _ in range(2))
        up.sign[index, self.cut] = 1
        down.sign[index, self.cut] = -1
        return up.join(down)


class Splitter:
    """Bounds sub-problems of one region.

    Args:
        root: the relaxation of one region (N = 1), in float32; nodes up to `start` are enough.
        weight: the functions, `(K, *shape of the node)`.
        offset: what is added to each, float64 `(K,)`.
        start: the node that the functions are of; None for the output.
        memory: bytes that one backward pass may hold.
    """

    def __init__(
        self, root: Relaxed, weight: Tensor, offset: Tensor, *, start: int | None = None, memory: int = MEMORY
    ) -> None:
        self.network = root.network
        self.start = len(self.network.nodes) - 1 if start is None else start
        lines = {place: found for place, found in root.lines.items() if place <= self.start}
        self.root = Relaxed(self.network, root.region, root.boxes[: self.start + 1], lines, most=dict(root.most))
        self.weight, self.offset = weight.to(self.network.dtype), offset
        self.batch = max(2, min(256, rows_at_once(self.network, memory) // 4))
        self.places: dict[int, Tensor] = {}
        """By ReLU node, the flat places of the entries in doubt."""
        for place in lines:
            node = self.network.nodes[place]
            if isinstance(node.operation, ReLU):
                box = root.boxes[node.inputs[0]]
                where = ((box.low < 0) & (box.high > 0)).flatten().nonzero().squeeze(1)
                if len(where):
                    self.places[place] = where
        self.doubtful = sum(len(where) for where in self.places.values())

    def bounded(self, problems: SubProblems, ascent: Ascent, late: Late = never) -> tuple[SubProblems, Tensor]:
        """Return the sub-problems with bounds and cuts, and the corners of the box where their bounds are lowest.

        Once `late` says so, slopes are optimised no further and the cuts are the dearest.
        """
        relaxed, splits, pulls = self._pose(problems)
        offset = self.offset[problems.row]
        climbed = climb(
            relaxed,
            self.weight[problems.row],
            ascent,
            splits=splits,
            pulls=pulls,
            target=-offset,
            start=self.start,
            late=late,
        )
        bound = torch.maximum(problems.bound, climbed.bound + offset)
        slope, pull, score = problems.slope.clone(), torch.zeros_like(problems.pull), [problems.pull[:, :0]]
        for place, where, span in self._spans():
            if place in climbed.slopes:
                slope[:, span] = climbed.slopes[place].flatten(1)[:, where]
            if place in climbed.pulls:
                pull[:, span] = climbed.pulls[place].flatten(1)[:, where]
            score.append(self._costs(place, where, relaxed, climbed))
        found = SubProblems(problems.sign, slope, pull, problems.row, bound, torch.full_like(problems.row, -1))
        costs = torch.cat(score, 1).masked_fill(problems.sign != 0, -1.0)
        open_ = ((bound <= 0) & (costs >= 0).any(1)).nonzero().squeeze(1)
        if len(open_):
            found.cut[open_] = costs[open_].argmax(1) if late() else self._chosen(found.take(open_), costs[open_])
        assert climbed.slope is not None
        return found, relaxed.region.lowest(climbed.slope)

    def _chosen(self, problems: SubProblems, costs: Tensor) -> Tensor:
        """Return where to cut: of the dearest few ReLUs, the one whose worse half has the better bound, `(R,)`."""
        few = min(_CANDIDATES, costs.shape[1])
        score, places = costs.topk(few, 1)
        each = torch.arange(len(problems.row)).repeat_interleave(few)
        halves = replace(problems.take(each), cut=places.flatten()).split()
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

    def _spans(self) -> list[tuple[int, Tensor, slice]]:
        """Return each ReLU node, its entries in doubt, and which of the U columns are theirs."""
        found, first = [], 0
        for place, where in self.places.items():
            found.append((place, where, slice(first, first + len(where))))
            first += len(where)
        return found

    def _pose(self, problems: SubProblems) -> tuple[Relaxed, dict[int, Tensor], dict[int, Tensor]]:
        """Return the relaxation with each sub-problem's signs put in, the signs, and the multipliers, by node."""
        relaxed = take(self.root, torch.zeros(len(problems.row), dtype=torch.long))
        splits, pulls = {}, {}
        for place, where, span in self._spans():
            node = self.network.nodes[place]
            (source,) = node.inputs
            assert isinstance(node.operation, ReLU)
            box = relaxed.boxes[source]
            sign = torch.zeros(box.low.shape, dtype=torch.int8).flatten(1)
            sign[:, where] = problems.sign[:, span]
            sign = sign.view(box.low.shape)
            low = torch.where(sign > 0, box.low.clamp_min(0), box.low)
            high = torch.where(sign < 0, box.high.clamp_max(0), box.high)
            relaxed.boxes[source] = Box(low, high)
            lines = relu(low, high, node.operation.slope)
            slopes = lines.low_slope.flatten(1).clone()
            old, free = problems.slope[:, span], problems.sign[:, span] == 0
            slopes[:, where] = torch.where(free & ~old.isnan(), old, slopes[:, where])
            relaxed.lines[place] = replace(lines, low_slope=slopes.view(low.shape))
            splits[place] = sign
            pull = torch.zeros_like(low).flatten(1)
            pull[:, where] = problems.pull[:, span]
            pulls[place] = pull.view(low.shape)
        return relaxed, splits, pulls

    def _costs(self, place: int, where: Tensor, relaxed: Relaxed, climbed: Climbed) -> Tensor:
        """Return what each ReLU's relaxation costs the bound, `(R, len(where))`; below 0 where it can't be cut."""
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
        # A ReLU that costs nothing now may still be cut when nothing else is left.
        return torch.where((low < 0) & (high > 0), above + below, -1.0)
