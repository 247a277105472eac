"""APGD, gradient ascent without a step size to choose (Croce and Hein, 2020; for L1: "Mind the box", 2021).

Every sample has its own step size. At checkpoints it is cut where the objective has stopped rising, and the
sample goes back to its best point. Shapes: inputs `(N, ...)`, values `(N,)`.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.boundary import strongest_rivals
from withstand.attacks.inputs.gradient import Best
from withstand.attacks.inputs.l1 import sparse_direction
from withstand.attacks.objectives import DLR, TargetedDLR
from withstand.attacks.problem import AT_ONCE, Problem
from withstand.core.errors import ConfigError, require_at_least
from withstand.core.random import Draws
from withstand.core.threat import as_rows, per_sample

_WIDE_FIRST = ((3, 0.3), (2, 0.3), (1, 0.4))
"""For L1: the search begins in a wider ball; (multiple of eps, share of the steps)."""


@dataclass(frozen=True)
class APGD(InputAttack):
    """Momentum ascent with step sizes that halve by themselves; in L1, steps that grow sparser.

    AutoAttack's three are `APGD(ball)`, `APGD(ball, DLR())` and `APGD(ball, DLR(), targets=9)`.

    In Linf and L2 a step size halves where the objective has risen in too few of the steps since the last checkpoint.
    The first step of a run is held against where it began, as in the paper. The official code holds it against 0
    (its `check_oscillation` reads a row of zeros before the first), so that it always counts as a rise of the
    cross-entropy and never as one of the DLR, below 0 until the sample falls.

    Args:
        ball: any norm.
        objective: as for every attack.
        steps: gradient steps in each run.
        restarts: independent runs, for each target; the best point of all is kept.
        targets: aim at this many of the likeliest wrong classes one at a time, or at all of them where there are
            fewer, by the targeted form of `DLR()`, which the objective must be (APGD-T); None just raises the
            objective.
        passes: forward passes whose gradients are averaged (EOT), for a victim that draws at random; a point
            then counts as a success when most passes say so.
        drop_finished: leave a sample alone once its goal is met. The same successes in less time; the
            objective may stay lower there.
        give_up: in Linf, with targets, end a run at a checkpoint where it lacks more than it could still gain.
    """

    steps: int = 100
    restarts: int = 1
    targets: int | None = None
    passes: int = 1
    drop_finished: bool = False
    give_up: bool = False

    tokens = True

    def __post_init__(self) -> None:
        if self.ball.norm == "l1":
            self.ball.refuse_tokens("APGD in L1, which shares a step out among a sample's entries,")
        require_at_least(1, steps=self.steps, restarts=self.restarts, targets=self.targets, passes=self.passes)
        if self.targets is not None and not isinstance(self.objective, DLR):
            raise ConfigError("targets are aimed at with the targeted DLR loss: give objective=DLR()")
        if self.targets is not None and self.ball.targeted:
            raise ConfigError("targets are APGD's own choice of classes; a targeted ball has its class given in y")

    @property
    def bears_half_precision(self) -> bool:
        """Whether the search does as well in half precision."""
        return self.drop_finished and not self.ball.targeted and self.passes == 1

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        best, aims, turn = Best(problem), list(self._aims(problem)), 0
        while turn < len(aims):
            some = 1
            for restart in range(self.restarts):
                rows = best.open() if self.drop_finished else problem.rows
                if not len(rows):
                    return best.x
                if self.ball.norm != "l1" and self.restarts == 1:
                    some = min(max(1, AT_ONCE // len(rows)), len(aims) - turn)
                first = start[rows] if start is not None and restart == 0 else None
                parts = [aim.take(rows) for aim in aims[turn : turn + some]]
                streams = [draws.child(turn + place).child(restart)[rows] for place in range(some)]
                if some == 1:
                    self._run(parts[0], first, streams[0], best)
                else:
                    self._run_together(parts, first, streams, best)
            turn += some
        return best.x

    def _run_together(self, parts: list[Problem], start: Tensor | None, draws: list[Draws], best: Best) -> None:
        """Climb towards several classes in the same passes; what is found is what one after the other would find."""
        starts = [_random_start(*pair) if start is None else start for pair in zip(parts, draws, strict=True)]
        joined = Problem.side_by_side(parts)
        own = Best(joined)
        count = len(parts[0].x)
        self._climb(_Momentum(joined, torch.cat(starts), self.passes, self.steps), self.steps, own, among=count)
        for place, part in enumerate(parts):
            rows = slice(place * count, (place + 1) * count)
            part.queries[part.rows] += joined.queries[rows]
            # Where finished samples are left alone, an earlier class that had the sample keeps it.
            open_ = ~best.success[part.rows] | (not self.drop_finished)
            found = own.x[rows], own.gain[rows], own.success[rows]
            best.update(part.take(open_), *(value[open_] for value in found))

    def _aims(self, problem: Problem) -> Iterator[Problem]:
        """Give the problem itself, or one for each class that is aimed at."""
        if self.targets is None:
            yield problem
            return
        assert isinstance(self.objective, DLR)  # which `__post_init__` demands with targets
        objective = TargetedDLR(self.objective.output)
        for rival in strongest_rivals(problem, self.targets).unbind(1):
            yield replace(problem, objective=objective, y=torch.stack([problem.y, rival], 1))

    def _run(self, problem: Problem, start: Tensor | None, draws: Draws, best: Best) -> None:
        """Climb once, and leave what was found in `best`."""
        if self.ball.norm != "l1":
            x = _random_start(problem, draws) if start is None else start
            self._climb(_Momentum(problem, x, self.passes, self.steps), self.steps, best)
            return
        left, fresh = self.steps, True
        for multiple, part in _WIDE_FIRST:
            steps = left if multiple == 1 else min(math.ceil(part * self.steps), left - 1)
            left -= steps
            wide = replace(problem, ball=replace(problem.ball, eps=multiple * self.ball.eps))
            start = _random_start(wide, draws) if start is None else wide.confine(start)
            run = _Sparse(wide, start, self.passes, steps, fresh=fresh)
            # What succeeds only in the wider ball is no success.
            self._climb(run, steps, best if multiple == 1 else None)
            start, fresh = run.top_x, False

    def _climb(self, run: "_Run", steps: int, best: Best | None, *, among: int | None = None) -> None:
        """Take the steps, and keep in `best` what they meet.

        Args:
            run: where it begins.
            steps: how many.
            best: what was met; None where it shall not count.
            among: samples in each part where several classes run side by side, one part after the other.
        """
        since = 0
        for step in range(steps + 1):
            if best is not None:
                best.update(run.problem, run.x, run.gain, run.success)
                if self.drop_finished and bool(run.success.any()):
                    left = ~run.success if among is None else _open_for(run.problem.rows, run.success, among)
                    run.keep(left.nonzero().squeeze(1))
                    if not len(run.x):
                        return
            if since == run.period:
                run.adjust()
                since = 0
                if self.give_up and self.targets is not None and self.ball.norm == "linf":
                    from withstand.attacks.autoattack.shortcuts.giving_up import hopeless

                    run.keep((~hopeless(run.top_gain, run.first_gain, step / steps)).nonzero().squeeze(1))
                    if not len(run.x):
                        return
            if step < steps:
                run.move()
                since += 1


def _open_for(rows: Tensor, success: Tensor, count: int) -> Tensor:
    """Return which of several runs of each sample go on: those before the first that has succeeded."""
    part, sample = rows // count, rows % count
    first = torch.full((count,), int(rows.max()) + 1, device=rows.device)
    first.scatter_reduce_(0, sample[success], part[success], "amin")
    return part < first[sample]


class _Run:
    """Where each sample of a climb stands.

    Attributes:
        x, gain, success, slope: the point of now, and what the victim says there.
        top_x, top_gain, top_slope: the point of the highest gain so far.
        first_gain: the gain where the climb began.
        length: step sizes, in input units.
        period: steps from the last checkpoint to the next.
    """

    period: int
    length: Tensor

    def __init__(self, problem: Problem, x: Tensor, passes: int) -> None:
        self.problem, self.x, self.passes = problem, x, passes
        self.gain, self.success, self.slope = self._look()
        self.first_gain = self.gain
        self.top_x, self.top_gain, self.top_slope = self.x.clone(), self.gain.clone(), self.slope.clone()

    def keep(self, rows: Tensor) -> None:
        """Leave all samples alone but those in `rows`."""
        self.problem = self.problem.take(rows)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])

    def move(self) -> None:
        """Take one step, and see what the victim says there."""
        self.x = self._next()
        before = self.gain
        self.gain, self.success, self.slope = self._look()
        self._follow(self.gain > before)
        higher = (self.gain > self.top_gain).nonzero().squeeze(1)
        self.top_x[higher] = self.x[higher]
        self.top_gain[higher] = self.gain[higher]
        self.top_slope[higher] = self.slope[higher]

    def restart(self, chosen: Tensor) -> None:
        """Go back to the best point where `chosen`; the next step is still held against the last one's gain."""
        rows = chosen.nonzero().squeeze(1)
        self.x[rows], self.slope[rows] = self.top_x[rows], self.top_slope[rows]

    @abstractmethod
    def adjust(self) -> None:
        """Judge the steps since the last checkpoint."""

    @abstractmethod
    def _next(self) -> Tensor: ...

    def _follow(self, risen: Tensor) -> None:
        """Take note of where the last step raised the gain."""

    def _look(self) -> tuple[Tensor, Tensor, Tensor]:
        gain, success, slope = self.problem.gradient(self.x)
        if self.passes == 1:
            return gain, success, slope
        hits = success.long()
        for _ in range(self.passes - 1):
            more, success, steeper = self.problem.gradient(self.x)
            gain, hits, slope = gain + more, hits + success, slope + steeper
        return gain / self.passes, 2 * hits > self.passes, slope / self.passes


class _Momentum(_Run):
    """Linf and L2: momentum, and step sizes that halve where the gain has stopped rising."""

    def __init__(self, problem: Problem, x: Tensor, passes: int, steps: int) -> None:
        super().__init__(problem, x, passes)
        self.period = max(int(0.22 * steps), 1)
        self.shorter, self.shortest = max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)
        self.length = torch.full_like(self.gain, 2 * problem.ball.eps)
        self.before: Tensor | None = None
        self.rises = torch.zeros_like(problem.rows)
        self.last_top = self.top_gain.clone()
        self.halved = torch.ones_like(self.success)  # so that no sample is halved for want of progress at first

    def _next(self) -> Tensor:
        problem, here = self.problem, self.x
        aim = problem.confine(torch.addcmul(here, per_sample(self.length, here), problem.ball.direction(self.slope)))
        if self.before is not None:
            # here + 0.75 (aim - here) + 0.25 (here - before), in place
            aim = problem.confine(aim.mul_(0.75).add_(here, alpha=0.5).sub_(self.before, alpha=0.25))
        self.before = here
        return aim

    def _follow(self, risen: Tensor) -> None:
        self.rises += risen

    def adjust(self) -> None:
        stuck = ~self.halved & (self.top_gain <= self.last_top)
        self.halved = (self.rises <= 0.75 * self.period) | stuck
        self.length = torch.where(self.halved, self.length / 2, self.length)
        self.restart(self.halved)
        self.rises.zero_()
        self.last_top = self.top_gain.clone()
        self.period = max(self.period - self.shorter, self.shortest)


class _Sparse(_Run):
    """L1: steps along the largest entries of the gradient, fewer of them as the best perturbation grows sparse."""

    def __init__(self, problem: Problem, x: Tensor, passes: int, steps: int, *, fresh: bool) -> None:
        super().__init__(problem, x, passes)
        self.period = max(int(0.04 * steps), 1)
        self.length = torch.full_like(self.gain, problem.ball.eps)
        self.changed = self._count(x)
        self.share = self.changed / (1.5 * x[0].numel())
        if fresh:
            self.changed, self.share = torch.full_like(self.gain, x[0].numel()), torch.full_like(self.gain, 0.2)

    def _count(self, x: Tensor) -> Tensor:
        """Return how many entries differ from the clean input, as the paper's sparsity."""
        return as_rows(x != self.problem.x).sum(1).to(self.gain)

    def _next(self) -> Tensor:
        step = sparse_direction(self.slope, self.share)
        return self.problem.confine(self.x + per_sample(self.length, step) * step)

    def adjust(self) -> None:
        changed, eps = self._count(self.top_x), self.problem.ball.eps
        sparser = changed < 0.95 * self.changed
        self.share = changed / (1.5 * self.x[0].numel())
        self.length = torch.where(sparser, eps, (self.length / 1.5).clamp_min(eps / 10))
        self.changed = changed
        self.restart(sparser)


def _random_start(problem: Problem, draws: Draws) -> Tensor:
    """Return points on a face of the cube (Linf), on the sphere (L2), or a projected normal draw (L1)."""
    ball, x = problem.ball, problem.x
    if ball.norm == "linf":
        away = draws.uniform(*x.shape[1:], low=-1, high=1).to(x)
    else:
        away = draws.normal(*x.shape[1:]).to(x)
    if problem.mask is not None:
        away = away * problem.mask  # what may not move takes no part of the radius
    return problem.confine(x + (away if ball.norm == "l1" else ball.to_surface(away)))
