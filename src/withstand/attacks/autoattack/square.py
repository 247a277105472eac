"""Square Attack (Andriushchenko et al., 2020): random search that asks the victim for outputs alone.

Each sample gets its own rectangle in every turn, wherever it fits, so that its result does not depend on
its batch and the last row and column are reached; the reference code shares one square over the batch and
never touches them. Shapes: pictures `(N, C, H, W)`; `(h, w)` a rectangle's sides.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.square_turns import SquareTurns
from withstand.attacks.objectives import AttackLoss, Margin, Objective
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError
from withstand.core.random import Draws

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The turns, of 10000, after which the changed share of the picture is halved."""


@dataclass(frozen=True)
class Square(InputAttack):
    """Random rectangles, each kept where it raises the objective; no gradients are used, but by a screen.

    Linf: vertical stripes of ±eps to begin with, then rectangles of ±eps, one sign a channel. L2 and L1:
    bumps all over the picture, then the change in one rectangle is moved to another. A sample is left alone
    once its goal is met.

    Squares need neighbours: `(N, C, H, W)` has them in two directions, `(N, C, L)` and `(N, D)` in one, and
    rectangles are runs there; axes before the last two are channels.

    Args:
        ball: any norm.
        objective: what is raised; the margin is the paper's.
        queries: rectangles tried on each sample.
        share: of the picture that the first rectangles cover (p of the paper).
        rescale: spread the schedule by which rectangles shrink over `queries`; otherwise it is the paper's
            for 10000, as in AutoAttack, whatever the number of queries.
        screened: in Linf, pass over rectangles that the slope at the sample's point rules out by far, where slopes
            can be had and foretell what the victim says: a few times faster on a plain network. Each that is passed
            over counts as one of `queries`. Decisions differ from the plain search in rare cases alone.
        give_up: in Linf, where the objective is the margin, end a search that lacks more than it could still gain.
    """

    objective: Objective | AttackLoss = Margin()  # noqa: RUF009 - a frozen value
    queries: int = 5000
    share: float = 0.8
    rescale: bool = True
    screened: bool = False
    give_up: bool = False

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ConfigError(f"queries must be at least 1, not {self.queries}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"share is a part of the picture, above 0 and at most 1, not {self.share}")

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        found = problem.x.clone()
        first, done = problem.values(found)
        if bool(done.all()):
            return found
        problem, draws, first = problem.take(~done), draws[~done], first[~done]
        x = self._first(problem, draws.child("start")) if start is None else start[~done]
        gain, done = problem.values(x)
        if self.ball.norm == "linf":
            found[problem.rows[done]] = x[done]
            left = ~done
            _, *shape = _picture(x)
            sides = [self.sides(turn, *shape[1:]) for turn in range(self.queries)]
            place = problem.take(left), x[left], gain[left], draws[left].child("turns")
            first_gain = first[left] if self.give_up and isinstance(problem.objective, Margin) else None
            picture = shape[0], shape[1], shape[2]
            SquareTurns(*place, sides, picture, screened=self.screened, first_gain=first_gain).run(found)
            return found
        for turn in range(self.queries):
            if bool(done.any()):
                found[problem.rows] = x
                problem, draws, x, gain = problem.take(~done), draws[~done], x[~done], gain[~done]
                if not len(x):
                    return found
            tried = self._move(problem, x, turn, draws.child(turn))
            raised, done = problem.values(tried)
            better = done | (raised > gain)
            gain = torch.where(better, raised, gain)
            x = torch.where(better.view(-1, *[1] * (x.dim() - 1)), tried, x)
        found[problem.rows] = x
        return found

    def sides(self, turn: int, height: int, width: int) -> tuple[int, int]:
        """Return the rectangle's sides in a turn: a square, or where one does not fit, of the same area."""
        place = turn * 10000 // self.queries if self.rescale else turn
        area = self.share / 2 ** bisect_left(_HALVINGS, place) * height * width
        side = max(round(math.sqrt(area)), 1)
        if self.ball.norm != "linf":  # a bump has a middle
            side = max(side, 3) | 1
        if side > height:
            return height, min(max(round(area / height), side), width)
        if side > width:
            return min(max(round(area / width), side), height), width
        return side, side

    def _first(self, problem: Problem, draws: Draws) -> Tensor:
        count, channels, height, width = _picture(problem.x)
        if self.ball.norm == "linf":
            stripes = _signs(draws, channels, 1, width).expand(-1, -1, height, -1)
            return problem.confine(problem.x + self.ball.eps * stripes.reshape(problem.x.shape).to(problem.x))
        h, w = max(height // 5, 1), max(width // 5, 1)
        rows, columns = height // h, width // w
        tiles = _bumps(draws, h, w, rows, columns)[:, None] * _signs(draws, channels, rows, columns)[..., None, None]
        delta = torch.zeros(count, channels, height, width, device=problem.x.device)
        top, left = (height - rows * h) // 2, (width - columns * w) // 2
        delta[..., top : top + rows * h, left : left + columns * w] = tiles.transpose(3, 4).flatten(2, 3).flatten(3)
        return self._full_size(problem, delta.to(problem.x))

    def _move(self, problem: Problem, x: Tensor, turn: int, draws: Draws) -> Tensor:
        """Add a bump to one window, paid for by what is unused and by what another window holds."""
        shape = _picture(x)
        signs = _signs(draws, shape[1], 1, 1)
        into, out = (_Window(draws, *self.sides(turn, *shape[2:]), *shape[2:]) for _ in range(2))
        order = 2 if self.ball.norm == "l2" else 1
        delta = (x - problem.x).view(shape)
        unused = (self.ball.eps**order - _mass(delta, order).sum(1, keepdim=True)).clamp_min(0)
        held = _mass(delta * (into.inside | out.inside)[:, None], order)
        budget = (unused / shape[1] + held) ** (1 / order)
        place = into.index(shape[1])
        h, w = into.sides
        bump = _unit(_bumps(draws, h, w, 1, 1)[:, 0, 0, None].to(x), order) * signs.to(x)
        delta = delta * ~out.inside[:, None]
        delta[place] = _unit(bump + _unit((x - problem.x).view(shape)[place], order), order) * budget
        return self._full_size(problem, delta)

    def _full_size(self, problem: Problem, delta: Tensor) -> Tensor:
        delta = delta.view(problem.x.shape)
        if problem.mask is not None:
            delta = delta * problem.mask
        return problem.confine(problem.x + self.ball.to_surface(delta))


class _Window:
    """A rectangle `h` by `w` somewhere in each sample's picture, drawn uniformly from all that fit."""

    def __init__(self, draws: Draws, h: int, w: int, height: int, width: int) -> None:
        self.sides = h, w
        self.top = draws.integers(0, height - h + 1, 1)
        self.left = draws.integers(0, width - w + 1, 1)
        row, column = (torch.arange(side, device=draws.device) for side in (height, width))
        rows = (row >= self.top) & (row < self.top + h)
        columns = (column >= self.left) & (column < self.left + w)
        self.inside = rows[:, :, None] & columns[:, None, :]

    def index(self, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the places of the window's entries in a tensor `(N, C, H, W)`, to read and to write."""
        h, w = self.sides
        device = self.top.device
        sample = torch.arange(len(self.top), device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[:, None, None]
        row = self.top + torch.arange(h, device=device)
        column = self.left + torch.arange(w, device=device)
        return sample, channel, row[:, None, :, None], column[:, None, None, :]


def _picture(x: Tensor) -> tuple[int, int, int, int]:
    """Return the shape of samples as pictures `(N, C, H, W)`."""
    *channels, height, width = (1, 1, *x.shape[1:])
    if x.dim() == 3:  # (N, C, L)
        return len(x), height, 1, width
    return len(x), math.prod(channels), height, width


def _signs(draws: Draws, *shape: int) -> Tensor:
    return draws.bits(*shape).sign().float()


def _mass(delta: Tensor, order: int) -> Tensor:
    """Return each channel's norm to the power of its order, `(N, C, 1, 1)`."""
    return delta.abs().pow(order).sum((2, 3), keepdim=True)


def _unit(values: Tensor, order: int) -> Tensor:
    """Return values of norm 1 in each channel; zeros stay zeros."""
    return values / (_mass(values, order) ** (1 / order)).clamp_min(1e-12)


def _bumps(draws: Draws, h: int, w: int, rows: int, columns: int) -> Tensor:
    """Return `(N, rows, columns, h, w)`, each cut along its rows or along its columns by chance."""
    turned = draws.chance(0.5, rows, columns)[..., None, None]
    upright, lying = (bump.to(draws.device) for bump in (_bump(h, w), _bump(w, h).T))
    return torch.where(turned, lying, upright)


@cache
def _bump(h: int, w: int) -> Tensor:
    """Return two neighbouring hills `(h, w)`, one upward and one downward, which fall off from their middles."""
    hills = [_hill(side, w) * sign for side, sign in ((h // 2, 1), (h - h // 2, -1)) if side]
    return torch.cat(hills)


def _hill(h: int, w: int) -> Tensor:
    """Return a sum of concentric rectangles, the k-th of height 1/k^2, of unit Euclidean norm."""
    row, column = ((torch.arange(side) - side // 2).abs() for side in (h, w))
    ring = torch.maximum(row[:, None], column[None, :])
    heights = 1 / torch.arange(1, int(ring.max()) + 2, dtype=torch.float32) ** 2
    hill = heights.flip(0).cumsum(0).flip(0)[ring]
    return hill / hill.square().sum().sqrt()
