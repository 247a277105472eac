"""CROWN with optimised lines (Xu et al., 2021) and with multipliers for split activations.

The multipliers are those of beta-CROWN (Wang et al., 2021) and GenBaB (Shi et al., 2024).

Every slope between a ReLU's own two gives a sound line below it, every place that serves a sound tangent, and every
multiplier a sound Lagrangian: whatever the ascent finds is a bound. Sizes: `R` rows, each with its own region, boxes
and lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from withstand.verification.bounds.backward import Relaxed, Rows, concretize, linear_function
from withstand.verification.bounds.crown import MEMORY, rows_at_once, take
from withstand.verification.bounds.curved import retouched
from withstand.verification.bounds.interval import Box
from withstand.verification.bounds.lines import Lines, Places, Tangents
from withstand.verification.bounds.rounding import full_precision, proven
from withstand.verification.network.activation import Curve, Interval, ReLU
from withstand.verification.specification.verdict import Late, never


@dataclass(frozen=True, slots=True)
class Ascent:
    """How slopes are optimised.

    Attributes:
        steps: of Adam, at most.
        rate: the first step's size; slopes lie in [0, 1].
        decay: of the rate, each step.
        patience: steps without gain after which it stops.
    """

    steps: int = 20
    rate: float = 0.25
    decay: float = 0.95
    patience: int = 5


DEFAULT = Ascent()

BOTH = 2
"""Marks an entry of which a sub-problem knows more from both sides."""


@dataclass(eq=False)
class Climbed:
    """What an ascent found for R rows.

    Attributes:
        bound: the best lower bound, float64 `(R,)`.
        free: by node, what was chosen at the best bound, `(R, *shape)` each: a ReLU's slope from below, or where a
            smooth activation's tangents from below and from above touch.
        pulls: the multipliers at the best bound, by node, `(R, *shape)`.
        slope: the last linear bound's slopes at the input, `(R, *input shape)`.
        seen: the last coefficients of each activation's output, `(R, *shape)`.
        lines: the last lines of each node that leaves a choice.
    """

    bound: Tensor
    free: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    pulls: dict[int, Tensor] = field(default_factory=dict)
    slope: Tensor | None = None
    seen: dict[int, Tensor] = field(default_factory=dict)
    lines: dict[int, Lines] = field(default_factory=dict)


class _Choice:
    """What an ascent may choose of one node, at the entries that leave a choice.

    Attributes:
        where: these entries.
        values: what is chosen now, one number an entry each.
        best: what was chosen at the best bounds.
    """

    def __init__(self, where: Places, *values: Tensor) -> None:
        self.where = where
        self.values = [value.clone().requires_grad_() for value in values]
        self.best = [value.detach().clone() for value in self.values]

    def keep(self, better: Tensor) -> None:
        """Remember what was chosen for the rows `(R,)` whose bounds have become better."""
        here = better[self.where[0]]
        self.best = [torch.where(here, new.detach(), old) for new, old in zip(self.values, self.best, strict=True)]


class _Slopes(_Choice):
    """The lower slopes of ReLUs whose inputs may have either sign."""

    def __init__(self, operation: ReLU, lines: Lines, box: Box) -> None:
        where = ((box.low < 0) & (box.high > 0)).nonzero(as_tuple=True)
        super().__init__(where, lines.low_slope[where])
        self.least, self.old = operation.slope, lines

    def lines(self) -> Lines:
        return replace(self.old, low_slope=self.old.low_slope.index_put(self.where, self.values[0]))

    def confine(self) -> None:
        self.values[0].clamp_(self.least, 1)

    def found(self) -> tuple[Tensor, ...]:
        return (self.old.low_slope.index_put(self.where, self.best[0]),)


class _Touches(_Choice):
    """Where tangents of smooth activations touch, as shares of the way from the first to the last that serves."""

    def __init__(self, curve: Curve, lines: Lines, tangents: Tangents, box: Box) -> None:
        pairs = (tangents.below, tangents.above)
        where = ((pairs[0][0] < pairs[0][1]) | (pairs[1][0] < pairs[1][1])).nonzero(as_tuple=True)
        self.curve, self.old, self.touch = curve, lines, tangents.touch
        self.low, self.high, self.few = box.low[where], box.high[where], lines.entries(where)
        self.ways, shares = [], []
        for (first, last), touch in zip(pairs, tangents.touch, strict=True):
            begin, way, now = first[where], (last - first)[where], touch[where]
            free = way > 0
            begin, way = torch.where(free, begin, now), torch.where(free, way, 0.0)
            self.ways.append((begin, way))
            shares.append(torch.where(free, (now - begin) / torch.where(free, way, 1.0), 0.0))
        super().__init__(where, *shares)

    def lines(self) -> Lines:
        few = retouched(self.curve, self.low, self.high, self.few, self._touching(self.values))
        return self.old.put(self.where, few)

    def confine(self) -> None:
        for value in self.values:
            value.clamp_(0, 1)

    def found(self) -> tuple[Tensor, ...]:
        best = self._touching(self.best)
        return tuple(touch.index_put(self.where, value) for touch, value in zip(self.touch, best, strict=True))

    def _touching(self, shares: Sequence[Tensor]) -> Interval:
        below, above = (first + share * way for (first, way), share in zip(self.ways, shares, strict=True))
        return below, above


class _Pulls(_Choice):
    """The multipliers of what a sub-problem knows of a node's inputs."""

    def __init__(self, sides: Tensor, start: Tensor | None, dtype: torch.dtype) -> None:
        where = sides.nonzero(as_tuple=True)
        self.sides, self.shape = sides[where], sides.shape
        self.both = self.sides == BOTH
        first = torch.zeros(len(self.sides), dtype=dtype, device=sides.device)
        if start is not None:
            first = self._signed(start[where])
        super().__init__(where, self._confined(first))

    def whole(self, value: Tensor) -> Tensor:
        """Return the multipliers of all entries, with their signs."""
        nothing = torch.zeros(self.shape, dtype=value.dtype, device=value.device)
        return nothing.index_put(self.where, self._signed(value))

    def confine(self) -> None:
        self.values[0].copy_(self._confined(self.values[0]))

    def _signed(self, value: Tensor) -> Tensor:
        return torch.where(self.sides < 0, -value, value)

    def _confined(self, value: Tensor) -> Tensor:
        # Never 0: the sign tells which side's derivative counts.
        return torch.where(self.both, value, value.clamp_min(1e-12))


def climb(
    relaxed: Relaxed,
    weight: Tensor,
    ascent: Ascent,
    *,
    sides: Mapping[int, Tensor] | None = None,
    pulls: Mapping[int, Tensor] | None = None,
    target: float | Tensor = float("inf"),
    start: int | None = None,
    late: Late = never,
) -> Climbed:
    """Raise the lower bounds of R functions of one node, one for each of the relaxation's samples.

    Args:
        relaxed: R samples; its lines are where the choices start.
        weight: the functions, `(R, *shape of the node)`.
        ascent: how.
        sides: by node, where its input's box is smaller than what the region leaves: 1 from below, -1 from above,
            `BOTH`, else 0.
        pulls: multipliers to begin with.
        target: rows above it have no need to rise; one number, or one a row.
        start: the node; None for the output.
        late: once it says so, the ascent ends.
    """
    network, sides, pulls = relaxed.network, sides or {}, pulls or {}
    last = len(network.nodes) - 1 if start is None else start
    choices = {place: choice for place in relaxed.lines if place <= last and (choice := _choice(relaxed, place))}
    pulled = {place: _Pulls(side, pulls.get(place), network.dtype) for place, side in sides.items() if bool(side.any())}
    best = Climbed(torch.full((len(weight),), -torch.inf, dtype=torch.float64, device=weight.device))
    optimizer = None
    if choices or pulled:
        groups = ((choices, ascent.rate), (pulled, ascent.rate / 2))
        optimizer = torch.optim.Adam(
            [{"params": [v for one in some.values() for v in one.values], "lr": rate} for some, rate in groups]
        )
    idle = 0
    with full_precision(), torch.enable_grad():
        for step in range(ascent.steps + 1):
            best.lines = {place: choice.lines() for place, choice in choices.items()}
            pull = {place: one.whole(one.values[0]) for place, one in pulled.items()}
            now = {**relaxed.lines, **best.lines}
            stage = Relaxed(network, relaxed.region, relaxed.boxes, now, pull, best.seen, relaxed.most)
            slope_in, constant = linear_function(stage, last, weight, Rows())
            bound = constant + concretize(slope_in, relaxed.region, Rows())
            best.slope = slope_in.detach()
            found = proven(bound.detach())
            better = found > best.bound
            gain = torch.where(better & torch.isfinite(best.bound), found - best.bound, 0)
            gained = bool((gain > 1e-4 * (1 + found.abs())).any()) or step == 0
            best.bound = torch.maximum(best.bound, found)
            for one in (*choices.values(), *pulled.values()):
                one.keep(better)
            idle = 0 if gained else idle + 1
            open_ = best.bound <= target
            if optimizer is None or step == ascent.steps or idle >= ascent.patience or not bool(open_.any()):
                break
            if late():
                break
            optimizer.zero_grad()
            torch.autograd.backward(-bound[open_].sum())
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= ascent.decay
            with torch.no_grad():
                for one in (*choices.values(), *pulled.values()):
                    one.confine()
    best.free = {place: choice.found() for place, choice in choices.items()}
    best.pulls = {place: one.whole(one.best[0]) for place, one in pulled.items()}
    return best


def _choice(relaxed: Relaxed, place: int) -> "_Slopes | _Touches | None":
    """Return what may be chosen of a node's lines; None where nothing may."""
    node, lines = relaxed.network.nodes[place], relaxed.lines[place]
    if not isinstance(lines, Lines):
        return None
    operation, box = node.operation, relaxed.boxes[node.inputs[0]]
    found: _Slopes | _Touches
    if isinstance(operation, ReLU):
        found = _Slopes(operation, lines, box)
    elif isinstance(operation, Curve) and lines.tangents is not None and operation.start == -torch.inf:
        found = _Touches(operation, lines, lines.tangents, box)
    else:
        return None
    return found if len(found.where[0]) else None


def alpha_bounds(
    relaxed: Relaxed,
    weight: Tensor,
    start: Tensor,
    *,
    ascent: Ascent = DEFAULT,
    target: float = float("inf"),
    memory: int = MEMORY,
    late: Late = never,
) -> Tensor:
    """Return CROWN's bounds raised by optimised slopes, float64 `(N, K)`; none falls.

    Args:
        relaxed: N samples.
        weight: functions of the output, `(N, K, outputs)`.
        start: CROWN's bounds, `(N, K)`.
        ascent: how slopes are optimised.
        target: bounds above it are left as they are.
        memory: bytes that one backward pass may hold.
        late: once it says so, the bounds that are left stay as they are.
    """
    found = start.clone()
    samples, functions = (start <= target).nonzero(as_tuple=True)
    step = max(1, rows_at_once(relaxed.network, memory) // 4)
    weight = weight.to(relaxed.network.dtype)
    for first in range(0, len(samples), step):
        if late():
            break
        sample, function = samples[first : first + step], functions[first : first + step]
        climbed = climb(take(relaxed, sample), weight[sample, function], ascent, target=target, late=late)
        found[sample, function] = torch.maximum(found[sample, function], climbed.bound)
    return found
