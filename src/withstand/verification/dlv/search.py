"""DLV's search: manipulations at the input, then in deeper layers, until a counterexample or a proof.

At each layer the region is a box that holds all activations of the region before (sound spans). There
 1. bounds of the layers behind are tried on the whole box, and on its cells: above 0 they prove the input's region;
 2. the grid is searched in rounds: the next few features are stepped from the point found worst so far. What breaks
    the property in a hidden layer is carried back to an input, which the real network is then shown.

A search that finds nothing and proves nothing says `no_counterexample_on_grid`, never "safe".
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.bounds.margins import bound
from withstand.verification.dlv import cells
from withstand.verification.dlv.cut import check_layer, head, layers, reach, tail
from withstand.verification.dlv.features import Heuristic, rank
from withstand.verification.dlv.invert import Inverse
from withstand.verification.dlv.manipulation import Grid, Mode
from withstand.verification.exact.question import Question
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property
from withstand.verification.specification.verdict import CLOCK, Late, Verdict, never, passed

Status = Literal["safe", "unsafe", "no_counterexample_on_grid", "unknown"]


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        features: dimensions stepped together.
        spans: steps to each side.
        mode: "line" for every point of the grid, "convex" for its corners, "point" for one.
        heuristic: which dimensions come first.
        rounds: most rounds in a layer; None for as many as it takes to step each dimension once.
        layers: nodes to look at; None for all at which the network can be cut.
        every: list all counterexamples instead of the first.
        carried: broken points of a hidden layer that are carried back to inputs, in each round, the worst first.
        bounds: "ibp", "crown-ibp", "crown" or "alpha-crown" for the proofs; None to search the grid alone.
        budget: cells that may be bounded in a layer; 1 tries the whole box only.
        batch: points evaluated at once; a search for the first counterexample stops after the batch that has it.
        timeout: seconds for all.
    """

    features: int = 5
    spans: int = 1
    mode: Mode = "line"
    heuristic: Heuristic = "activation"
    rounds: int | None = None
    layers: tuple[int, ...] | None = None
    every: bool = False
    carried: int = 5
    bounds: str | None = "crown"
    budget: int = 1
    batch: int = 4096
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if min(self.features, self.budget, self.carried, self.batch) < 1 or (
            self.rounds is not None and self.rounds < 1
        ):
            raise ConfigError(
                "features, budget, carried, batch and rounds must be at least 1, "
                f"not {self.features}, {self.budget}, {self.carried}, {self.batch} and {self.rounds}"
            )
        if not self.timeout > 0:
            raise ConfigError(f"timeout must be positive seconds, not {self.timeout}")


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome.

    Attributes:
        status: "no_counterexample_on_grid" proves nothing.
        counterexamples: inputs that the real network was shown, `(n, *shape)`.
        evaluations: points evaluated, over all layers.
        layer: the node at which it was decided, or the last one looked at.
        margin: a proven lower bound of the margin, where it is safe.
        reason: why it is not decided, or empty.
        seconds: spent.
    """

    status: Status
    counterexamples: Tensor
    evaluations: int
    layer: int
    margin: float = float("-inf")
    reason: str = ""
    seconds: float = 0.0

    def verdict(self) -> Verdict:
        """Return it as what all solvers say: a bare grid is unknown."""
        if self.status == "unsafe":
            return Verdict(
                "unsafe", counterexample=self.counterexamples[0], method="dlv", seconds=self.seconds,
                steps=self.evaluations,
            )  # fmt: skip
        if self.status == "safe":
            return Verdict("safe", self.margin, method="dlv", seconds=self.seconds, steps=self.evaluations)
        reason = self.status if not self.reason else f"{self.status}: {self.reason}"
        return Verdict("unknown", reason=reason, method="dlv", seconds=self.seconds, steps=self.evaluations)


def search(question: Question, center: Tensor, settings: Settings = Settings()) -> Found:
    """Look for inputs of a box that break a property, and for a proof that there are none.

    Args:
        question: the network, the box (low = high where a dimension is not to be touched), what is unsafe.
        center: the input whose decision is asked about, in the box, one sample's shape.
        settings: how.

    Raises:
        ConfigError: a layer at which the network can't be cut, a grid with more points than can be held.
    """
    start = time.monotonic()
    center = center.double()
    places = layers(question.network) if settings.layers is None else sorted(settings.layers)
    for place in places:
        check_layer(question.network, place)
    evaluations, listed = 0, [question.low.new_zeros(0, *question.low.shape).to(question.dtype)]
    place = places[0]
    for place in places:
        left = settings.timeout - (time.monotonic() - start)
        if left <= 0:
            break
        layer = _Layer.of(question, place, center)
        if settings.bounds is not None and not sum(map(len, listed)):
            proof = layer.proof(settings, left)
            evaluations += proof.cells
            if proof.proven:
                return _found("safe", listed, evaluations, place, start, margin=proof.bound)
        left = settings.timeout - (time.monotonic() - start)
        broken, count = _grid(question, layer, settings, max(left, 1e-3))
        evaluations += count
        listed.append(broken)
        if len(broken) and not settings.every:
            return _found("unsafe", listed, evaluations, place, start)
    if sum(map(len, listed)):
        return _found("unsafe", listed, evaluations, place, start)
    if time.monotonic() - start >= settings.timeout:
        reason = f"out of time after {settings.timeout:g} s"
        return _found("unknown", listed, evaluations, place, start, reason=reason)
    return _found("no_counterexample_on_grid", listed, evaluations, place, start)


def _found(
    status: Status, listed: list[Tensor], evaluations: int, place: int, start: float, *, margin: float = float("-inf"),
    reason: str = "",
) -> Found:  # fmt: skip
    return Found(status, torch.cat(listed), evaluations, place, margin, reason, time.monotonic() - start)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer's region and what follows from it."""

    question: Question
    place: int
    center: Tensor
    low: Tensor
    high: Tensor
    behind: Network
    wanted: Property

    @classmethod
    def of(cls, question: Question, place: int, center: Tensor) -> "_Layer":
        low, high = reach(question.network, place, question.low, question.high)
        value = head(question.network, place)(center[None])[0] if place else center
        return cls(question, place, value, low, high, tail(question.network, place), question.wanted)

    def margin(self, values: Tensor) -> Tensor:
        """Return the margin of the layer's values `(B, *shape)`; at the input, as the real network sees it."""
        if not self.place and not values.requires_grad:
            return self.question.margins(values)
        return self.wanted.least(self.wanted.values(self.behind(values)))

    def lower(self, low: Tensor, high: Tensor, method: str, late: Late = never) -> Tensor:
        """Return lower bounds of the margin over boxes `(B, *shape)`; once it is late, cheap ones."""
        weight = self.wanted.weight.expand(len(low), -1, -1)
        values = bound(self.behind, Region.box(low, high), weight, method, late=late) + self.wanted.offset
        # A margin that the real network's precision cannot tell from a tie proves nothing about it.
        return self.wanted.least(values) - self.question.needed

    def proof(self, settings: Settings, timeout: float) -> cells.Cells:
        """Try to prove the whole box, split into cells as far as the budget goes."""
        method = settings.bounds
        assert method is not None
        shape = self.low.shape

        late = passed(CLOCK, CLOCK() + timeout)

        def lower(low: Tensor, high: Tensor) -> Tensor:
            return self.lower(low.view(-1, *shape), high.view(-1, *shape), method, late)

        def margin(points: Tensor) -> Tensor:
            # Points of a hidden layer's box need not be reached by any input: they decide nothing here.
            return self.margin(points.view(-1, *shape)) if not self.place else points.new_ones(len(points))

        low, high = self.low.flatten()[None], self.high.flatten()[None]
        return cells.prove(low, high, lower, margin, budget=settings.budget, timeout=timeout)


def _grid(question: Question, layer: _Layer, settings: Settings, timeout: float) -> tuple[Tensor, int]:
    """Search a layer's grid in rounds; return real counterexamples and the number of points evaluated."""
    start, evaluations = time.monotonic(), 0
    moving = (layer.high > layer.low).flatten()
    free, current = moving.clone(), layer.center.clone()
    found: list[Tensor] = []
    back: Callable[[Tensor, Tensor], Tensor | None] = _carrier(question, layer)
    rounds = settings.rounds or max(1, -(-int(moving.sum()) // settings.features))
    for _ in range(rounds):
        if not bool(free.any()):
            free = moving.clone()  # all have been stepped: begin again from the worst point
        dims = rank(current, layer.margin, free, settings.features, settings.heuristic)
        if not len(dims):
            break
        free[dims] = False
        grid = Grid(current, dims, layer.low.flatten()[dims], layer.high.flatten()[dims], settings.spans)
        worst, least = current, float("inf")
        for points in grid.points(settings.mode, settings.batch):
            margins = layer.margin(points)
            evaluations += len(points)
            rows = (margins <= 0).nonzero().flatten()
            if layer.place:
                rows = rows[margins[rows].argsort()][: settings.carried]
            for row in rows.tolist():
                x = back(points[row], dims)
                if x is not None:
                    found.append(x)
                    if not settings.every:
                        return torch.stack(found), evaluations
                if time.monotonic() - start > timeout:
                    break
            if float(margins.min()) < least:
                least, worst = float(margins.min()), points[int(margins.argmin())]
            if time.monotonic() - start > timeout:
                break
        current = worst
        if time.monotonic() - start > timeout:
            break
    kept = torch.stack(found) if found else question.low.new_zeros(0, *question.low.shape).to(question.dtype)
    return kept, evaluations


def _carrier(question: Question, layer: _Layer) -> Callable[[Tensor, Tensor], Tensor | None]:
    """Return what turns a layer's broken point into an input that the real network gets wrong, or None."""
    inverse: Inverse | None = None

    def back(point: Tensor, dims: Tensor) -> Tensor | None:
        nonlocal inverse
        if layer.place:
            if inverse is None:
                inverse = Inverse(head(question.network, layer.place), question.low, question.high)
            reached = inverse(point.flatten()[dims], dims)
            if reached is None:
                return None
            point = reached[0]
        shown, miss = question.replayed(point)
        return shown if miss <= 0 else None

    return back


def proven(question: Question, center: Tensor, *, budget: int = 20_000, timeout: float = 60.0) -> Found:
    """Return the outcome of the input's cells alone: a proof, a counterexample, or unknown. Complete in the limit."""
    start = time.monotonic()
    layer = _Layer.of(question, 0, center.double())
    done = layer.proof(replace(Settings(), bounds="crown", budget=budget, timeout=timeout), timeout)
    empty = question.low.new_zeros(0, *question.low.shape).to(question.dtype)
    spent = time.monotonic() - start
    if done.proven:
        return Found("safe", empty, done.cells, 0, done.bound, "", spent)
    if len(done.broken):
        shown, miss = question.replayed(done.broken[0].view(question.low.shape))
        if miss <= 0:
            return Found("unsafe", shown[None], done.cells, 0, seconds=spent)
    return Found("unknown", empty, done.cells, 0, reason=done.reason or "rounding decides", seconds=spent)
