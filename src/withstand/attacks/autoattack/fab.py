"""FAB, the fast adaptive boundary attack (Croce and Hein, 2020): the smallest change that crosses a boundary."""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.attacks.inputs.boundary import (
    class_gaps,
    cross,
    distance,
    needs_classes,
    rolled,
    strongest_rivals,
    unrolled,
)
from withstand.attacks.inputs.nearest import Closest, MinimalNorm
from withstand.attacks.objectives import AttackLoss, Margin, Objective
from withstand.attacks.problem import AT_ONCE, Problem
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import per_sample


@dataclass(frozen=True)
class FAB(MinimalNorm):
    """Project onto the nearest linearised boundary inside the range, lean towards the clean input, step back.

    It seeks the smallest perturbation, whatever eps is: with a wide ball, `norm` of the result is the
    distance to the boundary. A sample counts as broken only where that distance is within eps.

    Args:
        ball: any norm.
        objective: judges the result, and names the victim's output; the search uses logits alone.
        steps: projections in each run.
        restarts: runs for each target; all but the first begin at a random point.
        targets: None looks at all classes in each step, at the cost of a backward pass for each; a number
            takes that many of the likeliest other classes one at a time, or all of them where there are fewer
            (FAB-T; 9 in AutoAttack).
        lean: largest weight of the step from the clean input (alpha_max of the paper).
        overshoot: how far beyond the boundary a step goes, as a multiple of the way to it (eta).
        backward: what is kept of the perturbation after a success (beta).
        bisections: halvings, at the end, of the piece between the result and `backward` of it.
        drop_finished: leave a sample alone once it is broken within eps. The same successes in less time; the
            distance may stay larger there.
        give_up: in Linf, end a run whose boundary turns out to lie well outside eps. Distances stay larger there.
    """

    objective: Objective | AttackLoss = Margin()  # noqa: RUF009 - a frozen value
    steps: int = 100
    restarts: int = 1
    targets: int | None = None
    lean: float = 0.1
    overshoot: float = 1.05
    backward: float = 0.9
    bisections: int = 10
    drop_finished: bool = False
    give_up: bool = False

    def __post_init__(self) -> None:
        needs_classes(self.objective)
        for name, least in (("steps", 1), ("restarts", 1), ("targets", 1), ("bisections", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
        if not 0 <= self.lean <= 1 or not 0 < self.backward < 1 or self.overshoot < 1:
            raise ConfigError(
                f"FAB needs lean in [0, 1], backward between 0 and 1 and overshoot of 1 or more, "
                f"not {self.lean}, {self.backward} and {self.overshoot}"
            )
        if self.targets is not None and self.ball.targeted:
            raise ConfigError("targets are FAB's own choice of classes; a targeted ball has its class given in y")

    @property
    def bears_half_precision(self) -> bool:
        """Whether the search does as well in half precision."""
        return self.drop_finished and not self.ball.targeted

    def everywhere(self) -> Self:
        """Return the attack in a ball that holds every input, without shortcuts that leave distances larger."""
        return replace(super().everywhere(), drop_finished=False, give_up=False)

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        if math.isinf(problem.victim.span):
            raise ConfigError(
                "FAB projects onto the input range, which has to have ends: give the victim low= and high="
            )
        closest = Closest(problem)
        rivals = None if self.targets is None else strongest_rivals(problem, self.targets)
        turn, turns = 0, 1 if rivals is None else rivals.shape[1]
        while turn < turns:
            some = 1
            chosen = None if rivals is None else rivals[:, turn : turn + 1]
            for restart in range(self.restarts):
                rows = self._open(closest)
                if not len(rows):
                    return closest.x
                part = problem.take(rows)
                x = part.x if start is None else start[rows]
                if rivals is not None and self.restarts == 1:
                    some = min(max(1, AT_ONCE // len(rows)), turns - turn)
                if rivals is not None and some > 1:
                    self._walk_together(part, x, rivals[rows, turn : turn + some], closest)
                    continue
                if restart:
                    size = closest.size[rows].clamp_max(self.ball.eps) / 2
                    noise = self.ball.sample(part.x, draws.child(turn).child(restart)[rows])
                    unit = noise / per_sample(self.ball.size(noise).clamp_min(1e-12), noise)
                    x = part.confine(part.x + unit * per_sample(size.to(x), noise))
                self._walk(part, x, None if chosen is None else chosen[rows], closest)
            turn += some
        self._bisect(problem, closest)
        return closest.x

    def _walk_together(self, part: Problem, x: Tensor, rivals: Tensor, closest: Closest) -> None:
        """Walk towards several classes `(N, K)` in the same passes; what is found is as one after the other."""
        count, times = len(x), rivals.shape[1]
        joined = Problem.side_by_side([part] * times)
        own = Closest(joined, success=torch.zeros(len(joined.x), dtype=torch.bool, device=x.device))
        self._walk(joined, x.repeat(times, *[1] * (x.dim() - 1)), rivals.T.reshape(-1, 1), own)
        for place in range(times):
            rows = slice(place * count, (place + 1) * count)
            part.queries[part.rows] += joined.queries[rows]
            # Where finished samples are left alone, an earlier class that had the sample keeps it.
            left = (closest.size[part.rows] > self.ball.eps) | (not self.drop_finished)
            hit, missed = own.size[rows].isfinite() & left, own.size[rows].isinf() & left
            closest.update(part.rows[hit], own.x[rows][hit])
            closest.last(part.rows[missed], own.x[rows][missed])

    def _open(self, closest: Closest) -> Tensor:
        """Return the places of samples that are still worth a step."""
        return closest.open(self.ball.eps if self.drop_finished else 0.0)

    def _walk(self, problem: Problem, x: Tensor, rivals: Tensor | None, closest: Closest) -> None:
        low, high, norm = problem.victim.low, problem.victim.high, self.ball.norm
        clean, point = unrolled(problem.x, problem.x), unrolled(x, problem.x)
        foretold = torch.full_like(closest.size[problem.rows], torch.inf)
        for step in range(1, self.steps + 1):
            gaps, slopes = class_gaps(problem, rolled(point, problem.x), rivals)
            gap, slope = gaps[:, 0].to(point), slopes[:, 0]
            if gaps.shape[1] > 1:
                row, nearest = torch.arange(len(gap), device=x.device), distance(gaps, slopes, norm).argmin(1)
                gap, slope = gaps[row, nearest].to(point), slopes[row, nearest]
            slope = unrolled(slope, problem.x)
            # The same plane seen from the clean input; a gap is linear there by definition.
            far_gap = gap + torch.linalg.vecdot(slope, clean - point)
            ways = cross(torch.stack([point, clean]), torch.stack([gap, far_gap]), slope, norm, low, high)
            here, there = ways
            near, far = (self.ball.size(way).clamp_min(1e-8)[:, None] for way in ways)
            foretold = torch.minimum(foretold, far.squeeze(1))
            lean = (near / (near + far)).clamp_max(self.lean)
            here, there = (way.mul_(self.overshoot).add_(base) for way, base in ((here, point), (there, clean)))
            point = torch.lerp(here, there, lean).clamp_(low, high)
            success = problem.values(rolled(point, problem.x))[1]
            if bool(success.any()):
                hit = success.nonzero().squeeze(1)
                closest.update(problem.rows[hit], rolled(point[hit], problem.x))
                point[hit] = torch.lerp(clean[hit], point[hit], self.backward)
            size = closest.size[problem.rows]
            left = size > self.ball.eps if self.drop_finished else torch.ones_like(size, dtype=torch.bool)
            if self.give_up and norm == "linf":
                from withstand.attacks.autoattack.shortcuts.giving_up import too_far

                left &= ~too_far(size, foretold, self.ball.eps, step)
            if not bool(left.all()):
                problem, clean, point, foretold = problem.take(left), clean[left], point[left], foretold[left]
                rivals = None if rivals is None else rivals[left]
                if not len(point):
                    return
        closest.last(problem.rows, rolled(point, problem.x))

    def _bisect(self, problem: Problem, closest: Closest) -> None:
        """Move results along the line to the clean input, as far as they stay on the wrong side."""
        rows = self._open(closest)
        rows = rows[closest.size[rows].isfinite()]
        if not len(rows):
            return
        part = problem.take(rows)
        delta = closest.x[part.rows] - part.x
        outer = delta.new_ones(len(delta))
        inner = outer * self.backward
        for _ in range(self.bisections):
            middle = (inner + outer) / 2
            x = part.x + per_sample(middle, delta) * delta
            success = part.values(x)[1]
            closest.update(part.rows[success], x[success])
            inner, outer = torch.where(success, inner, middle), torch.where(success, middle, outer)
