"""CROWN with optimised slopes (Xu et al., 2021) and with multipliers for split ReLUs (Wang et al., beta-CROWN, 2021).

Every slope between a ReLU's own two gives a sound line below it, and every multiplier of at least 0 a sound
Lagrangian: whatever the ascent finds is a bound. Sizes: `R` rows, each with its own region, boxes and lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from withstand.verification.activation import ReLU
from withstand.verification.bounds.backward import Relaxed, Rows, concretize, linear_function
from withstand.verification.bounds.crown import MEMORY, rows_at_once, take
from withstand.verification.bounds.relaxation import Lines
from withstand.verification.bounds.rounding import full_precision
from withstand.verification.verdict import Late, never


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


@dataclass(eq=False)
class Climbed:
    """What an ascent found for R rows.

    Attributes:
        bound: the best lower bound, float64 `(R,)`.
        slopes: the lower slopes at the best bound, by ReLU node, `(R, *shape)`.
        pulls: the multipliers at the best bound, by ReLU node, `(R, *shape)`.
        slope: the last linear bound's slopes at the input, `(R, *input shape)`.
        seen: the last coefficients of each activation's output, `(R, *shape)`.
    """

    bound: Tensor
    slopes: dict[int, Tensor] = field(default_factory=dict)
    pulls: dict[int, Tensor] = field(default_factory=dict)
    slope: Tensor | None = None
    seen: dict[int, Tensor] = field(default_factory=dict)


def climb(
    relaxed: Relaxed,
    weight: Tensor,
    ascent: Ascent,
    *,
    splits: Mapping[int, Tensor] | None = None,
    pulls: Mapping[int, Tensor] | None = None,
    target: float | Tensor = float("inf"),
    start: int | None = None,
    late: Late = never,
) -> Climbed:
    """Raise the lower bounds of R functions of one node, one for each of the relaxation's samples.

    Args:
        relaxed: R samples; its lines are where the slopes start.
        weight: the functions, `(R, *shape of the node)`.
        ascent: how.
        splits: by ReLU node, 1 where its input is known to be at least 0, -1 where at most 0, else 0.
        pulls: multipliers to begin with.
        target: rows above it have no need to rise; one number, or one a row.
        start: the node; None for the output.
        late: once it says so, the ascent ends.
    """
    network, splits = relaxed.network, splits or {}
    last = len(network.nodes) - 1 if start is None else start
    places = {
        place: where for place in relaxed.lines if place <= last and (where := _unstable(relaxed, place)) is not None
    }
    lines = {place: relaxed.lines[place] for place in places}
    slopes = {place: lines[place].low_slope[where].clone().requires_grad_() for place, where in places.items()}  # type: ignore[union-attr]
    signs = {place: sign for place, sign in splits.items() if bool(sign.any())}
    where_split = {place: sign.nonzero(as_tuple=True) for place, sign in signs.items()}
    multipliers = {}
    for place, where in where_split.items():
        first = torch.zeros_like(where[0], dtype=network.dtype)
        if pulls is not None and place in pulls:
            first = (pulls[place][where] * signs[place][where]).clamp_min(0)
        multipliers[place] = first.clone().requires_grad_()
    free = [*slopes.values(), *multipliers.values()]
    best = Climbed(torch.full((len(weight),), -torch.inf, dtype=torch.float64, device=weight.device))
    kept = {id(tensor): tensor.detach().clone() for tensor in free}
    optimizer = (
        torch.optim.Adam(
            [
                {"params": list(slopes.values()), "lr": ascent.rate},
                {"params": list(multipliers.values()), "lr": ascent.rate / 2},
            ]
        )
        if free
        else None
    )
    idle = 0
    with full_precision(), torch.enable_grad():
        for step in range(ascent.steps + 1):
            now = dict(relaxed.lines)
            for place, slope in slopes.items():
                old = relaxed.lines[place]
                assert isinstance(old, Lines)
                now[place] = Lines(old.low_slope.index_put(places[place], slope), old.high_slope, old.high_shift)
            pull = {
                place: torch.zeros_like(signs[place], dtype=network.dtype).index_put(
                    where_split[place], multiplier * signs[place][where_split[place]]
                )
                for place, multiplier in multipliers.items()
            }
            stage = Relaxed(network, relaxed.region, relaxed.boxes, now, pull, best.seen, relaxed.most)
            slope_in, constant = linear_function(stage, last, weight, Rows())
            bound = constant + concretize(slope_in, relaxed.region, Rows())
            best.slope = slope_in.detach()
            found = bound.detach()
            better = found > best.bound
            gain = torch.where(better & torch.isfinite(best.bound), found - best.bound, 0)
            gained = bool((gain > 1e-4 * (1 + found.abs())).any()) or step == 0
            best.bound = torch.maximum(best.bound, found)
            _keep(kept, slopes, places, better)
            _keep(kept, multipliers, where_split, better)
            idle = 0 if gained else idle + 1
            open_ = best.bound <= target
            if optimizer is None or step == ascent.steps or idle >= ascent.patience or not bool(open_.any()):
                break
            if late():
                break
            optimizer.zero_grad()
            (-bound[open_].sum()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= ascent.decay
            with torch.no_grad():
                for place, slope in slopes.items():
                    slope.clamp_(_least(relaxed, place), 1)
                for multiplier in multipliers.values():
                    multiplier.clamp_min_(0)
    for place, slope in slopes.items():
        old = relaxed.lines[place]
        assert isinstance(old, Lines)
        best.slopes[place] = old.low_slope.index_put(places[place], kept[id(slope)])
    for place, multiplier in multipliers.items():
        where = where_split[place]
        best.pulls[place] = torch.zeros_like(signs[place], dtype=network.dtype).index_put(
            where, kept[id(multiplier)] * signs[place][where]
        )
    return best


def _keep(
    kept: dict[int, Tensor], free: Mapping[int, Tensor], where: Mapping[int, tuple[Tensor, ...]], better: Tensor
) -> None:
    for place, tensor in free.items():
        kept[id(tensor)] = torch.where(better[where[place][0]], tensor.detach(), kept[id(tensor)])


def _least(relaxed: Relaxed, place: int) -> float:
    operation = relaxed.network.nodes[place].operation
    assert isinstance(operation, ReLU)
    return operation.slope


def _unstable(relaxed: Relaxed, place: int) -> tuple[Tensor, ...] | None:
    """Return where a ReLU's input may have either sign; None where none may."""
    if not isinstance(relaxed.network.nodes[place].operation, ReLU):
        return None
    before = relaxed.boxes[relaxed.network.nodes[place].inputs[0]]
    where = ((before.low < 0) & (before.high > 0)).nonzero(as_tuple=True)
    return where if len(where[0]) else None


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
