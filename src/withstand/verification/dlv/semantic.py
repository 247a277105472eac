"""Search over a family of changes: the grid of its parameters, and the proof by the cells between them."""

import time

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.bounds.margins import bound
from withstand.verification.dlv import cells
from withstand.verification.dlv.families import Family
from withstand.verification.dlv.manipulation import Grid
from withstand.verification.dlv.search import Found, Status
from withstand.verification.exact.question import Question
from withstand.verification.specification.box import Region


def search_family(
    question: Question,
    x: Tensor,
    family: Family,
    *,
    spans: int = 8,
    bounds: str | None = "crown",
    budget: int = 5_000,
    every: bool = False,
    timeout: float = 60.0,
) -> Found:
    """Look for changed pictures that break a property, and for a proof that the family has none.

    Args:
        question: the network and what is unsafe; its box is not used.
        x: the picture `(C, H, W)` in [0, 1].
        family: the changes.
        spans: steps of the grid to each side of the middle, in each parameter.
        bounds: how cells are bounded: "ibp", "crown-ibp", "crown" or "alpha-crown"; None for the grid alone.
        budget: cells that may be bounded.
        every: list all counterexamples of the grid.
        timeout: seconds.

    Raises:
        ConfigError: limits or settings that are not allowed, or more points than can be held.
    """
    if not timeout > 0 or budget < 1:
        raise ConfigError(f"timeout and budget must be positive, not {timeout} and {budget}")
    start = time.monotonic()
    low, high = family.box()
    size = low.shape[1]
    grid = Grid((low[0] + high[0]) / 2, torch.arange(size), low[0], high[0], spans)
    found, evaluations = [], 0
    for points in grid.points("line", 1024):
        pictures = family.apply(x, points)
        margins = question.margins(pictures)
        evaluations += len(points)
        found.append(_alone(question, pictures[margins <= 0]))
        if len(found[-1]) and not every:
            break
        if time.monotonic() - start > timeout:
            break
    broken = torch.cat(found)
    if len(broken):
        return Found("unsafe", broken, evaluations, 0, seconds=time.monotonic() - start)
    left = timeout - (time.monotonic() - start)
    if bounds is None or left <= 0:
        reason = "" if bounds is None else f"out of time after {timeout:g} s"
        status: Status = "no_counterexample_on_grid" if bounds is None else "unknown"
        return Found(status, broken, evaluations, 0, reason=reason, seconds=time.monotonic() - start)
    return _proof(question, x, family, grid, bounds, budget, left, evaluations, start)


def _proof(
    question: Question,
    x: Tensor,
    family: Family,
    grid: Grid,
    method: str,
    budget: int,
    timeout: float,
    evaluations: int,
    start: float,
) -> Found:
    wanted = question.wanted

    def lower(low: Tensor, high: Tensor) -> Tensor:
        least, most = family.bounds(x, low, high)
        weight = wanted.weight.expand(len(low), -1, -1)
        return (
            wanted.least(bound(question.network, Region.box(least, most), weight, method) + wanted.offset)
            - question.needed
        )

    def margin(points: Tensor) -> Tensor:
        return question.margins(family.apply(x, points))

    done = cells.prove(*grid.cells(), lower, margin, budget=budget, timeout=timeout)
    count, spent = evaluations + done.cells, time.monotonic() - start
    none = x.new_zeros(0, *x.shape).to(question.dtype)
    if done.proven:
        return Found("safe", none, count, 0, done.bound, seconds=spent)
    broken = _alone(question, family.apply(x, done.broken))
    if len(broken):
        return Found("unsafe", broken, count, 0, seconds=spent)
    reason = done.reason or "rounding decides"
    return Found("no_counterexample_on_grid", none, count, 0, reason=reason, seconds=spent)


def _alone(question: Question, pictures: Tensor) -> Tensor:
    """Return those pictures that break the property when the real network is shown each alone."""
    shown = pictures.to(question.dtype)
    return shown[[bool(question.margins(picture[None]) <= 0) for picture in shown]]
