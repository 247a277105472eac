"""Linearised boundaries between classes, which FAB and DeepFool walk towards.

Shapes: inputs `(N, ...)`, `K` boundaries a sample, `D` entries in one input. A gap is a difference of
logits, above zero on the attacker's side of the boundary.
"""

import torch
from torch import Tensor

from withstand.attacks.objectives import EmbeddingDistance, Loss, Objective, pick
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Norm


def needs_classes(objective: Objective | Loss) -> None:
    """Refuse an objective without classes.

    Raises:
        ConfigError: the objective judges embeddings, which have no boundaries to cross.
    """
    if isinstance(objective, EmbeddingDistance):
        raise ConfigError("this attack crosses boundaries between classes: embeddings are attacked with PGD or Square")


def class_gaps(problem: Problem, x: Tensor, rivals: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return gaps `(N, K)` and their slopes `(N, K, ...)` from one forward pass and K backward ones.

    Args:
        problem: the samples.
        x: where to linearise.
        rivals: classes `(N, K)` to be held against the label; None for all others. A targeted ball has one
            boundary, between the wanted class and the strongest other one.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = _logits(problem, x)
        own = logits.gather(1, problem.y[:, None])
        if problem.ball.targeted:
            gaps = own - logits.scatter(1, problem.y[:, None], -torch.inf).amax(1, keepdim=True)
        else:
            gaps = logits.gather(1, _others(problem, logits) if rivals is None else rivals) - own
        last = gaps.shape[1] - 1
        slopes = [problem.slope(gap, x, keep_graph=place < last) for place, gap in enumerate(gaps.unbind(1))]
    return gaps.detach(), torch.stack(slopes, 1)


def strongest_rivals(problem: Problem, count: int) -> Tensor:
    """Return the classes other than the label with the highest clean logits, `(N, at most count)`, best first."""
    with torch.no_grad():
        logits = _logits(problem, problem.x)
    order = logits.scatter(1, problem.y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, : min(count, logits.shape[1] - 1)]


def distance(gap: Tensor, slope: Tensor, norm: Norm) -> Tensor:
    """Return how far each boundary is when the range does not hinder, `(N, K)`."""
    order = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    dual: Tensor = torch.linalg.vector_norm(slope.flatten(2), order, dim=2)
    return gap.abs() / dual.clamp_min(1e-12)


def cross(x: Tensor, gap: Tensor, slope: Tensor, norm: Norm, low: float, high: float) -> Tensor:
    """Return the smallest change of `x` inside the range that brings a linear gap to zero, shaped like `x`.

    Where the range does not reach the boundary, the change that comes nearest to it.

    Args:
        x: points in the range.
        gap: the gap there, `(N,)`.
        slope: its gradient, shaped like `x`.
        norm: in which the change is smallest.
        low: smallest allowed value.
        high: largest allowed value.
    """
    flat = x.flatten(1) if x.dim() > 1 else x[:, None]
    slope = slope.reshape(flat.shape)
    heading = slope.sign() * -gap.sign()[:, None]
    room = torch.where(heading > 0, high - flat, flat - low)
    scale = slope.abs().amax(1).clamp_min(torch.finfo(slope.dtype).tiny)  # squares of small slopes would vanish
    weight, need = slope.abs() / scale[:, None], gap.abs() / scale
    move = _greedy(weight, room, need) if norm == "l1" else _even(weight, room, need, norm)
    return (heading * move).view(x.shape)


def _even(weight: Tensor, room: Tensor, need: Tensor, norm: Norm) -> Tensor:
    """Return `min(t * pace, room)` with the smallest t that meets the need; pace 1 for Linf, the weight for L2.

    What is gained is concave and piecewise linear in t, so Newton's method from the left never overshoots
    and ends after finitely many steps, few in practice.
    """
    pace = torch.ones_like(weight) if norm == "linf" else weight
    rate = weight * pace
    tiny = torch.finfo(weight.dtype).tiny
    free = rate > 0
    t = need / rate.sum(1).clamp_min(tiny)
    while True:
        full = free & (t[:, None] * pace >= room)
        if not bool(full.any()):
            break
        free = free & ~full
        left = need - (weight * room * ~free).sum(1)
        slope = (rate * free).sum(1)
        t = torch.where(slope > 0, left.clamp_min(0) / slope.clamp_min(tiny), torch.where(left > 0, torch.inf, t))
    return torch.where(rate > 0, torch.where(free, t[:, None] * pace, room), 0)


def _greedy(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return the change that uses up the room of the heaviest entries, one after the other."""
    order = weight.argsort(1, descending=True)
    weight, room = weight.gather(1, order), room.gather(1, order)
    gain = weight * room
    before = gain.cumsum(1) - gain
    wanted = (need[:, None] - before) / weight.clamp_min(torch.finfo(weight.dtype).tiny)
    move = torch.where(weight > 0, torch.minimum(wanted.clamp_min(0), room), 0)
    return torch.zeros_like(move).scatter_(1, order, move)


def _others(problem: Problem, logits: Tensor) -> Tensor:
    """Return every class but the label, `(N, C - 1)`."""
    classes = torch.arange(logits.shape[1] - 1, device=logits.device)
    return classes + (classes >= problem.y[:, None])


def _logits(problem: Problem, x: Tensor) -> Tensor:
    outputs = problem.outputs(x)
    problem.objective.check(outputs, problem.y)
    logits = pick(outputs, getattr(problem.objective, "output", "logits"))
    if bool(logits.isnan().any()):
        raise DataError("the victim's logits hold NaN")
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
