"""HopSkipJump (Chen et al., 2020): a way to the nearest boundary for victims that give decisions alone."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from withstand.attacks.inputs.nearest import Closest, MinimalNorm, at_least_one
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm, per_sample

_AT_ONCE = 16
"""Probes of each sample that are put to the victim in one pass."""
_HALVINGS = 24
"""Beyond which single precision does not tell points apart."""
_L2 = Ball("l2")


@dataclass(frozen=True)
class HopSkipJump(MinimalNorm):
    """From a point that meets the goal: to the boundary, an estimate of its normal from decisions, a step along it.

    It asks for no gradient and no score, only whether the goal is met. It begins at uniform noise, or at `start` where
    that meets the goal; a wanted class is hardly ever met by noise, so a targeted attack is given a start. A sample
    stops before a pass that its budget does not hold.

    Args:
        ball: L2 or Linf; how much of what is found counts.
        queries: asked of the victim for each sample, at most, beside one of the clean input and the first search.
        probes: random directions of the first estimate; the t-th takes sqrt(t) times as many.
        tries: random points that it may begin at.
    """

    queries: int = 5000
    probes: int = 100
    tries: int = 100

    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        at_least_one(queries=self.queries, probes=self.probes, tries=self.tries)

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        if math.isinf(problem.victim.span):
            raise ConfigError("HopSkipJump begins at noise in the input range: give the victim low= and high=")
        closest = Closest(problem)
        rows = closest.open()
        if not len(rows):
            return closest.x
        x = self._begin(problem.take(rows), start, draws, closest)
        rows = closest.open()
        rows = rows[closest.size[rows].isfinite()]
        if not len(rows):
            return closest.x
        part, x = problem.take(rows), x[rows]
        asked = torch.zeros_like(rows)
        x, asked = self._to_boundary(part, x, closest), asked + self._halvings(problem)
        step = 0
        while True:
            step += 1
            probes = max(1, int(self.probes * math.sqrt(step)))
            hops = self.queries - asked - probes - self._halvings(problem)
            left = hops >= 2
            if not bool(left.any()):
                return closest.x
            part, x, asked, hops = part.take(left), x[left], asked[left], hops[left]
            away = self.ball.size(x - part.x)
            normal = self._normal(part, x, away, probes, step, draws)
            x, hopped = self._hop(part, x, normal * per_sample(away / math.sqrt(step), x), hops, closest)
            x = self._to_boundary(part, x, closest)
            asked = asked + probes + hopped + self._halvings(problem)

    def _begin(self, part: Problem, start: Tensor | None, draws: Draws, closest: Closest) -> Tensor:
        """Return points of all samples, those that meet the goal kept in `closest`: the start, or the first noise."""
        x, low, high = closest.x.clone(), part.victim.low, part.victim.high
        whole = part
        for place in range(self.tries + 1):
            if place:
                noise = draws.child("begin").child(place)[part.rows].uniform(*x.shape[1:], low=low, high=high).to(x)
                point = noise.clamp(low, high) if part.mask is None else torch.where(part.mask, noise, part.x)
            elif start is None:
                continue
            else:
                point = start[part.rows]
            success = part.values(point)[1]
            x[part.rows] = point
            closest.update(part.rows[success], point[success])
            if bool(success.any()):
                part = part.take(~success)
            if not len(part.rows):
                break
        closest.last(whole.rows, x[whole.rows])
        return x

    def _halvings(self, problem: Problem) -> int:
        """Return how often a line is halved: to D^-1.5 of its length in L2, to D^-2 in Linf (theta of the paper)."""
        order = 1.5 if self.ball.norm == "l2" else 2.0
        return min(_HALVINGS, max(1, math.ceil(order * math.log2(max(2, problem.x[0].numel())))))

    def _to_boundary(self, part: Problem, x: Tensor, closest: Closest) -> Tensor:
        """Return points that meet the goal, as near to the boundary as halving tells: on the line (L2), or clipped."""
        delta, size = x - part.x, self.ball.size(x - part.x)
        inner, outer = torch.zeros_like(size), torch.ones_like(size)
        best = x
        for _ in range(self._halvings(part)):
            middle = (inner + outer) / 2
            if self.ball.norm == "l2":
                point = part.x + per_sample(middle, x) * delta
            else:
                point = part.x + self.ball.project(delta, middle * size)
            success = part.values(point)[1]
            closest.update(part.rows[success], point[success])
            best = torch.where(per_sample(success, x).bool(), point, best)
            inner, outer = torch.where(success, inner, middle), torch.where(success, middle, outer)
        return best

    def _normal(self, part: Problem, x: Tensor, away: Tensor, probes: int, step: int, draws: Draws) -> Tensor:
        """Return the direction in which each goal is met soonest, in the ball's norm, from decisions round `x`."""
        # Of the distance, sqrt(D) theta in L2 and D theta in Linf: a D-th in both.
        reach = torch.full_like(away, 0.1 * part.victim.span) if step == 1 else away / part.x[0].numel()
        count, reach = len(x), reach.clamp_min(torch.finfo(x.dtype).tiny)
        total, steps, said = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(away)
        for first in range(0, probes, _AT_ONCE):
            some = min(_AT_ONCE, probes - first)
            stream = draws.child(step).child(first)[part.rows]
            raw = (
                stream.normal(some, *x.shape[1:])
                if self.ball.norm == "l2"
                else stream.uniform(some, *x.shape[1:], low=-1, high=1)
            )
            raw = raw.to(x) if part.mask is None else raw.to(x) * part.mask[:, None]
            unit = _L2.direction(raw.flatten(0, 1)).view_as(raw)
            points = x[:, None] + per_sample(reach, unit) * unit
            points = points.clamp(part.victim.low, part.victim.high)
            unit = (points - x[:, None]) / per_sample(reach, unit)
            joined = Problem.side_by_side([part] * some)
            success = joined.values(points.transpose(0, 1).flatten(0, 1))[1].view(some, count).T
            part.queries[part.rows] += some
            sign = torch.where(success, 1.0, -1.0).to(x)
            total += (sign.view(*sign.shape, *[1] * (x.dim() - 1)) * unit).sum(1)
            steps += unit.sum(1)
            said += sign.sum(1)
        mean = said / probes
        base = torch.where(mean.abs() == 1, 0, mean)  # all alike: their mean itself says where to go
        return self.ball.direction(total - per_sample(base, x) * steps)

    def _hop(self, part: Problem, x: Tensor, way: Tensor, most: Tensor, closest: Closest) -> tuple[Tensor, Tensor]:
        """Return points along a way that meet the goal, halved until they do, and the queries each took.

        Those that do not meet it after `most` queries stay where they are.
        """
        found, low, high = x.clone(), part.victim.low, part.victim.high
        hops, left, scale = torch.zeros_like(part.rows), torch.arange(len(x), device=x.device), 1.0
        for _ in range(_HALVINGS):
            some = part.take(left)
            point = (x[left] + scale * way[left]).clamp(low, high)
            success = some.values(point)[1]
            hops[left] += 1
            found[left[success]] = point[success]
            closest.update(some.rows[success], point[success])
            left, scale = left[~success], scale / 2
            left = left[hops[left] < most[left]]
            if not len(left):
                break
        return found, hops
