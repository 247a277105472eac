"""Boxes before activations, shrunk by more than CROWN: a root from which many sub-problems follow deserves it.

First by optimised lines of the activations before (Xu et al., 2021); then by search, each bound being that of the worst
of a few dozen sub-problems: what a MILP of every unit gives in the end (Tjeng et al., 2019), all units served at once.
"""

import torch
from torch import Tensor

from withstand.verification.bounds.alpha import Ascent, climb
from withstand.verification.bounds.backward import Relaxed
from withstand.verification.bounds.crown import MEMORY, rows_at_once, take
from withstand.verification.bounds.relaxation import relax
from withstand.verification.network.activation import Curve, ReLU
from withstand.verification.search.sub_problems import Splitter, SubProblems, doubtful
from withstand.verification.specification.verdict import CLOCK, Clock, Late, passed

_SLOPES = Ascent(steps=20, rate=0.25)
_HALVES = Ascent(steps=4, rate=0.2)


def refine_bounds(
    relaxed: Relaxed,
    *,
    leaves: int = 1,
    ascent: Ascent = _SLOPES,
    seconds: float = float("inf"),
    memory: int = MEMORY,
    clock: Clock = CLOCK,
) -> None:
    """Shrink the boxes before all ReLUs and smooth activations, in order, and draw all lines anew; none grows.

    Args:
        relaxed: of one region (N = 1), as `relax_network` gives it; it is changed.
        leaves: sub-problems that each bound may be the worst of; 1 for optimised slopes alone.
        ascent: how slopes are optimised.
        seconds: what is not reached in this time stays as it is; later nodes get their share.
        memory: bytes that one backward pass may hold.
        clock: by which `seconds` go.
    """
    network, until = relaxed.network, clock() + seconds
    for done, place in enumerate(relaxed.lines):
        operation = network.nodes[place].operation
        if isinstance(operation, ReLU | Curve):
            source = network.nodes[place].inputs[0]
            box, now = relaxed.boxes[source], clock()
            entries = doubtful(operation, box).flatten().nonzero().squeeze(1)
            if not box.exact and now < until and len(entries):
                share = passed(clock, now + (until - now) / (len(relaxed.lines) - done))
                # Of a ReLU's input whose sign is known nothing else matters.
                enough = 0.0 if isinstance(operation, ReLU) else torch.inf
                if leaves > 1:
                    _search(relaxed, source, entries, enough, leaves, share, memory)
                else:
                    _climb(relaxed, source, entries, enough, ascent, share, memory)
        relaxed.lines[place] = relax(operation, relaxed.inputs(place))


def _climb(
    relaxed: Relaxed, source: int, entries: Tensor, enough: float, ascent: Ascent, late: Late, memory: int
) -> None:
    for part in torch.split(entries, max(1, rows_at_once(relaxed.network, memory) // 8)):
        if late():
            break
        both = _directions(relaxed, source, part)
        whole = take(relaxed, torch.zeros(len(both), dtype=torch.long))
        _meet(relaxed, source, part, climb(whole, both, ascent, target=enough, start=source, late=late).bound)


def _search(
    relaxed: Relaxed, source: int, entries: Tensor, enough: float, leaves: int, late: Late, memory: int
) -> None:
    both = _directions(relaxed, source, entries)
    splitter = Splitter(
        relaxed, both, torch.zeros(len(both), dtype=torch.float64), start=source, enough=enough, memory=memory
    )
    known = torch.cat([relaxed.boxes[source].low.flatten()[entries], -relaxed.boxes[source].high.flatten()[entries]])
    row = torch.arange(len(both))
    fresh = splitter.whole(row, known.double())
    piled, ascent = fresh.take(row[:0]), _SLOPES
    for turn in range(leaves):
        parts = []
        for index in torch.split(torch.arange(len(fresh.row)), splitter.batch):
            # What is not reached keeps its parent's bound.
            part = fresh.take(index)
            parts.append(part if late() else splitter.bounded(part, ascent, late)[0])
        piled, ascent = piled.join(*parts), _HALVES
        worst = _worst(piled, len(both))
        cuttable = (piled.bound[worst] <= enough) & (piled.cut[worst] >= 0)
        worst = worst[cuttable]
        if turn == leaves - 1 or late() or not len(worst):
            break
        kept = torch.ones(len(piled.row), dtype=torch.bool)
        kept[worst] = False
        fresh, piled = piled.take(worst).split(), piled.take(kept.nonzero().squeeze(1))
    found = torch.full((len(both),), torch.inf, dtype=torch.float64)
    found = found.scatter_reduce(0, piled.row, piled.bound, "amin")
    _meet(relaxed, source, entries, found)


def _worst(problems: SubProblems, rows: int) -> Tensor:
    """Return for each function the place of the sub-problem with the lowest bound, `(rows,)`."""
    order = problems.bound.argsort(descending=True, stable=True)
    return torch.zeros(rows, dtype=torch.long).scatter_(0, problems.row[order], order)


def _directions(relaxed: Relaxed, source: int, entries: Tensor) -> Tensor:
    """Return the functions whose lower bounds are those of some entries and of their negatives."""
    box = relaxed.boxes[source]
    unit = box.low.new_zeros(len(entries), box.low.numel()).scatter_(1, entries[:, None], 1.0)
    return torch.cat([unit, -unit]).view(-1, *box.low.shape[1:])


def _meet(relaxed: Relaxed, source: int, entries: Tensor, found: Tensor) -> None:
    """Shrink a box to lower bounds of some entries and of their negatives, rounded outward."""
    box = relaxed.boxes[source]
    low, high = box.low.flatten().clone(), box.high.flatten().clone()
    below, above = found[: len(entries)], -found[len(entries) :]
    unit = torch.finfo(low.dtype).eps
    low[entries] = torch.maximum(low[entries], (below - unit * below.abs()).to(low))
    high[entries] = torch.minimum(high[entries], (above + unit * above.abs()).to(high))
    box.low, box.high = low.view(box.low.shape), high.view(box.high.shape)
