"""Linearised boundaries between classes, which FAB and DeepFool walk towards.

Shapes: inputs `(N, ...)`, `K` boundaries a sample, `D` entries in one input. A gap is a difference of
logits, above zero on the attacker's side of the boundary.
"""

import torch
from torch import Tensor

from withstand.attacks.objectives import AttackLoss, EmbeddingDistance, Objective, pick
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Norm


def needs_classes(objective: Objective | AttackLoss) -> None:
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
    return gaps.detach(), torch.stack(slopes, 1) if last else slopes[0][:, None]


def strongest_rivals(problem: Problem, count: int) -> Tensor:
    """Return the classes other than the label with the highest clean logits, `(N, at most count)`, best first."""
    with torch.no_grad():
        logits = _logits(problem, problem.x)
    order = logits.scatter(1, problem.y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, : min(count, logits.shape[1] - 1)]


def distance(gap: Tensor, slope: Tensor, norm: Norm) -> Tensor:
    """Return how far each boundary is when the range does not hinder, `(N, K)`."""
    order = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    dual: Tensor = torch.linalg.vector_norm(slope.reshape(*gap.shape, -1), order, dim=2)
    return gap.abs() / dual.clamp_min(1e-12)


def unrolled(x: Tensor, like: Tensor) -> Tensor:
    """Return inputs as rows `(N, D)`, in the order in which `like` lies in memory; a view where `x` does too."""
    if not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).reshape(len(x), -1)
    return x.reshape(len(x), -1)


def rolled(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows `(N, D)` as inputs again, a view; the inverse of `unrolled` for any number of them."""
    if not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
        _, channels, height, width = like.shape
        return rows.view(len(rows), height, width, channels).permute(0, 3, 1, 2)
    return rows.view(len(rows), *like.shape[1:])


def cross(x: Tensor, gap: Tensor, slope: Tensor, norm: Norm, low: float, high: float) -> Tensor:
    """Return the smallest change of `x` inside the range that brings a linear gap to zero, shaped like `x`.

    Where the range does not reach the boundary, the change that comes nearest to it.

    Args:
        x: points in the range, `(N, ...)`, or several for each boundary, `(P, N, ...)`.
        gap: the gap there, `(N,)` or `(P, N)`.
        slope: its gradient, `(N, ...)`.
        norm: in which the change is smallest.
        low: smallest allowed value.
        high: largest allowed value.
    """
    flat, slope = x.reshape(*gap.shape, -1), slope.reshape(gap.shape[-1], -1)
    heading = slope.sign() * -gap.sign()[..., None]
    # Numbers in place of choices: comparisons and `where` cost several times what arithmetic does here.
    room = torch.add((low + high) / 2, heading, alpha=(high - low) / 2).sub_(flat).abs_()
    weight = slope.abs()
    scale = weight.amax(1).clamp_min(torch.finfo(slope.dtype).tiny)  # squares of small slopes would vanish
    weight, need = weight / scale[:, None], gap.abs() / scale
    move = _greedy(weight.expand_as(room), room, need) if norm == "l1" else _even(weight, room, need, norm)
    return move.mul_(heading).view(x.shape)


def _even(weight: Tensor, room: Tensor, need: Tensor, norm: Norm) -> Tensor:
    """Return `min(t * pace, room)` with the smallest t that meets the need; pace 1 for Linf, the weight for L2.

    What is gained is concave and piecewise linear in t, so Newton's method from the left never overshoots
    and ends after finitely many steps, few in practice. `weight` may lack the leading axes of `room`.
    """
    tiny = torch.finfo(weight.dtype).tiny
    if norm != "linf":  # in units of its pace, an entry's room is what t may grow to
        room = torch.where(weight > 0, room / weight.clamp_min(tiny), 0)
    rate = (weight if norm == "linf" else weight.square()).expand_as(room)
    t = need / rate.sum(-1).clamp_min(tiny)
    growing, count = torch.empty_like(room), torch.full_like(t, torch.inf)
    while True:
        torch.gt(room, t[..., None], out=growing)
        before, count = count, growing.sum(-1)
        move = torch.minimum(room, t[..., None])
        if torch.equal(count, before):
            return move if norm == "linf" else move.mul_(weight)
        left = need - torch.linalg.vecdot(rate, move)
        slope = torch.linalg.vecdot(rate, growing)
        further = torch.where(slope > 0, left / slope.clamp_min(tiny), torch.where(left > 0, torch.inf, 0))
        t = t + further.clamp_min(0)  # it never shrinks, but by rounding: the loop ends


def _greedy(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return the change that uses up the room of the heaviest entries, one after the other."""
    order = weight.argsort(-1, descending=True)
    weight, room = weight.gather(-1, order), room.gather(-1, order)
    gain = weight * room
    before = gain.cumsum(-1) - gain
    wanted = (need[..., None] - before) / weight.clamp_min(torch.finfo(weight.dtype).tiny)
    move = torch.where(weight > 0, torch.minimum(wanted.clamp_min(0), room), 0)
    return torch.zeros_like(move).scatter_(-1, order, move)


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
