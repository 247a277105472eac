"""The backward pass of CROWN (Zhang et al., 2018): a linear function of any node, bounded below over a region.

Going back through the graph, a linear function of a node becomes one of the nodes before it; where an activation
is met, each coefficient takes the line that keeps the bound below. At the input the dual norm makes a number of it.

Sizes: `N` samples, `R` rows; a row is one function of one sample. Coefficients are `(R, *shape)`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from withstand.verification.bounds.interval import Box
from withstand.verification.bounds.lines import Choice, Lines, Planes, Relaxation
from withstand.verification.bounds.receptive_field import Window, rows_of
from withstand.verification.bounds.rounding import backward_terms, gamma, proven
from withstand.verification.network.network import Network
from withstand.verification.network.operation import Constant, LinearOperation
from withstand.verification.specification.box import Region


@dataclass(eq=False)
class Rows:
    """Which sample each row belongs to.

    Attributes:
        sample: int64 `(R,)`; None where every sample has `each` rows, one sample after the other.
        each: rows of a sample.
    """

    sample: Tensor | None = None
    each: int = 1

    def spread(self, values: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return per-sample values and per-row coefficients, shaped so that they broadcast."""
        if self.sample is not None:
            return values[self.sample], like
        if self.each == 1:
            return values, like
        return values[:, None], like.view(len(values), self.each, *like.shape[1:])

    def of(self, values: Tensor) -> Tensor:
        """Return one number a row from one number a sample."""
        return values[self.sample] if self.sample is not None else values.repeat_interleave(self.each)


@dataclass(eq=False)
class Relaxed:
    """Everything that a backward pass needs to know of the nodes before its start.

    Attributes:
        network: the graph.
        region: the inputs, in the network's precision.
        boxes: bounds of the nodes' values, in order.
        lines: relaxations by node.
        pull: Lagrangian terms by node, `(R, *shape)`: subtracted from the coefficients of the node's input, the least
            of them over its box added to the bound. Any are sound, where each row is a sample.
        seen: where to leave the coefficients of each activation's output, if anybody asks.
        most: by node, each entry's largest size over all samples, `(1, *shape)`, as far as it was needed. Boxes only
            shrink, and samples are only left out: what was found once stays an upper bound.
    """

    network: Network
    region: Region
    boxes: list[Box] = field(default_factory=list)
    lines: dict[int, Relaxation] = field(default_factory=dict)
    pull: Mapping[int, Tensor] = field(default_factory=dict)
    seen: dict[int, Tensor] | None = None
    most: dict[int, Tensor] = field(default_factory=dict)

    def inputs(self, place: int) -> list[tuple[Tensor, Tensor]]:
        """Return the intervals of a node's inputs."""
        boxes = (self.boxes[source] for source in self.network.nodes[place].inputs)
        return [(box.low, box.high) for box in boxes]

    def sizes(self, place: int) -> Tensor:
        """Return each entry's largest size at a node over all samples, `(1, *shape)`, or a little more."""
        if place not in self.most:
            box = self.boxes[place]
            size = torch.maximum(box.low.abs(), box.high.abs()).detach()
            # Where a sample has no bounds its lines have none either; others must not lose theirs by it.
            self.most[place] = size.masked_fill(size.isnan(), 0).amax(0, keepdim=True)
        return self.most[place]


def lower_bounds(relaxed: Relaxed, start: int, coefficient: Tensor, rows: Rows, window: Window | None = None) -> Tensor:
    """Return a lower bound of each row's linear function of node `start` over the region, float64 `(R,)`.

    Args:
        relaxed: the network's relaxation.
        start: the node.
        coefficient: of the functions, `(R, *shape)`; with a window, what they are in it.
        rows: which sample each belongs to.
        window: outside of it, all coefficients are zero. The work is that of the places which the window sees.
    """
    slope, seen, constant = _linear_function(relaxed, start, coefficient, rows, window)
    return proven(constant + concretize(slope, relaxed.region if seen is None else relaxed.region.cut(seen), rows))


def linear_function(relaxed: Relaxed, start: int, coefficient: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return a linear function of the input below each row's: slopes `(R, *shape)`, constants float64 `(R,)`."""
    slope, _, constant = _linear_function(relaxed, start, coefficient, rows, None)
    return slope, constant


def _linear_function(
    relaxed: Relaxed, start: int, coefficient: Tensor, rows: Rows, window: Window | None
) -> tuple[Tensor, Window | None, Tensor]:
    """Return slopes, the window of the input that they are of, and constants."""
    network = relaxed.network
    pending: dict[int, tuple[Tensor, Window | None]] = {start: (coefficient, window)}
    total = coefficient.new_zeros(len(coefficient), dtype=torch.float64)
    for place in range(start, 0, -1):
        if place not in pending:
            continue
        here, window = pending.pop(place)
        node = network.nodes[place]
        operation = node.operation
        parts: tuple[tuple[Tensor, Window | None], ...]
        if isinstance(operation, Constant):
            value = operation.value.expand(1, *node.shape)
            unit = gamma(1, here.dtype) + gamma(here[0].numel(), torch.float64)
            total = total + _dot(here, value if window is None else window.cut(value), Rows())
            total = total - unit * _weighed(here, value.abs(), window)
            continue
        if isinstance(operation, LinearOperation):
            shapes = tuple(network.nodes[source].shape for source in node.inputs)
            kept = None if window is None else operation.transpose_window(here, window, shapes)
            if window is not None and kept is None:
                here, window = window.fill(here, node.shape), None
            if operation.bias is not None:
                total = total + _bias(here, operation.bias if window is None else window.cut(operation.bias))
            total = total - _rounding(relaxed, place, operation, here, window)
            parts = kept or tuple((part, None) for part in operation.transpose(here, shapes))
        else:
            lines = relaxed.lines[place]
            if window is not None and (
                not isinstance(lines, Lines) or place in relaxed.pull or relaxed.seen is not None
            ):
                here, window = window.fill(here, node.shape), None
            if relaxed.seen is not None:
                relaxed.seen[place] = here.detach()
            total = total - _bent_rounding(relaxed, place, lines, here, window)
            if window is not None and isinstance(lines, Lines):
                lines = lines.cut(window)
            found = []
            for source, line in zip(node.inputs, lines.lines if isinstance(lines, Planes) else (lines,), strict=True):
                part, shift = _through(line, here, rows, network.nodes[source].shape)
                total = total + shift
                found.append(part)
            if place in relaxed.pull:
                pull = relaxed.pull[place]
                unit = gamma(1, here.dtype) + gamma(here[0].numel(), torch.float64)
                total = total - unit * _weighed(pull, relaxed.sizes(node.inputs[0]), window)
                total = total + _pulled(pull, relaxed.boxes[node.inputs[0]])
                found[0] = found[0] - pull
            parts = tuple((part, window) for part in found)
        for source, each in zip(node.inputs, parts, strict=True):
            pending[source] = _sum(pending[source], each, network.nodes[source].shape) if source in pending else each
    if 0 not in pending:
        return coefficient.new_zeros(len(coefficient), *network.shape), None, total
    return *pending[0], total


def _pulled(pull: Tensor, box: Box) -> Tensor:
    """Return the least of multipliers times values in a box, `(R,)`: what has been subtracted is at least that."""
    used = (rows_of(pull) != 0).any(0).nonzero().squeeze(1)
    flat, low, high = (rows_of(value)[:, used].double() for value in (pull, box.low, box.high))
    return torch.where(flat >= 0, flat * low, flat * high).sum(1)


def _sum(
    first: tuple[Tensor, Window | None], second: tuple[Tensor, Window | None], shape: tuple[int, ...]
) -> tuple[Tensor, Window | None]:
    """Add coefficients of one node, each in its own window."""
    (here, window), (there, other) = first, second
    if window is None or other is None:
        whole = (part if seen is None else seen.fill(part, shape) for part, seen in (first, second))
        return sum(whole, start=here.new_zeros(())), None
    hull = window.hull(other)
    return window.within(hull, here) + other.within(hull, there), hull


def concretize(coefficient: Tensor, region: Region, rows: Rows) -> Tensor:
    """Return the smallest value of a linear function over each region, float64 `(R,)`, rounded down."""
    flat = rows_of(coefficient).double()
    if not flat.shape[1]:
        return flat.new_zeros(len(flat))  # a window of padding alone
    low, high = rows_of(region.low).double(), rows_of(region.high).double()
    most = torch.maximum(low.abs(), high.abs()).amax(1)
    least = _dot(flat, (low + high) / 2, rows) - _dot(flat.abs(), (high - low) / 2, rows)
    if region.center is not None and region.eps is not None:
        # What cannot move takes no part in the ball.
        moves, wide = rows.spread((low < high).to(flat), flat)
        dual = _norm((wide * moves).view_as(flat), 2 if region.norm == "l2" else torch.inf)
        ball = _dot(flat, rows_of(region.center).double(), rows) - rows.of(region.eps.double()) * dual
        least, most = torch.maximum(least, ball), torch.maximum(most, region.eps.double())
    return least - gamma(flat.shape[1], torch.float64) * _norm(flat, 1) * rows.of(most)


def _norm(flat: Tensor, order: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(flat, ord=order, dim=1)
    return norm


def _dot(coefficient: Tensor, values: Tensor, rows: Rows) -> Tensor:
    """Return each row's product with its sample's values, summed in float64, `(R,)`."""
    values, coefficient = rows.spread(rows_of(values), rows_of(coefficient))
    return (coefficient * values).sum(-1, dtype=torch.float64).flatten()


def _bias(coefficient: Tensor, bias: Tensor) -> Tensor:
    """Return each row's product with a bias that is broadcast to the coefficient's shape."""
    if coefficient.dim() == 4 and bias.shape == (coefficient.shape[1], 1, 1):
        return coefficient.sum((2, 3), dtype=torch.float64) @ bias.flatten().double()
    return rows_of(coefficient * bias).sum(1, dtype=torch.float64)


def _through(lines: Lines | Choice, here: Tensor, rows: Rows, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the coefficients before an activation, and what the lines' shifts add."""
    if isinstance(lines, Choice):
        return _choose(lines, here, rows, shape)
    low, wide = rows.spread(lines.low_slope, here)
    high, _ = rows.spread(lines.high_slope, here)
    part = wide * torch.where(wide > 0, low, high)
    total = _shift(here, lines.high_shift, rows, upward=True)
    if lines.low_shift is not None:
        total = total + _shift(here, lines.low_shift, rows, upward=False)
    return part.view(here.shape), total


def _shift(here: Tensor, shift: Tensor, rows: Rows, *, upward: bool) -> Tensor:
    """Return what the lines' shifts add to each row; most lines of ReLUs have none."""
    flat, shift = rows_of(here), rows_of(shift)
    used = (shift != 0).any(0).nonzero().squeeze(1)
    if 2 * len(used) < shift.shape[1]:
        flat, shift = flat[:, used], shift[:, used]
    return _dot(flat.clamp_max(0) if upward else flat.clamp_min(0), shift, rows)


def _choose(choice: Choice, here: Tensor, rows: Rows, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    flat = rows_of(here)
    alone, wide = rows.spread(choice.alone, flat)
    kept = torch.where((wide > 0) | alone, wide, 0).view(flat.shape)
    place = rows.spread(choice.place, flat)[0]
    place = place.expand(wide.shape).reshape(flat.shape)
    part = flat.new_zeros(len(flat), math.prod(shape)).scatter_add(1, place, kept)
    return part.view(-1, *shape), _dot(flat - kept, choice.high, rows)


def _rounding(relaxed: Relaxed, place: int, operation: LinearOperation, here: Tensor, window: Window | None) -> Tensor:
    """Bound the rounding of one transposed product: |c| |A| times the inputs' sizes, `(R,)`.

    Each computed coefficient is off by at most gamma times its entry of |A|^T |c|, and meets an input of that size.
    """
    with torch.no_grad():
        node = relaxed.network.nodes[place]
        size = operation.absolute(*(relaxed.sizes(source) for source in node.inputs))
        if operation.bias is not None:
            size = size + operation.bias.abs()
        terms = backward_terms(operation, [relaxed.network.nodes[source].shape for source in node.inputs], node.shape)
        # The bias is summed over all entries, in double.
        unit = gamma(terms, here.dtype) + gamma(here[0].numel(), torch.float64)
        return unit * _weighed(here, size.expand(1, *node.shape), window)


def _bent_rounding(relaxed: Relaxed, place: int, lines: Relaxation, here: Tensor, window: Window | None) -> Tensor:
    """Bound the rounding of coefficients times slopes, which meet inputs of their size, and times shifts, `(R,)`."""
    with torch.no_grad():
        node = relaxed.network.nodes[place]
        size = relaxed.sizes(place)
        for source, line in zip(node.inputs, lines.lines if isinstance(lines, Planes) else (lines,), strict=True):
            before = relaxed.sizes(source)
            size = size + (before * line.steep if isinstance(line, Lines) else before.amax())
        # The shifts are summed over all entries, in double.
        return (gamma(1, here.dtype) + gamma(here[0].numel(), torch.float64)) * _weighed(here, size, window)


def _weighed(coefficient: Tensor, size: Tensor, window: Window | None) -> Tensor:
    """Return the sum of |c| times a size for each entry, float64 `(R,)`; |c| may be of a window alone."""
    size = size if window is None else window.cut(size)
    return (rows_of(coefficient.detach().abs()) @ size.flatten()).double()
